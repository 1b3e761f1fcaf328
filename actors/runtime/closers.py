"""The threads that close what processes own when the interpreter exits.

From Python 3.12 on no thread can be started then, and the main thread must close nothing itself: a close
that is stuck would keep the interpreter for ever. So they are started as soon as something is owned. There
are two: one close may be stuck and the rest is closed all the same. Behind two that are stuck nothing more is
closed, and a warning names what is open.
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import Any, Protocol

from ..primitives import fork_locks as forks

logger = logging.getLogger("resprout")
COUNT = 2
NAME = "resprout-closer"


class Closing(Protocol):
    """What a closer does."""

    def run(self, worker: Any) -> None:
        """Close things, one after another."""


class Closers:
    """See the module."""

    def __init__(self) -> None:
        self._work: SimpleQueue[Closing] = SimpleQueue()
        self._start_lock = forks.lock()
        self._started = 0

    def reset(self) -> None:
        """Begin anew, in place: after a fork the threads are the parent's."""
        self.__init__()  # type: ignore[misc]  # the one object that everybody has imported must stay

    def ensure(self) -> bool:
        """Start the threads unless they run already; False when none runs, since the interpreter is going
        down or the machine is out of threads.
        """
        if self._started < COUNT:
            with self._start_lock:
                for _ in range(self._started, COUNT):
                    try:
                        threading.Thread(target=self._main, name=NAME, daemon=True).start()
                    except RuntimeError:
                        break
                    self._started += 1
        return bool(self._started)

    def submit(self, closing: Closing) -> bool:
        """Have it done soon; False when there is no thread that could."""
        if not self._started:
            return False
        self._work.put(closing)
        return True

    def _main(self) -> None:
        while True:
            closing = self._work.get()
            try:
                closing.run(None)
            except BaseException:
                logger.exception("closing what a process owned raised: %r", closing)
            del closing


closers = Closers()
