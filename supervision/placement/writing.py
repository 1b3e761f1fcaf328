"""Writes to a pipe as far as it takes, without ever waiting; the thread of the hub does the rest."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable

from ...actors.engine import lock
from .hub import hub

PIECE = 1 << 18
"""So much is read at once."""


class Writer:
    """One end of a pipe, as those see it who have something to send.

    Args:
        end: Of the pipe; set to non-blocking.
        has_more: Tells whether there is anything to be sent.
        take: Returns the next frame, None when there is none after all. Called by one thread at a time.
        look: What the hub calls when the pipe can be read or written; it calls `room` for the latter.
    """

    def __init__(
        self,
        end: socket.socket,
        has_more: Callable[[], bool],
        take: Callable[[], bytes | None],
        look: Callable[[int], object],
    ) -> None:
        end.setblocking(False)
        self.end = end
        self.open = True
        self._has_more = has_more
        self._take = take
        self._look = look
        self._turn = lock()
        self._part: memoryview | None = None
        self._blocked = False

    def flush(self) -> None:
        """Sends what there is. Safe anywhere."""
        # An interrupt in the middle of a write would tear a frame apart, and only the main thread has them.
        if threading.current_thread() is threading.main_thread():
            hub.post(self.write_out)
        else:
            self.write_out()

    def write_out(self) -> None:
        """The same, on a thread that no interrupt can hit."""
        while True:
            if self._blocked or not self.open or not (self._part is not None or self._has_more()):
                break
            # Who finds it taken leaves: who has it looks again afterwards.
            if not self._turn.acquire(False):
                break
            try:
                self._write()
            except BlockingIOError:
                self._blocked = True
                hub.post(self._await_room)
            except OSError:
                # The other end is gone, which the hub notices.
                self.open = False
            finally:
                self._turn.release()

    def _write(self) -> None:
        while True:
            if self._part is None:
                data = self._take()
                if data is None:
                    break
                self._part = memoryview(data)
            sent = self.end.send(self._part)
            self._part = self._part[sent:] if sent < len(self._part) else None

    # On the thread of the hub ---------------------------------------------------------------------

    def watch(self) -> None:
        """Has the hub look at it."""
        hub.selector.register(self.end, selectors.EVENT_READ, self._look)

    def _await_room(self) -> None:
        if self.open:
            hub.selector.modify(self.end, selectors.EVENT_READ | selectors.EVENT_WRITE, self._look)

    def room(self) -> None:
        """It takes more."""
        if not self.open:
            return
        hub.selector.modify(self.end, selectors.EVENT_READ, self._look)
        self._blocked = False
        self.write_out()

    def unwatch(self) -> None:
        """The hub looks at it no more, and nothing more is sent."""
        self.open = False
        if self.end.fileno() >= 0 and self.end.fileno() in hub.selector.get_map():
            hub.selector.unregister(self.end)

    def close(self) -> None:
        """Closes it, when nobody is in the middle of a write."""
        self.unwatch()
        with self._turn:
            self.end.close()
