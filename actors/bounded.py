"""Bounded mailboxes: what OTP lacks and users of every peer ask for.

A limit on the calls, casts and sends that wait for a server. Notices of the runtime (Down, Exited, exit
signals, system requests) are
never counted out: they must arrive.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, TypeAlias

import attrs

from . import telemetry
from .call import Call
from .context import current
from .errors import MailboxFull
from .inline import InlinePid
from .local import local
from .mailbox import Continue, System, Tick
from .messages import Down, Exited
from .on_loop import LoopPid
from .pooled import PooledPid
from .resolving import no_process
from .runnable import RunnablePid
from .waiting import Waiter, check_timeout, forbid_loop, park

OnFull: TypeAlias = Literal["reject", "drop_oldest", "drop_newest", "block"]
_ALWAYS = (System, Down, Exited, Tick, Continue)
_CHOICES = ("reject", "drop_oldest", "drop_newest", "block")


def _check_size(instance: object, attribute: object, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected size to be a positive integer, got: {value!r}")


def _check_on_full(instance: object, attribute: object, value: str) -> None:
    if value not in _CHOICES:
        raise ValueError(f"expected on_full to be one of {', '.join(map(repr, _CHOICES))}, got: {value!r}")


@attrs.frozen
class Bounded:
    """A class option of a GenServer: ``mailbox = Bounded(1000, on_full="reject")``.

    Args:
        size: how many messages may wait.
        on_full: ``"reject"`` raises MailboxFull at the sender; ``"drop_oldest"`` and ``"drop_newest"`` throw
            a message away (a call that is thrown away fails with MailboxFull); ``"block"`` makes the sender
            wait for room (inside an event loop it raises BlockingInLoop).
    """

    size: int = attrs.field(validator=_check_size)
    on_full: OnFull = attrs.field(default="reject", validator=_check_on_full)


class BoundedMixin(RunnablePid):
    """Admission to a mailbox of limited size."""

    __slots__ = ()
    bound: Bounded
    dropped: int
    rejected: int
    _senders: deque[Waiter]

    def deliver(self, item: Any) -> None:
        if isinstance(item, _ALWAYS) or self._fate or self._admit(item):
            super().deliver(item)

    def deliver_from_afar(self, item: Any) -> None:
        if isinstance(item, _ALWAYS) or self._fate or self._admit(item, may_block=False):
            # Not super().deliver_from_afar, which may come back here and wait: timers must never be held up.
            if isinstance(self, InlinePid):
                InlinePid.deliver_from_afar(self, item)
            else:
                RunnablePid.deliver(self, item)

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        check_timeout(timeout)
        if not isinstance(self, InlinePid):
            forbid_loop(f"a call to {self}", "GenServer.acall(server, message)")
        if self._fate:
            raise no_process(self)
        call = Call(message, self, current())
        self.deliver(call)
        if not call.done():
            call.wait_for_answer(timeout)
        return call.result()

    def _admit(self, item: Any, *, may_block: bool = True) -> bool:
        """Make room for a message, or not."""
        while self.mailbox_length() >= self.bound.size:
            match self.bound.on_full:
                case "reject":
                    self.rejected += 1
                    self._tell("rejected", item)
                    raise MailboxFull(self, self.bound.size)
                case "drop_newest":
                    self._drop_message(item)
                    return False
                case "drop_oldest":
                    if not self._drop_oldest():
                        return True
                case "block":
                    # A timer's message cannot wait without holding all timers up; a server that sends to
                    # itself would wait for itself.
                    if not may_block or local.state.process is self:
                        return True
                    forbid_loop(
                        f"sending to {self}, whose mailbox is full,",
                        "asyncio.to_thread(server.send, message)",
                    )
                    park(self._queue_sender, self._unqueue_sender, None)
                    if self._fate:
                        return True
        return True

    def _drop_oldest(self) -> bool:
        try:
            oldest = self._inbox.popleft()
        except IndexError:
            return False
        if isinstance(oldest, _ALWAYS):
            self._inbox.appendleft(oldest)
            return False
        self._drop_message(oldest)
        return True

    def _drop_message(self, item: Any) -> None:
        self.dropped += 1
        self._tell("dropped", item)
        if isinstance(item, Call):
            item.answer_error(MailboxFull(self, self.bound.size))

    def _tell(self, what: str, item: Any) -> None:
        event = ("resprout", "mailbox", what)
        if telemetry.enabled(event):
            telemetry.emit(event, {"count": 1}, {"pid": self, "message": getattr(item, "message", item)})

    def _queue_sender(self, waiter: Waiter) -> bool:
        self._senders.append(waiter)
        return bool(self._fate) or self.mailbox_length() < self.bound.size

    def _unqueue_sender(self, waiter: Waiter) -> None:
        try:  # gone when it was woken
            self._senders.remove(waiter)
        except ValueError:
            pass

    def turn(self, budget: int) -> bool:
        # One at a time, so that whoever waits for room gets it as soon as there is some.
        while budget:
            budget -= 1
            more = super().turn(1)
            self._wake_one()
            if not more:
                return False
        return True

    def _wake_one(self) -> None:
        senders = self._senders
        if senders:
            try:
                senders.popleft().wake()
            except IndexError:
                return

    def _flush(self) -> None:
        super()._flush()
        while self._senders:
            self._wake_one()


_SLOTS = ("_senders", "bound", "dropped", "rejected")


class BoundedPooledPid(BoundedMixin, PooledPid):
    """The one run by the pool."""

    __slots__ = _SLOTS


class BoundedInlinePid(BoundedMixin, InlinePid):
    """The one run by its senders."""

    __slots__ = _SLOTS


class BoundedLoopPid(BoundedMixin, LoopPid):
    """The one run by the loop."""

    __slots__ = _SLOTS


_BOUNDED: dict[type[RunnablePid], type[BoundedMixin]] = {
    PooledPid: BoundedPooledPid,
    InlinePid: BoundedInlinePid,
    LoopPid: BoundedLoopPid,
}


def make_bounded(kind: type[RunnablePid], bound: object, actor: Any, parent: Any) -> RunnablePid:
    """Make a process of that kind whose mailbox is bounded."""
    if not isinstance(bound, Bounded):
        raise TypeError(f"expected {type(actor).__name__}.mailbox to be a Bounded, got: {bound!r}")
    pid = _BOUNDED[kind](actor, parent)
    pid.bound = bound
    pid.dropped = pid.rejected = 0
    pid._senders = deque()
    return pid
