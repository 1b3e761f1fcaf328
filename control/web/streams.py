"""The pages that are open: each has a stream of server-sent events with what it sees, and what changes."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from ...actors import Future, Killed, process
from ..errors import Refusal
from .differences import difference
from .views import VIEWS, Look, Watcher

__all__ = ["MOST", "Streams", "elsewhere"]

T = TypeVar("T")
MOST = 16
"""Pages that may be open at once."""
_SHARE = 50.0
"""A page is looked at again after so many times as long as the look took: it takes at most a fiftieth of one
core, however large the tree is."""
_SILENCE = 10.0
"""Seconds after which a page hears that nothing has changed."""


def elsewhere(fn: Callable[..., T], *args: Any) -> Future[T]:
    """Calls a function that may wait in a process of its own; to be awaited."""
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.try_set(fn(*args))
        except Killed:
            answer.try_set_exception(RuntimeError("it was killed"))
            raise
        except BaseException as error:
            answer.try_set_exception(error)

    process.spawn(call)
    return answer


class _Stream:
    """One page."""

    def __init__(self) -> None:
        self.look: Look | None = None
        self.changed = asyncio.Event()


class Streams:
    """All pages of one server; used on its loop, but for `close`.

    Args:
        watcher: Makes what looks for a page; called on the loop, so it must not wait.
        pause: Seconds from one look of a page to the next.
    """

    def __init__(self, watcher: Callable[[], Watcher], pause: float) -> None:
        self._watcher = watcher
        self._pause = pause
        self._streams: dict[str, _Stream] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    def __len__(self) -> int:
        return len(self._streams)

    def turn(self, id: str, look: Look) -> None:
        """Has a page look at something else.

        Raises:
            Refusal: There is no such page.
        """
        stream = self._streams.get(id)
        if stream is None:
            raise Refusal("unknown_stream", "there is no such stream; it may have ended")
        # Looks may overtake one another on their way.
        if stream.look is None or look.number >= stream.look.number:
            stream.look = look
            stream.changed.set()

    def close(self) -> None:
        """Ends all pages; in any thread."""
        self._closing = True
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._wake)
            except RuntimeError:
                pass  # It is closed already.

    def _wake(self) -> None:
        for stream in self._streams.values():
            stream.changed.set()

    async def events(self, look: Look | None) -> AsyncIterator[bytes]:
        """The stream of a page that opens: its id, then what it sees.

        Args:
            look: What it looks at first; None if it is going to say.

        Raises:
            Refusal: There are too many.
        """
        if len(self._streams) >= MOST:
            raise Refusal("too_many_pages", f"expected at most {MOST} pages at once; close one")
        self._loop = asyncio.get_running_loop()
        id, stream = secrets.token_urlsafe(12), _Stream()
        stream.look = look
        self._streams[id] = stream
        watcher = self._watcher()
        try:
            yield _event("open", {"stream": id})
            async for event in self._seen(stream, watcher):
                yield event
            yield _event("end", {})
        finally:
            del self._streams[id]
            # Not awaited: the page may be gone, and then this is being cancelled.
            elsewhere(watcher.leave)

    async def _seen(self, stream: _Stream, watcher: Watcher) -> AsyncIterator[bytes]:
        subject: tuple[Any, ...] | None = None
        before: dict[str, Any] = {}
        said = time.monotonic()
        while not self._closing:
            look = stream.look
            pause = _SILENCE
            stream.changed.clear()
            if look is not None:
                began = time.monotonic()
                seen = await elsewhere(watcher.seen, look)
                ended = time.monotonic()
                pause = max(self._pause / VIEWS[look.view].often, _SHARE * (ended - began))
                if look.subject != subject:
                    subject, said = look.subject, ended
                    yield _event("whole", seen)
                elif change := difference(before, seen):
                    said = ended
                    yield _event("change", change)
                before = seen
            if time.monotonic() - said >= _SILENCE:
                said = time.monotonic()
                yield b": nothing new\n\n"
            try:
                await asyncio.wait_for(stream.changed.wait(), pause)
            except asyncio.TimeoutError:
                continue


def _event(name: str, told: dict[str, Any]) -> bytes:
    # ASCII, so that text that UTF-8 cannot write comes through as well, and no line ends within.
    data = json.dumps(told, separators=(",", ":"), allow_nan=False)
    return f"event: {name}\ndata: {data}\n\n".encode("ascii")
