"""The requests that a running system answers: their names, their arguments, and what they do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .errors import Refusal, near
from .processes import SORTS, STATES
from .protocol import Request
from .system import RunningSystem
from .words import shown

__all__ = ["REQUESTS", "Argument", "RequestKind", "carry_out", "check_arguments", "checked", "is_quick"]

MISSING = object()


@attrs.frozen
class Argument:
    """One argument of a request.

    Args:
        wanted: What it has to be, in words.
        good: Whether a value of JSON is that.
        required: Whether it must be given.
    """

    wanted: str
    good: Callable[[Any], bool]
    required: bool = False


@attrs.frozen
class RequestKind:
    """One request.

    Args:
        what: What it does or tells, in a sentence.
        do: Does it.
        args: Its arguments, by name.
        acts: Whether it changes anything.
        quick: Whether it takes a moment only, whatever it is asked of: it waits for nobody and runs no code
            of the program's, so the thread that listens may answer it itself. But with one of `slow`.
        slow: Arguments with which it takes longer.
    """

    what: str
    do: Callable[..., Any]
    args: Mapping[str, Argument] = attrs.field(factory=dict)
    acts: bool = False
    quick: bool = False
    slow: tuple[str, ...] = ()


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 4_096


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _seconds(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 <= value <= 3_600 and math.isfinite(value)


def _one_of(*words: str) -> Argument:
    return Argument(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


_TEXT = Argument("a text of at most 4096 characters", _text)
_TRUTH = Argument("true or false", lambda value: isinstance(value, bool))
_NAME = attrs.evolve(_TEXT, required=True)
_OFFSET = Argument("a whole number from 0 on", _whole(0, 10**9))
_LIMIT = Argument("a whole number from 1 to 1000", _whole(1, 1_000))
_SECONDS = Argument("a number of seconds from 0 to 3600", _seconds)
_SLOTS = Argument("a whole number from 1 on", _whole(1, 2**31), required=True)
_ANYTHING = Argument("any value", lambda value: True, required=True)
_PROCESS = {"process": _NAME}
_PAGE = {"offset": _OFFSET, "limit": _LIMIT}

REQUESTS: dict[str, RequestKind] = {
    "status": RequestKind(
        "What the system is, and its children in numbers.", RunningSystem.status, quick=True
    ),
    "ps": RequestKind(
        "A page of the processes of the tree.",
        RunningSystem.ps,
        {**_PAGE, "under": _TEXT, "sort": _one_of(*SORTS), "match": _TEXT, "state": _one_of(*STATES)},
        quick=True,
        slow=("under", "sort", "match", "state"),
    ),
    "info": RequestKind("All that is known of a process.", RunningSystem.info, _PROCESS),
    "locks": RequestKind(
        "Every lock, or one, with holders and waiters.", RunningSystem.locks, {"lock": _TEXT}, quick=True
    ),
    "registries": RequestKind("Every registry.", RunningSystem.registries, quick=True),
    "registry": RequestKind(
        "A page of the entries of a registry.",
        RunningSystem.registry,
        {**_PAGE, "registry": _NAME, "key": _TEXT},
    ),
    "crashes": RequestKind(
        "The crashes of late, folded.", RunningSystem.crashes, {"limit": _LIMIT}, quick=True
    ),
    "logs": RequestKind(
        "The log records of late; with `follow` those that come, too.",
        RunningSystem.logs,
        {"child": _TEXT, "limit": Argument("a whole number from 0 to 1000", _whole(0, 1_000))},
    ),
    "observe": RequestKind(
        "Opens a page for a browser, or has one go on.",
        RunningSystem.observe,
        {
            "port": Argument("a whole number from 0 to 65535", _whole(0, 65_535)),
            "allow_actions": _TRUTH,
            "page": _TEXT,
            "close": _TRUTH,
        },
        acts=True,
    ),
    "restart": RequestKind("Stops a child and starts it again.", RunningSystem.restart, _PROCESS, acts=True),
    "terminate": RequestKind("Stops a child; it stays down.", RunningSystem.terminate, _PROCESS, acts=True),
    "start": RequestKind("Starts a child that is down.", RunningSystem.start, _PROCESS, acts=True),
    "suspend": RequestKind("Has a process rest.", RunningSystem.suspend, _PROCESS, acts=True),
    "resume": RequestKind("Has a process go on.", RunningSystem.resume, _PROCESS, acts=True),
    "call": RequestKind(
        "Calls a server and tells its reply.",
        RunningSystem.call,
        {**_PROCESS, "message": _ANYTHING, "timeout": _SECONDS, "tuples": _TRUTH},
        acts=True,
    ),
    "send": RequestKind(
        "Sends a process a message, or casts.",
        RunningSystem.send,
        {**_PROCESS, "message": _ANYTHING, "cast": _TRUTH, "tuples": _TRUTH},
        acts=True,
    ),
    "resize": RequestKind(
        "Changes the slots of a lock.",
        RunningSystem.resize,
        {"lock": _NAME, "num_slots": _SLOTS},
        acts=True,
    ),
    "pause": RequestKind(
        "Lets nobody into a lock, or again with `off`.",
        RunningSystem.pause,
        {"lock": _NAME, "off": _TRUTH},
        acts=True,
    ),
    "reload": RequestKind(
        "Reads the tree file again and applies the difference, or with `dry_run` tells it.",
        RunningSystem.reload,
        {"dry_run": _TRUTH},
        acts=True,
    ),
    "stop": RequestKind("Begins to stop the whole tree.", RunningSystem.stop, acts=True),
}
"""Every request, by name."""
FOLLOW = {"follow": _TRUTH}
"""What `logs` takes besides: it is the connection's to carry out."""


def checked(request: Request) -> RequestKind:
    """What kind of request it is.

    Raises:
        Refusal: There is none of that name, or its arguments are wrong.
    """
    kind = REQUESTS.get(request.do)
    if kind is None:
        raise Refusal(
            "unknown_request", f"there is no request {shown(request.do, 80)}", near(request.do, REQUESTS)
        )
    check_arguments(request.do, request.args, {**kind.args, **FOLLOW} if request.do == "logs" else kind.args)
    return kind


def check_arguments(what: str, given: Mapping[str, Any], allowed: Mapping[str, Argument]) -> None:
    """Looks at the arguments of something.

    Raises:
        Refusal: One is unknown, wrong or missing.
    """
    for name, value in given.items():
        argument = allowed.get(name)
        if argument is None:
            there = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
            wrong = f"{what} has no argument {shown(name, 80)}; {there}"
            raise Refusal("bad_argument", wrong, near(name, allowed))
        if not argument.good(value):
            wrong = f"expected {name} of {what} to be {argument.wanted}, got: {shown(value, 80)}"
            raise Refusal("bad_argument", wrong)
    for name, argument in allowed.items():
        if argument.required and name not in given:
            raise Refusal("bad_argument", f"expected {what} to have the argument {name}, got none")


def is_quick(request: Request) -> bool:
    """Whether the thread that listens may answer a request itself."""
    kind = REQUESTS.get(request.do)
    if kind is None:
        return True
    return kind.quick and not any(name in request.args for name in kind.slow)


def carry_out(system: RunningSystem, request: Request) -> Any:
    """What a request is answered with; may wait for what it does.

    Raises:
        Refusal: It is refused, or it failed.
    """
    kind = checked(request)
    args = {name: value for name, value in request.args.items() if name not in FOLLOW}
    return kind.do(system, **args)
