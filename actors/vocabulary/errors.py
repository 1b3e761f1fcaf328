"""Every error that resprout raises, in one tree.

::

    ResproutError
    ├── ProcessExit(reason, pid)        the other process is gone
    │   ├── NoProcess                   ... and was so before the request (also a pykka.ActorDeadError)
    │   │   ├── StalePid                ... as it was started before os.fork
    │   │   └── NameInParent(name)      ... as it is the parent's of a child under `placement: process`
    │   └── ServerExit                  ... it ended during the request
    │       └── Unhandled               ... which was still in its mailbox (also a pykka.ActorDeadError)
    ├── CallTimeout                     I gave up waiting (also a TimeoutError and a pykka.Timeout)
    ├── CallbackFailed(pid, what, reason)   a function that a server was to run exited (OTP's callback_failed)
    ├── StartError(reason)              a start function failed
    │   └── AlreadyStarted(pid)         the name is taken by a running process, or the child runs already
    ├── AlreadyPresent                  a child with that id is listed, but not running
    ├── AlreadyRegistered(pid)          the name or key belongs to somebody else
    ├── NotFound, Running, MaxChildren  answers of supervisors
    ├── LockNotFound(name), NotHeld(name), QueueFull(name)
    ├── NotPicklable(what, part)        it cannot cross to another OS process (also a TypeError)
    ├── NotOwned(pid, thing)            a process disowns what it does not own
    ├── MailboxFull(pid)                a bounded mailbox rejected the message
    ├── BlockingInLoop                  a blocking form was used inside a running event loop
    ├── SelfCall                        a process tried to wait for an answer of its own
    ├── CallCycle(chain)                ... or for one that waits for it
    ├── AlreadySet                      a future is set twice (also an InvalidStateError and a queue.Full)
    ├── UnknownMessage                  a server of the library's own answers no such call (also a TypeError)
    ├── SpecError(spec, field, problem) a child spec or an option of a supervisor is wrong (also a ValueError)
    └── ConfigError(file, line, column, path, reason)

    Killed (BaseException)              what the code of a dead process meets; nobody else sees it

All of them, and those that other rooms derive from them, can be copied, pickled and sent to another
interpreter (`portable.py`): the copy is of the same type, with the same text and the same attributes. In a
pickled one a Pid is its printed form, a str, and so is what cannot be pickled.
"""

from __future__ import annotations

import concurrent.futures
import queue
from typing import Any

import pykka

from .portable import Portable
from .reasons import FORKED, in_words, is_loop_closed


def brief(value: object) -> str:
    """A value as text of at most 80 characters, also when its repr raises."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


class ResproutError(Portable, Exception):
    """The root of every error that resprout raises on purpose."""


class ProcessExit(ResproutError):
    """The process on the other side is gone.

    Attributes:
        reason: its exit reason, ``"noproc"`` when it was not there to begin with.
        pid: the process, or None when a name led nowhere.
    """

    def __init__(self, reason: object, pid: Any = None, request: object = None) -> None:
        self.reason = reason
        self.pid = pid
        self.request = request
        super().__init__(reason)

    def __str__(self) -> str:
        # Made when it is read: many exits are caught and never printed.
        who = "process" if self.pid is None else str(self.pid)
        during = "" if self.request is None else f" during {brief(self.request)}"
        return f"{who} exited{during}: {self.reason!r}"


class NoProcess(ProcessExit, pykka.ActorDeadError):
    """There is no such process (it never was, or it ended before the request reached it).

    Attributes:
        ended: why it ended, where that is known; else None.
    """

    def __init__(
        self, target: object, pid: Any = None, reason: object = "noproc", ended: object = None
    ) -> None:
        self.target = target
        self.ended = ended
        super().__init__(reason, pid)

    def __str__(self) -> str:
        if is_loop_closed(self.ended):
            return (
                f"no process: {self.target} ended when its event loop was closed; start it again on the loop "
                f"that runs now (`await MyServer.astart(...)`), or in a thread, on the runtime's, which stays"
            )
        if self.ended is not None:
            return f"no process: {self.target} has ended: {self.ended!r}"
        return f"no process: {self.target} (is it started, and is the name spelled right?)"


class StalePid(NoProcess):
    """The Pid is from before ``os.fork``: the process is the parent's, and the child began with none."""

    def __str__(self) -> str:
        return (
            f"{self.target} was started before this process was forked: it runs in the parent only; "
            f"start what you need in the child, after the fork (resprout.after_fork(fn) has that done on "
            f"first use)"
        )


