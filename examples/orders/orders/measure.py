"""What the example counts about itself: handlers at work, messages handled, and the API's answers.

One of each a process, since the report wants the numbers of all incarnations of a consumer and of the probe.
"""

from __future__ import annotations

import threading
from math import ceil
from types import TracebackType

import attrs


class Gauge:
    """Counts who is inside it at once: `with running: ...` in the handler is the proof that the lock holds.

    It counts in the handler itself, so a handler that goes on after its consumer was killed counts until it
    leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._most = 0

    @property
    def most(self) -> int:
        """The most that were ever inside at once."""
        return self._most

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            self._most = max(self._most, self._inside)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1


class Counter:
    """Counts up, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    @property
    def value(self) -> int:
        """How often it was told to."""
        return self._value

    def up(self) -> None:
        """Counts one more."""
        with self._lock:
            self._value += 1


@attrs.frozen
class LatencyStatistics:
    """The answers of the API as the probe saw them."""

    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


class Latencies:
    """Collects how long each request took, in seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: list[float] = []
        self._errors = 0

    def answered(self, seconds: float) -> None:
        """Counts a good answer."""
        with self._lock:
            self._seconds.append(seconds)

    def failed(self) -> None:
        """Counts a request without a good answer."""
        with self._lock:
            self._errors += 1

    def statistics(self) -> LatencyStatistics:
        """What was collected so far."""
        with self._lock:
            ordered, errors = sorted(self._seconds), self._errors
        return LatencyStatistics(
            len(ordered) + errors, errors, _percentile_ms(ordered, 0.50), _percentile_ms(ordered, 0.99)
        )


def _percentile_ms(ordered: list[float], share: float) -> float | None:
    return round(ordered[ceil(share * len(ordered)) - 1] * 1000, 2) if ordered else None


running = Gauge()
"""The handlers at work."""

handled = Counter()
"""The messages whose effects were committed by this program."""

api = Latencies()
"""The API as the probe sees it."""

num_slots: int | None = None
"""The slots of the lock, as the last consumer that started saw them."""
