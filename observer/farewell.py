"""What is said after a tree has ended is finished, whatever signals still come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from ..supervision import STOP_SIGNALS

__all__ = ["Farewell"]

PATIENCE = 5.0
"""Seconds that it may take; what takes longer hangs, and a signal ends it."""


class Farewell:
    """Keeps the signals that stop a tree from cutting off its report and summary: an impatient second Ctrl-C
    is for a tree that does not stop, and often comes when it has just done so.

    Args:
        begun: Whether the tree has begun to start; from then on, until it has ended, it sees to signals.
        clock: Gives seconds.

    Attributes:
        stopped_by: The signal that has ended the run before the tree began; None if none has.
    """

    def __init__(self, begun: Callable[[], bool], clock: Callable[[], float] = monotonic) -> None:
        self._begun = begun
        self._clock = clock
        self._since: float | None = None
        self.stopped_by: signal.Signals | None = None

    def begin(self) -> None:
        """The tree has ended."""
        self._since = self._clock()

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Before the tree begins, signals raise inside the `with`, so that what is open is closed: Ctrl-C
        KeyboardInterrupt, the others SystemExit. After its end they do nothing; after PATIENCE they raise
        again.

        In the main thread only; signals with handlers of somebody else's are left to those.
        """

        def handler(number: int, frame: object) -> None:
            if self._ignores():
                return
            if not self._begun():
                # What is said of that is finished, too.
                self.stopped_by = signal.Signals(number)
                self.begin()
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

        here = threading.current_thread() is threading.main_thread()
        usual = (signal.SIG_DFL, signal.default_int_handler)
        before = {
            number: signal.getsignal(number)
            for number in STOP_SIGNALS
            if here and signal.getsignal(number) in usual
        }
        for number in before:
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number, old in before.items():
                if signal.getsignal(number) is handler:  # Somebody may ignore it from now on.
                    signal.signal(number, old)

    def _ignores(self) -> bool:
        # Between the end of the tree and `begin` there is a moment, too.
        if self._since is None:
            return self._begun()
        return self._clock() - self._since < PATIENCE
