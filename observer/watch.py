"""The thread that shows a run while it goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .screen import Screen
from .snapshot import Snapshot

__all__ = ["Watch"]

logger = logging.getLogger("resprout.observer")


class Watch:
    """Shows a snapshot on a screen every `interval` of the screen, in one thread, until it is stopped.

    Args:
        look: Gives a snapshot without blocking.
        screen: Opened and closed by `start` and `stop`.
    """

    def __init__(self, look: Callable[[], Snapshot], screen: Screen) -> None:
        self._look = look
        self._screen = screen
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resprout observer display", daemon=True)

    def start(self) -> None:
        """Opens the screen and begins to show."""
        self._screen.open()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and closes the screen; nothing is shown after it returned."""
        self._stopping.set()
        try:
            if self._thread.ident is not None:  # The screen may have failed to open.
                self._thread.join()
        finally:
            self._screen.close()

    def _run(self) -> None:
        # Looks only after the first interval: at the very start there is nothing to see.
        while not self._stopping.wait(self._screen.interval):
            try:
                self._screen.show(self._look())
            except Exception:
                # A display that fails must not take the run with it, nor fill the log.
                logger.exception("the display failed; the tree goes on without it")
                return
