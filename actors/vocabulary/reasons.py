"""Exit reasons: why a process ended.

A reason is ``"normal"``, ``"shutdown"``, ``Shutdown(detail)``, ``"killed"``, ``"noproc"``, a ``Crash``, or
whatever value was given to ``process.exit`` or ``Stop``.

Semantics: Erlang Reference Manual, "Processes", exit reasons; ``{shutdown, Term}`` from OTP supervisor(3).
"""

from __future__ import annotations

import attrs

NORMAL = "normal"
SHUTDOWN = "shutdown"
KILL = "kill"
KILLED = "killed"
NOPROC = "noproc"


class _Forked:
    """The reason of the processes that a fork left in the parent; compared by identity."""

    def __repr__(self) -> str:
        return "'forked'"


FORKED = _Forked()


@attrs.frozen
class Shutdown:
    """An orderly end that carries a detail: Elixir's ``{:shutdown, detail}``; silent like ``"shutdown"``."""

    detail: object


LOOP_CLOSED = Shutdown("loop closed")
"""Of what lives on an event loop, when that ends."""


@attrs.frozen(eq=False)
class Crash:
    """The exit reason of a process whose code raised.

    Two crashes are equal when their exceptions have the same type and the same args, so that a test can say
    what it expects. The traceback is on ``exception.__traceback__``.
    """

    exception: BaseException

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Crash):
            return NotImplemented
        mine, theirs = self.exception, other.exception
        return type(mine) is type(theirs) and mine.args == theirs.args

    def __hash__(self) -> int:
        return hash((Crash, type(self.exception)))


def is_orderly(reason: object) -> bool:
    """Tell whether a reason is silent: ``"normal"``, ``"shutdown"`` or ``Shutdown(...)``.

    >>> is_orderly("normal"), is_orderly(Shutdown("deploy")), is_orderly("boom")
    (True, True, False)
    """
    return (isinstance(reason, str) and reason in (NORMAL, SHUTDOWN)) or isinstance(reason, Shutdown)


def is_loop_closed(reason: object) -> bool:
    """Whether that is the reason: compared so that no code of a user's takes part."""
    return isinstance(reason, Shutdown) and isinstance(reason.detail, str) and reason == LOOP_CLOSED


def in_words(reason: object) -> str:
    """Tell a reason as people read it: a crash by its error and that error's text, anything else by its repr.

    A reason, or the detail of a ``Shutdown``, whose class says itself how it reads (``__str__``) is taken at
    its word.

    >>> in_words(Crash(ValueError("no disk"))), in_words("killed")
    ('ValueError: no disk', "'killed'")
    """
    told = reason.exception if isinstance(reason, Crash) else reason
    if isinstance(told, Shutdown) and _has_words(told.detail):
        told = told.detail
    try:
        if isinstance(told, BaseException):
            return f"{type(told).__name__}: {told}".removesuffix(": ")
        return str(told) if _has_words(told) else repr(told)
    except Exception as error:
        return f"<{type(told).__name__} that can't be shown: {type(error).__name__}>"


def _has_words(value: object) -> bool:
    return type(value).__str__ is not object.__str__ and not isinstance(value, (str, bytes, bytearray))


class ExitRequest(BaseException):
    """``process.exit(reason)``: unwinds the process's code, which then ends with the reason."""

    def __init__(self, reason: object) -> None:
        self.reason = reason
        super().__init__(f"exit({reason!r})")
