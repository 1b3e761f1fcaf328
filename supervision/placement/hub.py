"""The one thread that waits for all pipes and all ends of placed children."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ...actors.engine import lock

logger = logging.getLogger("resprout.supervision")


class Hub:
    """Runs steps and looks at files, on a thread that lives as long as anybody is watched."""

    def __init__(self) -> None:
        self._guard = lock()
        self._watched = 0
        self._steps: deque[Callable[[], object]] = deque()
        self._running = False
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self.selector: Any = None

    def enter(self) -> None:
        """One more is watched, by steps that it posts itself; `leave` ends that."""
        with self._guard:
            self._watched += 1
            if self._running:
                return
            self._running = True
            self._bell = socket.socketpair()
            for end in self._bell:
                end.setblocking(False)
            self.selector = selectors.DefaultSelector()
            self.selector.register(self._bell[0], selectors.EVENT_READ, self._hear)
            threading.Thread(target=self._run, name="resprout-placement", daemon=True).start()

    def leave(self) -> None:
        """One less is watched; on the thread."""
        with self._guard:
            self._watched -= 1

    def post(self, step: Callable[[], object]) -> None:
        """Have a step done on the thread, soon; safe anywhere."""
        self._steps.append(step)
        bell = self._bell
        if bell is not None:
            try:
                bell[1].send(b"\0")
            except (BlockingIOError, OSError):
                # Full of rings already, or just closed, when nobody is watched any more.
                pass

    def _hear(self, mask: int) -> None:
        assert self._bell is not None
        try:
            while True:
                if not self._bell[0].recv(4096):
                    break
        except BlockingIOError:
            pass

    def _run(self) -> None:
        while True:
            while self._steps:
                _safely(self._steps.popleft())
            if not self._watched and self._ended():
                return
            for key, mask in self.selector.select():
                _safely(partial(key.data, mask))

    def _ended(self) -> bool:
        with self._guard:
            if self._watched or self._steps:
                return False
            self._running = False
            bell, self._bell = self._bell, None
            self.selector.close()
        if bell is not None:
            for end in bell:
                end.close()
        return True

    def forget(self) -> None:
        """In a forked child: there is no such thread, and what it watched is the parent's."""
        if self.selector is not None and self._running:
            self.selector.close()
        for end in self._bell or ():
            end.close()
        self.__init__()  # type: ignore[misc]  # begin anew in place


def _safely(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception:
        logger.exception("what watches placed children failed in one step, and goes on")


hub = Hub()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=hub.forget)
