"""What the example counts about itself. All of it runs on one loop, so nothing here needs a lock."""

from __future__ import annotations

from types import TracebackType


class Gauge:
    """Counts who is inside it at once; `most` is the most that ever were."""

    def __init__(self) -> None:
        self.most = 0
        self._inside = 0

    def __enter__(self) -> None:
        self._inside += 1
        self.most = max(self.most, self._inside)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._inside -= 1


def found_free(connections: int) -> None:
    """Notes how many connections a request of the API found free."""
    global fewest_free
    fewest_free = connections if fewest_free is None else min(fewest_free, connections)


running = Gauge()
"""The consumers that are at work on a message."""

handled = 0
"""Messages that were handled."""

num_slots: int | None = None
"""The slots of the lock."""

fewest_free: int | None = None
"""The fewest connections that a request has found free."""

answers = 0
"""Requests of the probe that were answered."""

errors = 0
"""Those that were not."""
