"""Processes whose code runs by itself and reads its mailbox with ``process.receive``: spawned functions,
threads, tasks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..runtime.call import Call
from ..vocabulary.messages import Down, Exited, Ref, TaskReply
from .pid import NO_INBOX, Pid

NEVER: list[bool] = []
"""A run right that cannot be had; never changed."""


class MailboxPid(Pid):
    """A process that nobody runs for: delivery only appends and wakes whoever waits in receive."""

    __slots__ = ()
    by_itself = True
    mailbox_late = True

    def __init__(self, actor: Any = None, parent: Pid | None = None) -> None:
        super().__init__(actor, parent)
        # Its code runs by itself as long as it lives.
        self._run = NEVER

    def deliver(self, item: Any) -> None:
        inbox = self._inbox
        if inbox is NO_INBOX:
            inbox = self._own("_inbox", deque())
        inbox.append(item)
        if self._fate:
            self._flush()
        elif self.receiver is not None:
            self._wake_receiver()

    def _after_death(self) -> None:
        self._now_a_straggler()


class Cast:
    """An asynchronous request."""

    __slots__ = ("message",)

    def __init__(self, message: object) -> None:
        self.message = message


class System:
    """A request of the runtime to a process, handled in order with its messages but never shown to its
    callbacks.
    """

    __slots__ = ()

    def handle(self, pid: Any) -> Any:
        """Carry it out, as the process; None, or a result to settle like a callback's."""
        raise NotImplementedError


class Continue(System):
    """``continue_with``: comes before any message."""

    __slots__ = ("token",)

    def __init__(self, token: object) -> None:
        self.token = token

    def __repr__(self) -> str:
        return f"continue_with={self.token!r}"


class Tick:
    """The ``timeout`` of the last result is over, unless a message came first."""

    __slots__ = ()


NOT_FOR_RECEIVE = (Call, Cast, System, Tick)


def void(pid: Pid, item: Any) -> bool:
    """Whether a notice came too late: its monitor was flushed, its task let go or its link undone meanwhile.

    Anybody may send a Down or an Exited with whatever in it: that is a message like any other.
    """
    if item.__class__ is Down:
        return isinstance(item.ref, Ref) and item.ref.flushed
    if item.__class__ is TaskReply:
        return item[0].flushed
    if item.__class__ is not Exited or not isinstance(item.pid, Pid) or item.pid.id not in pid._unlinked:
        return False
    # The only one that the runtime sends; what comes later was made by hand.
    pid._unlinked.discard(item.pid.id)
    return True


def take_plain(pid: Pid, matching: Callable[[Any], bool] | None) -> tuple[bool, Any]:
    """Take the oldest plain message that matches; (False, None) when there is none yet.

    Plain are sends, Down, Exited; calls and casts stay for the server's own callbacks. Only the process
    itself may take: what it passes over goes to a list of its own, which is read first the next time, so the
    order stays.
    """
    saved = pid._saved
    while saved:
        for index, item in enumerate(saved):
            if not isinstance(item, NOT_FOR_RECEIVE):
                if void(pid, item):
                    # Since it was passed over. The rest is looked at again.
                    del saved[index]
                    break
                if matching is None or matching(item):
                    del saved[index]
                    pid.taken(item)
                    return True, item
        else:
            break
    inbox = pid._inbox
    while inbox:
        try:
            item = inbox.popleft()
        except IndexError:
            break
        if not isinstance(item, NOT_FOR_RECEIVE):
            if void(pid, item):
                continue
            try:
                wanted = matching is None or matching(item)
            except BaseException:
                inbox.appendleft(item)
                raise
            if wanted:
                pid.taken(item)
                return True, item
        if saved is None:
            saved = pid._saved = deque()
        saved.append(item)
    return False, None
