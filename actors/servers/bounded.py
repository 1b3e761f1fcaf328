"""Bounded mailboxes: what OTP lacks and users of every peer ask for.

A limit on the calls, casts and sends that wait for a server. Notices of the runtime (Down, Exited, exit
signals, system requests) are never counted out: they must arrive.

Whoever may neither wait nor fail (a registry that tells its listeners) uses `offer` in the place of a send,
and `when_room`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from ..primitives.atomic import FREE_THREADED, increase
from ..processes.death_notices import refuse_unhandled
from ..processes.mailbox import Continue, System, Tick
from ..reports import telemetry
from ..runtime.call import Call
from ..runtime.parking import Waiter, check_timeout, forbid_loop, park
from ..runtime.thread_state import current_if_any, local
from ..vocabulary.errors import CallTimeout, MailboxFull
from ..vocabulary.messages import NOTHING, Down, Exited, Notice, TaskReply
from .inline import InlinePid
from .on_loop import LoopPid
from .pooled import PooledPid
from .runnable import RunnablePid, begin_call

if TYPE_CHECKING:
    from ..processes.pid import Pid

OnFull: TypeAlias = Literal["reject", "drop_oldest", "drop_newest", "block"]
_ALWAYS = (System, Down, Exited, Tick, Continue, Notice, TaskReply)
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
    """Admission to a mailbox of limited size: each place is a token, taken by the message that comes and
    given back when it is taken out, so that the limit is exact whoever sends at once.
    """

    __slots__ = ()
    bound: Bounded
    dropped: int
    rejected: int
    _eager: deque[Callable[[], object]]
    _room: list[bool]
    _senders: deque[Waiter]

    def deliver(self, item: Any) -> None:
        if self._fate or not _counted(item) or self._admit(item, None):
            super().deliver(item)

    def deliver_from_afar(self, item: Any) -> None:
        """Timers cannot be held up, nor told: a message that finds no place is dropped and counted."""
        if not self._fate and _counted(item) and not self._place():
            if self.bound.on_full != "drop_oldest" or not self._drop_oldest():
                self._throw_away(item)
                return
        # Not super().deliver_from_afar, which may come back to deliver.
        if isinstance(self, InlinePid):
            InlinePid.deliver_from_afar(self, item)
        else:
            RunnablePid.deliver(self, item)

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        check_timeout(timeout)
        if not isinstance(self, InlinePid):
            forbid_loop(f"a call to {self}", "GenServer.acall(server, message)")
        call = begin_call(self, message)
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._admit(call, deadline):
            RunnablePid.deliver(self, call)
        if not call.done():
            call.wait_for_answer(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return call.take()

    def offer(self, item: Any) -> bool:
        """Deliver without ever waiting or raising; False when there is no place, which is counted as for any
        other sender.
        """
        if self._fate or not _counted(item) or self._place():
            super().deliver(item)
            return True
        if self.bound.on_full == "reject":
            self._count("rejected", item)
            return False
        if self.bound.on_full == "drop_oldest" and self._drop_oldest():
            super().deliver(item)
            return True
        self._throw_away(item)
        return False

    @property
    def has_room(self) -> bool:
        """Whether a message would find a place now."""
        return bool(self._room)

    def when_room(self, tell: Callable[[], object]) -> None:
        """Call ``tell()`` once, as soon as there is a place, at once if there is one. It runs anywhere, and
        must only deliver from afar.
        """
        self._eager.append(tell)
        if self._room or self._fate:
            self._tell_the_eager()

    def _tell_the_eager(self) -> None:
        eager = self._eager
        while eager:
            try:
                tell = eager.popleft()
            except IndexError:
                return
            tell()

    def taken(self, item: Any) -> None:
        """A message leaves the mailbox: its place is free."""
        if _counted(item):
            self._room.append(True)
            self._wake_one()
            if self._eager:
                self._tell_the_eager()

    def turn(self, budget: int) -> bool:
        while budget:
            item = self.next_item()
            if item is NOTHING:
                self._take_signals()
                return False
            budget -= 1
            self.taken(item)
            if self._urgent or self._fate:
                # As in ServerPid.turn.
                self._take_signals()
                refuse_unhandled(self, item)
                return False
            self.handle(item)
        return True

    def _place(self) -> bool:
        try:
            return self._room.pop()
        except IndexError:
            return False

    def _admit(self, item: Any, deadline: float | None) -> bool:
        """Find a place for a message; False when it was thrown away."""
        if self._place():
            return True
        match self.bound.on_full:
            case "reject":
                self._count("rejected", item)
                raise MailboxFull(self, self.bound.size)
            case "drop_oldest" if self._drop_oldest():
                return True
            case "block" if local.state.process is not self:
                return self._wait_for_place(deadline)
        # The newest is dropped: by choice, or as the oldest is out of reach (a callback has passed it over
        # in receive), or as a server that sends to itself would wait for itself.
        self._throw_away(item)
        return False

    def _drop_oldest(self) -> bool:
        """Throw the oldest message away, whose place the new one takes; notices of the runtime stay, in
        order.
        """
        boxes = [self._saved, self._inbox] if self._suspended else [self._inbox]
        for box in boxes:
            kept: list[Any] = []
            found = False
            while box and not found:
                try:
                    oldest = box.popleft()
                except IndexError:
                    break
                found = _counted(oldest)
                if found:
                    self._throw_away(oldest)
                else:
                    kept.append(oldest)
            if kept and box is not None:
                box.extendleft(reversed(kept))
                if self._run:
                    self._schedule()
            if found:
                return True
        return False

    def _throw_away(self, item: Any) -> None:
        self._count("dropped", item)
        if isinstance(item, Call):
            item.answer_error(MailboxFull(self, self.bound.size))

    def _count(self, what: Literal["dropped", "rejected"], item: Any) -> None:
        """Count and tell one more, by whoever has sent it."""
        if FREE_THREADED:
            increase(self, what)
        elif what == "dropped":
            self.dropped += 1
        else:
            self.rejected += 1
        event = ("resprout", "mailbox", what)
        if telemetry.heard(event):
            telemetry.tell(event, {"count": 1}, {"pid": self, "message": getattr(item, "message", item)})

    def _wait_for_place(self, deadline: float | None) -> bool:
        forbid_loop(f"sending to {self}, whose mailbox is full,", "asyncio.to_thread(server.send, message)")
        got: list[bool] = []

        def register(waiter: Waiter) -> bool:
            self._senders.append(waiter)
            if self._place():
                got.append(True)
            return bool(got) or bool(self._fate)

        def unregister(waiter: Waiter) -> None:
            try:  # gone when it was woken
                self._senders.remove(waiter)
            except ValueError:
                pass

        try:
            while True:
                if got or self._fate:
                    me = current_if_any()
                    if got and me is not None and me._fate:
                        # It has died, and everybody may know, before there was a place for it.
                        self._room.append(True)
                        me.meet_death()
                    return True
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise CallTimeout(f"the mailbox of {self} had no room in time")
                park(register, unregister, left)
        finally:
            # However it ended: it may have been woken for a place that it did not take, or for another than
            # it took. Whoever comes first in the line looks.
            if self._room and self._senders:
                self._wake_one()

    def _wake_one(self) -> None:
        try:
            self._senders.popleft().wake()
        except IndexError:
            return

    def _flush(self) -> None:
        super()._flush()
        self._let_all_go()

    def leave(self) -> None:
        # Its burial flushes nothing when it finds no message: one may have been between two boxes just then.
        self._let_all_go()
        super().leave()

    def _let_all_go(self) -> None:
        """Wake everybody who waits for a place of the dead."""
        while self._senders:
            self._wake_one()
        self._tell_the_eager()


def _counted(item: Any) -> bool:
    """Whether a message needs a place. Notices of the runtime must arrive, and so must the result of a
    task.
    """
    return not isinstance(item, _ALWAYS)


def offer(pid: Pid, item: Any) -> bool:
    """Deliver a message without ever waiting or raising, however the mailbox is bounded; False when it has no
    place for it.
    """
    if isinstance(pid, BoundedMixin):
        return pid.offer(item)
    pid.deliver(item)
    return True


def has_room(pid: Pid) -> bool:
    """Whether a message would find a place in its mailbox now."""
    return not isinstance(pid, BoundedMixin) or pid.has_room


def when_room(pid: Pid, tell: Callable[[], object]) -> None:
    """Call ``tell()`` once, as soon as its mailbox has a place or it is dead; see the method."""
    if isinstance(pid, BoundedMixin):
        pid.when_room(tell)
    else:
        tell()


_SLOTS = ("_eager", "_room", "_senders", "bound", "dropped", "rejected")


class BoundedPooledPid(BoundedMixin, PooledPid):
    """The one run by the pool."""

    __slots__ = _SLOTS


class BoundedInlinePid(BoundedMixin, InlinePid):
    """The one run by its senders."""

    __slots__ = _SLOTS


class BoundedLoopPid(BoundedMixin, LoopPid):
    """The one run by the loop."""

    __slots__ = _SLOTS
    in_order = True


_BOUNDED: dict[type[RunnablePid], type[BoundedMixin]] = {
    PooledPid: BoundedPooledPid,
    InlinePid: BoundedInlinePid,
    LoopPid: BoundedLoopPid,
}


def make_bounded(kind: type[RunnablePid], bound: object, actor: Any, parent: Any) -> RunnablePid:
    """Make a process of that kind whose mailbox is bounded."""
    if not isinstance(bound, Bounded):
        raise TypeError(f"expected {type(actor).__name__}.mailbox to be a Bounded, got: {bound!r}")
    pid = (_BOUNDED.get(kind) or kind)(actor, parent)
    assert isinstance(pid, BoundedMixin)
    pid.bound = bound
    pid.dropped = pid.rejected = 0
    pid._room = [True] * bound.size
    pid._senders = deque()
    pid._eager = deque()
    return pid
