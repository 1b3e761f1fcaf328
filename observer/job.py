"""What the observer wants to know of the work that a tree does."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import attrs

__all__ = ["Job", "Progress"]


@attrs.frozen
class Progress:
    """How far the work has come, as the bar shows it.

    Args:
        done: How many units are finished, those of earlier runs included.
        total: How many there are; 0 says that nobody knows.
        unit: What is counted, in the plural ("events").
    """

    done: int
    total: int
    unit: str = "items"

    @property
    def fraction(self) -> float | None:
        """The finished part, from 0 to 1, or None when the total is not known."""
        if self.total <= 0:
            return None
        return min(1.0, max(0.0, self.done / self.total))


@runtime_checkable
class Job(Protocol):
    """The work of a tree, as `resprout run` watches it; the tree file names its class under `job:`.

    Not needed for a tree that serves for ever: without one there is no bar, and `--chaos` goes by the clock.
    The object is made before the tree starts and outlives it, so no process may own it. `progress` is called
    many times a second from threads of the observer, so it must be cheap and never block for long; `report`
    and `summary` are called after the tree has stopped.
    """

    def progress(self) -> Progress:
        """How far the work is."""
        ...

    def report(self) -> dict[str, object]:
        """The job's own fields of `--report`, values that JSON knows."""
        ...

    def summary(self) -> str:
        """What was achieved, in one or two lines for people."""
        ...