class NameInParent(NoProcess):
    """The name is that of a process of the tree, which runs in another OS process than this child of it.

    Attributes:
        name: the name.
    """

    def __init__(self, name: object, what: str = "a process") -> None:
        super().__init__(name)
        self.name = name
        self.what = what
        self.args = (str(self),)

    def __str__(self) -> str:
        return (
            f"{self.name!r} is {self.what} of the tree, which runs in the parent of this process; a child "
            f"under `placement: process` uses the locks of its tree by their names (throttle.run, slot, "
            f"acquire, ...), and so its registries with unique keys (Registry.register, lookup, ...), and "
            f"reaches the rest by what it answers only: hand it what it needs in the message, or leave the "
            f"child in its tree (`placement: local`)"
        )


class NotPicklable(ResproutError, TypeError):
    """Something cannot cross to another OS process: what crosses is pickled.

    Attributes:
        what: what was to cross (a message, a reply), as it prints.
        part: where in it is what cannot, such as ``message['jobs'][0]``.
    """

    def __init__(self, kind: str, what: object, part: str, why: str) -> None:
        super().__init__(
            f"the {kind} {brief(what)} cannot cross to another OS process, as it cannot be pickled: "
            f"{part}: {why}"
        )
        self.what = brief(what)
        self.part = part


def no_process(pid: Any) -> NoProcess:
    """Make the error for a request to a dead process."""
    if pid.exit_reason is FORKED:
        return StalePid(pid, pid, FORKED)
    return NoProcess(pid, pid, ended=pid.exit_reason)


class ServerExit(ProcessExit):
    """The process ended while somebody waited for it."""


class Unhandled(ServerExit, pykka.ActorDeadError):
    """The process ended with the request still in its mailbox: no code of it has seen that."""


class CallTimeout(ResproutError, TimeoutError, pykka.Timeout):
    """The wait took longer than its timeout; the other side is alive, and its late answer is dropped."""


class CallbackFailed(ResproutError):
    """A function that a server was asked to run (``sys.replace_state``) has exited. The server lives on.

    Attributes:
        pid: the server.
        what: the request.
        reason: what the function exited with.
    """

    def __init__(self, pid: Any, what: str, reason: object) -> None:
        self.pid = pid
        self.what = what
        self.reason = reason
        super().__init__(f"the function of {what} exited in {pid}, which goes on as before: {reason!r}")


class StartError(ResproutError):
    """A process did not start.

    Attributes:
        reason: why, in the terms of exit reasons (``Crash(exception)`` when its init raised).
    """

    def __init__(self, reason: object) -> None:
        self.reason = reason
        super().__init__(f"start failed: {in_words(reason)}")


class AlreadyStarted(StartError):
    """A running process has the name or the child id already.

    Attributes:
        pid: that process.
    """

    def __init__(self, pid: Any) -> None:
        super().__init__(("already_started", pid))
        self.pid = pid
        self.args = (f"already started: {pid}",)


class AlreadyPresent(ResproutError):
    """The supervisor lists a child with that id, which does not run; restart or delete it."""


class AlreadyRegistered(ResproutError):
    """The name or key is taken.

    Attributes:
        pid: the process that has it.
    """

    def __init__(self, pid: Any, what: object = None) -> None:
        self.pid = pid
        what = "name" if what is None else repr(what)
        super().__init__(f"{what} is already registered by {pid}")


class NotFound(ResproutError):
    """There is no such child."""


class Running(ResproutError):
    """The child runs; terminate it first."""


class MaxChildren(ResproutError):
    """The dynamic supervisor has as many children as it may have."""


class LockNotFound(ResproutError):
    """No lock has that name.

    Attributes:
        name: the name.
    """

    def __init__(self, name: object, why: str | None = None) -> None:
        self.name = name
        super().__init__(
            why
            or f"no lock is named {name!r}; create it with throttle.new({name!r}, num_slots) "
            f"or declare it in the tree"
        )


