"""What a dying process tells those who are linked to it, monitor it, or wait for an answer of it.

As with its resources: an entry is taken without a call, behind which an interrupt could come before it is
known here, and put back when one comes before it is told. So it is told by whoever buries the process once
more: maybe again, rather than never.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from ..primitives.atomic import copied
from ..runtime.call import Call
from ..runtime.future import Future
from ..vocabulary.messages import Down

INTERRUPTS = (KeyboardInterrupt, RecursionError)
"""What is no fault of the code that it hits. Anything else would be raised again the next time."""


def tell_link(pid: Any, key: int, reason: object) -> None:
    """Send the exit signal along one link."""
    mine = pid._links
    try:
        other = mine[key]
        del mine[key]
    except KeyError:
        return
    theirs = other._links
    try:
        # The entry on the other side is the right to tell: an unlink that came first has taken it.
        del theirs[pid.id]
    except KeyError:
        return
    try:
        other.signal(pid, reason)
    except INTERRUPTS:
        theirs[pid.id] = pid
        mine[key] = other
        raise


def tell_monitor(pid: Any, key: int, reason: object) -> None:
    """Send the message that one monitor asked for."""
    monitors = pid._monitors
    try:
        ref = monitors[key]
        del monitors[key]
    except KeyError:
        return
    try:
        ref.watcher._watching.pop(ref.id, None)
        ref.watcher.deliver(Down(ref, pid, reason))
    except INTERRUPTS:
        monitors[key] = ref
        raise


def refuse_mail(pid: Any, box: deque[Any]) -> None:
    """Answer what is in a mailbox of the dead. A call that nobody has looked at says so."""
    # First, while it can be seen in the mailbox: whoever does this at the same time finds it among the
    # promised calls, too, and would say that it was being handled. (A copy is made in one step.)
    for item in copied(box):
        if item.__class__ is Call:
            item.fail_unhandled(pid)
    while box:
        try:
            item = box.popleft()
        except IndexError:
            return
        refuse_unhandled(pid, item)


def refuse_unhandled(pid: Any, item: Any) -> None:
    """The same for an item that was in the mailbox of the dead, or has just been taken out."""
    if item.__class__ is Call:
        item.fail_unhandled(pid)
    else:
        refuse(pid, item)


def refuse(pid: Any, item: Any) -> None:
    """Have whoever waits for an answer of the dead hear of that."""
    fail = getattr(item, "fail", None)
    if fail is not None and isinstance(item, Future):
        fail(pid)
