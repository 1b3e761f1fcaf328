"""What to do when a coroutine has awaited what belongs to another event loop, and which loop that is.

asyncio refuses it with an error that names a task and a future, where one wants to know which pool or session
it was, and who runs the two loops. That is added to the error when a process dies of it.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..runtime.loop import is_runtime_loop
from ..runtime.loop_bells import bells_of

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from ..vocabulary.identity import Identity

SIGNS = ("different loop", "different event loop", "event loop other than the current one")
"""What asyncio says then: a task, a lock or queue, and debug mode."""
AGAIN = "await wasn't used with future"
"""What it says of a future that was refused so before, as when the next child of a supervisor awaits it; and
of other mistakes.
"""
ADVICE = (
    "make it on the loop where it is used (in `async def init`, for example), or run both on one loop: start "
    "the tree in a coroutine (`await application.astart()`), and leave out `loop: own`; or have a server on "
    "its own loop that keeps it, and call that"
)
FRAMES = 30
"""So many of the innermost frames are looked through."""
VALUES = 2000
"""So many values are looked at."""
PATIENCE = 0.5
"""Seconds in which a loop that hides its thread may say which it is."""


def explain(pid: Identity, error: BaseException) -> None:
    """Add to the text of such an error which loop is whose, and what to do; leave others alone."""
    if error.__class__ not in (RuntimeError, ValueError) or len(error.args) != 1:
        return
    text = error.args[0]
    if not isinstance(text, str) or text.endswith(ADVICE):
        return
    again = text == AGAIN
    if not again and not any(sign in text for sign in SIGNS):
        return
    here = _get_running_loop()
    other = _other(error, here, again)
    if other is not None:
        error.args = (f"{text}: this code of {pid} runs on {_name(here)}, and {other}; {ADVICE}",)


def _other(error: BaseException, here: asyncio.AbstractEventLoop | None, again: bool) -> str | None:
    """What belongs to which other loop; None if it was refused for another reason.

    Args:
        again: it is to be a future that was refused before, which bears a mark of that.
    """
    frames = _frames(error.__traceback__)
    exact = _refuser(frames, here)
    for path, value in _reachable(
        [frame for frame in frames if _module(frame) not in ("asyncio", "resprout")]
    ):
        loop = _loop_of(value) if exact is None or value is exact else None
        if loop is not None and loop is not here and (not again or _was_refused(value)):
            return f"{path} ({_kind(value)}) belongs to {_name(loop)}"
    if again:
        return None
    loop = _loop_of(exact)
    if loop is not None:
        return f"what it uses ({_kind(exact)}) belongs to {_name(loop)}"
    return "what it uses belongs to another"


def _was_refused(value: Any) -> bool:
    """Whether it is a future that a task has awaited, and has not come to wait for."""
    return asyncio.isfuture(value) and value._asyncio_future_blocking is True


def _frames(trace: TracebackType | None) -> list[FrameType]:
    """The frames through which an error came, the innermost first."""
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    return frames[: -FRAMES - 1 : -1]


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _refuser(frames: list[FrameType], here: asyncio.AbstractEventLoop | None) -> object:
    """The lock or queue of asyncio's that has refused to be used here, if it was one."""
    if not frames or _module(frames[0]) != "asyncio":
        return None
    value = frames[0].f_locals.get("self")
    return None if _loop_of(value) in (None, here) else value


def _loop_of(value: object) -> asyncio.AbstractEventLoop | None:
    """The loop that an object belongs to, by the attribute that all have in asyncio and most elsewhere."""
    if isinstance(value, (asyncio.AbstractEventLoop, type)):
        return None
    try:
        # Past what a stand-in or a proxy would make up.
        loop = object.__getattribute__(value, "_loop")
    except Exception:
        return None
    return loop if isinstance(loop, asyncio.AbstractEventLoop) else None


def _reachable(frames: list[FrameType]) -> Iterator[tuple[str, object]]:
    """What code had at hand, with the way to it: its variables, and then what these have."""
    found = [each for frame in frames for each in _variables(frame)]
    seen: set[int] = set()
    for path, value in found:
        if len(seen) > VALUES:
            return
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield path, value
        # Deep enough for a server's state that keeps a client that keeps a pool; not for all there is.
        if path.count(".") < 2 and not isinstance(value, ModuleType):
            found.extend((f"{path}.{name}", each) for name, each in _attributes(value))


def _variables(frame: FrameType) -> list[tuple[str, object]]:
    names = frame.f_code.co_names
    used = [(name, frame.f_globals[name]) for name in names if name in frame.f_globals]
    return [*frame.f_locals.items(), *used]


def _attributes(value: object) -> list[tuple[str, Any]]:
    try:
        return list(object.__getattribute__(value, "__dict__").items())
    except Exception:
        pass
    found = []
    for name in (name for kind in type(value).__mro__ for name in _slots(kind)):
        try:
            found.append((name, object.__getattribute__(value, name)))
        except Exception:
            continue
    return found


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _name(loop: asyncio.AbstractEventLoop | None) -> str:
    if loop is None:
        return "no loop"
    kind = "the runtime's own loop" if is_runtime_loop(loop) else "a loop"
    if loop.is_closed():
        return f"{kind} that is closed"
    if not loop.is_running():
        return f"{kind} that does not run now"
    ident = threading.get_ident() if loop is _get_running_loop() else _thread_of(loop)
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # there is no public way
    return f"{kind} in " + ("another thread" if thread is None else f"the thread {thread.name!r}")


def _thread_of(loop: asyncio.AbstractEventLoop) -> int | None:
    """The thread in which a loop runs; None if it does not say so in time."""
    ident: int | None = getattr(loop, "_thread_id", None)
    if ident is not None:
        return ident
    # uvloop's: known from the beginning of its run, or it has to be asked; by nobody twice, who might wait in
    # vain each time.
    bells = bells_of(loop)
    if bells.thread is None and not bells.asked:
        bells.asked = True
        answered = threading.Event()

        def tell() -> None:
            bells.thread = threading.get_ident()
            answered.set()

        try:
            loop.call_soon_threadsafe(tell)
        except RuntimeError:
            return None
        answered.wait(PATIENCE)
    return bells.thread
