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
    def inside(self) -> int:
        """How many are inside now."""
        return self._inside

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
    """How long requests took, and how many had no good answer."""

    requests: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


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
            len(ordered) + errors,
            errors,
            p50_ms=_percentile_ms(ordered, 0.50),
            p95_ms=_percentile_ms(ordered, 0.95),
            p99_ms=_percentile_ms(ordered, 0.99),
            max_ms=_percentile_ms(ordered, 1.0),
        )


def _percentile_ms(ordered: list[float], share: float) -> float | None:
    return round(ordered[ceil(share * len(ordered)) - 1] * 1000, 2) if ordered else None


@attrs.frozen
class Lent:
    """What the API, or the consumers, have had of the pool of connections.

    Args:
        waits: How long they waited for a connection; a wait that ended without one counts as an error.
        found_none: How often none was free.
        out: The connections that they have.
    """

    waits: Latencies = attrs.field(factory=Latencies)
    found_none: Counter = attrs.field(factory=Counter)
    out: Gauge = attrs.field(factory=Gauge)


def all_are_out() -> bool:
    """Whether no connection of the pool is free."""
    return pool_size is not None and to_api.out.inside + to_consumers.out.inside >= pool_size


running = Gauge()
"""The handlers at work."""

handled = Counter()
"""The messages whose effects were committed by this program."""

api = Latencies()
"""The API as the probe sees it."""

to_api = Lent()
"""The connections of the API."""

to_consumers = Lent()
"""The connections of the consumers."""

pool_size: int | None = None
"""How many connections the pool has."""

num_slots: int | None = None
"""The slots of the lock, as the last consumer that started saw them."""
