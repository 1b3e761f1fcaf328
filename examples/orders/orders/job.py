"""What `resprout run` shows of the work, and the proof at its end."""

from __future__ import annotations

from pathlib import Path

import attrs

from resprout.observer import Progress

from . import measure, store
from .check import expected
from .topic import FOLDER, read_topic


class NotExact(Exception):
    """The proof has failed; so the run fails."""


@attrs.frozen
class Result:
    """What came of a run.

    Args:
        processed: Messages that the database holds the effects of, those of earlier runs included.
        expected: Messages of the topic.
        handled_this_run: How many of `processed` were not there when the run began.
        orders: How many orders the database holds.
        dead_letters: Messages among `processed` that were put aside.
        mismatches: Orders and dead letters that are not as the topic says.
        max_running: The most handlers that were at work at once, counted inside them.
        num_slots: The slots of the lock, None when no consumer came so far.
        api_requests: Requests of the probe.
        api_p50_ms: Half of them were answered within this time, None without any.
        api_p99_ms: And 99 of 100 within this one.
        api_errors: How many of them had no good answer.
        pool_size: The connections that consumers and API share, None when there was no pool so far.
        consumer_connections: The most of them that consumers had at once.
        api_wait_p50_ms: Half of the requests waited no longer than this for a connection, None without any.
        api_wait_p95_ms: And 95 of 100 no longer than this.
        api_wait_max_ms: None of them longer than this.
        api_found_none: How many found no connection free and had to wait.
        api_wait_errors: How many got none: it took too long, or the database refused.
    """

    processed: int
    expected: int
    handled_this_run: int
    orders: int
    dead_letters: int
    mismatches: int
    max_running: int
    num_slots: int | None
    api_requests: int
    api_p50_ms: float | None
    api_p99_ms: float | None
    api_errors: int
    pool_size: int | None
    consumer_connections: int
    api_wait_p50_ms: float | None
    api_wait_p95_ms: float | None
    api_wait_max_ms: float | None
    api_found_none: int
    api_wait_errors: int

    def check(self) -> None:
        """Holds it against what must be so whatever crashes.

        Raises:
            NotExact: It is not.
        """
        if self.mismatches:
            raise NotExact(f"{self.mismatches} orders and dead letters are not as the topic says")
        if self.num_slots is not None and self.max_running > self.num_slots:
            raise NotExact(f"{self.max_running} handlers were at work at once, on {self.num_slots} slots")


class OrdersJob:
    """Watches the database from outside the tree, through a connection of its own.

    Args:
        url: The database that the pool of the tree uses, too.
        topic: The folder of the topic.
    """

    def __init__(self, url: str, topic: str | Path = FOLDER) -> None:
        self._engine = store.connect(url, size=1)
        self._topic = read_topic(Path(topic))
        self._expected = sum(map(len, self._topic))
        self._before = store.handled(self._engine)
        self._counted = measure.handled.value

    def progress(self) -> Progress:
        """How many messages were handled, by earlier runs, too; asked hundreds of times a second."""
        done = self._before + measure.handled.value - self._counted
        return Progress(done, self._expected, unit="messages")

    def result(self) -> Result:
        """Counts what the database holds, and compares it with what the topic says it should hold."""
        offsets, effects = store.everything(self._engine)
        self._engine.dispose()  # this may be the last that is asked; the next question connects again
        processed, api = sum(offsets.values()), measure.api.statistics()
        waits = measure.to_api.waits.statistics()
        return Result(
            processed=processed,
            expected=self._expected,
            handled_this_run=processed - self._before,
            orders=len(effects.orders),
            dead_letters=len(effects.dead_letters),
            mismatches=effects.mismatches(expected(self._topic, offsets)),
            max_running=measure.running.most,
            num_slots=measure.num_slots,
            api_requests=api.requests,
            api_p50_ms=api.p50_ms,
            api_p99_ms=api.p99_ms,
            api_errors=api.errors,
            pool_size=measure.pool_size,
            consumer_connections=measure.to_consumers.out.most,
            api_wait_p50_ms=waits.p50_ms,
            api_wait_p95_ms=waits.p95_ms,
            api_wait_max_ms=waits.max_ms,
            api_found_none=measure.to_api.found_none.value,
            api_wait_errors=waits.errors,
        )

    def report(self) -> dict[str, object]:
        """The result as `--report` writes it.

        Raises:
            NotExact: It is not as it must be.
        """
        result = self.result()
        result.check()
        return attrs.asdict(result)

    def summary(self) -> str:
        """The result for people."""
        return summarise(self.result())


def summarise(result: Result) -> str:
    """Says in a few lines what came of a run."""
    if result.handled_this_run == 0 and result.processed == result.expected and not result.mismatches:
        return f"nothing left to do: all {result.expected:,} messages were handled before"
    verdict = f"{result.mismatches:,} things are not as" if result.mismatches else "all is as"
    lines = [
        f"{result.processed:,} of {result.expected:,} messages handled, {result.handled_this_run:,} now",
        f"{result.orders:,} orders and {result.dead_letters:,} dead letters: {verdict} the topic says",
    ]
    if result.max_running:
        lines.append(
            f"at most {result.max_running} handlers were at work at once, on {result.num_slots} slots"
        )
    if result.api_requests:
        lines.append(
            f"{result.api_requests:,} requests to the API: half answered within {result.api_p50_ms} ms, "
            f"99% within {result.api_p99_ms} ms, {result.api_errors} errors"
        )
    if result.api_wait_p50_ms is not None:
        lines.append(
            f"consumers had at most {result.consumer_connections} of the {result.pool_size} connections, "
            f"{result.api_found_none:,} requests found none free and {result.api_wait_errors} got none"
        )
        lines.append(
            f"requests waited for a connection: half of them at most {result.api_wait_p50_ms} ms, "
            f"95% {result.api_wait_p95_ms} ms, all {result.api_wait_max_ms} ms"
        )
    return "\n".join(lines)