class NotHeld(ResproutError):
    """The process that releases a lock does not hold it."""

    def __init__(self, name: object) -> None:
        self.name = name
        super().__init__(f"lock {name!r} is not held by this process")


class NotOwned(ResproutError):
    """A process disowns what it does not own.

    Attributes:
        pid: the process.
        thing: what it does not own.
    """

    def __init__(self, pid: Any, thing: object, owned: tuple[object, ...] = ()) -> None:
        self.pid = pid
        self.thing = thing
        listed = ", ".join(map(brief, owned)) or "nothing"
        super().__init__(
            f"expected a thing that {pid} owns ({listed}), got: {brief(thing)}; "
            f"only the process that called own may disown, once"
        )


class QueueFull(ResproutError):
    """The lock has as many waiters as its max_waiting allows.

    Attributes:
        name: the lock's.
        max_waiting: that number, None if it is not known.
    """

    def __init__(self, name: object, max_waiting: int | None = None) -> None:
        self.name = name
        self.max_waiting = max_waiting
        full = "as many waiters as its max_waiting allows"
        if max_waiting is not None:
            waiters = "1 waiter" if max_waiting == 1 else f"{max_waiting} waiters"
            full = f"{waiters} already, as many as its max_waiting allows"
        super().__init__(
            f"lock {name!r} has {full}; try again later, do without (throttle.attempt), "
            f"or give it a larger max_waiting"
        )


class MailboxFull(ResproutError):
    """A bounded mailbox rejected a message."""

    def __init__(self, pid: Any, size: int) -> None:
        self.pid = pid
        super().__init__(f"the mailbox of {pid} is full ({size} messages)")


class BlockingInLoop(ResproutError):
    """A form that may block was used where an event loop runs, which it would stop."""


class SelfCall(ResproutError):
    """A process called itself, and would have waited for itself."""


class CallCycle(ResproutError):
    """A process would have waited for one that waits for it, so that no answer would ever have come.

    Raised always where an init calls who has started it; for other circles in development mode only
    (``python -X dev``).

    Attributes:
        chain: the processes, beginning with the one that gets this error: each waits for the next (the first
            would have), and the last for the first.
        starting: whether it is the start of one that the others wait for.
    """

    def __init__(self, chain: tuple[Any, ...], starting: bool = False) -> None:
        self.chain = chain
        self.starting = starting
        first, second, *others = map(str, (*chain, chain[0]))
        if starting:
            waits = "".join(f" to start {each}, which waits" for each in others[:-1])
            text = (
                f"{first} calls {second} from its init, and {second} waits{waits} until that init is over; "
                f"do it in handle_continue instead (return Ok(state, continue_with=...)), or cast"
            )
        else:
            waits = "".join(f", which waits for {each}" for each in others)
            text = (
                f"{first} would wait for {second}{waits}; have one of them cast, or answer later "
                f"(NoReply(state), then GenServer.reply(from_, value))"
            )
        super().__init__(text)


class AlreadySet(ResproutError, concurrent.futures.InvalidStateError, queue.Full):
    """A future that is completed was set again. (Pykka raises a bare queue.Full.)"""


class UnknownMessage(ResproutError, TypeError):
    """A server of the library's own (a lock, a registry, a supervisor, an Agent, ...) answers no such call.

    It lives on. The message names what it is and which functions to use.
    """


class ConfigError(ResproutError):
    """A mistake in a tree file or in settings.

    Attributes:
        file: the file's path as it was given.
        line: 1-based line, 0 when the mistake has no place.
        column: 1-based column.
        path: where in the document, such as ``children[1].num_slots``.
        reason: what is wrong, what is allowed, and what was probably meant.
    """

    def __init__(self, file: str, line: int, column: int, path: str, reason: str) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.path = path
        self.reason = reason
        super().__init__(file, line, column, path, reason)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        return where + (f"{self.path}: " if self.path else "") + self.reason


class Killed(Portable, BaseException):
    """Raised in the code of a process that is dead already, at its next call into resprout.

    It is a BaseException so that ``except Exception`` does not keep a dead process going. Do not catch it.
    """
