"""What `resprout run` shows of the work, and the proof at its end."""

from __future__ import annotations

import asyncio

import attrs

from resprout.observer import Progress

from . import measure, store
from .topic import LENGTH, PARTITIONS


class NotExact(Exception):
    """The proof has failed; so the run fails."""


@attrs.frozen
class Result:
    """What came of a run.

    Args:
        processed: Messages that the database holds the effects of, those of earlier runs included.
        expected: Messages of the topic.
        mismatches: Customers whose totals are not as the topic says.
        max_running: The most consumers that were at work at once.
        num_slots: The slots of the lock, None when no consumer came so far.
        fewest_free: The fewest connections that a request found free, None without any.
        api_requests: Requests of the probe.
        api_errors: How many of them had no good answer.
    """

    processed: int
    expected: int
    mismatches: int
    max_running: int
    num_slots: int | None
    fewest_free: int | None
    api_requests: int
    api_errors: int

    def check(self) -> None:
        """Holds it against what must be so whatever crashes.

        Raises:
            NotExact: It is not.
        """
        if self.mismatches:
            raise NotExact(f"the totals of {self.mismatches} customers are not as the topic says")
        if self.num_slots is not None and self.max_running > self.num_slots:
            raise NotExact(f"{self.max_running} consumers were at work at once, on {self.num_slots} slots")
        if self.fewest_free == 0:
            raise NotExact("a request of the API found no connection free")


class OrdersJob:
    """Looks at the database from outside the tree, through a connection of its own.

    Args:
        url: The database of the tree.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._before = sum(asyncio.run(read(url))[0].values())

    def progress(self) -> Progress:
        """How many messages were handled."""
        return Progress(self._before + measure.handled, PARTITIONS * LENGTH, unit="messages")

    def result(self) -> Result:
        """Counts what the database holds, and compares it with what the topic says it should hold."""
        offsets, totals = asyncio.run(read(self._url))
        wanted = store.expected(offsets)
        customers = totals.keys() | wanted.keys()
        return Result(
            processed=sum(offsets.values()),
            expected=PARTITIONS * LENGTH,
            mismatches=sum(totals.get(each) != wanted.get(each) for each in customers),
            max_running=measure.running.most,
            num_slots=measure.num_slots,
            fewest_free=measure.fewest_free,
            api_requests=measure.answers + measure.errors,
            api_errors=measure.errors,
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
        result = self.result()
        if self._before == result.processed == result.expected:
            return f"nothing left to do: all {result.expected:,} messages were handled before"
        lines = [
            f"{result.processed:,} of {result.expected:,} messages handled: all totals are as the topic says",
        ]
        if result.max_running:
            lines.append(
                f"at most {result.max_running} consumers were at work at once, on {result.num_slots} slots"
            )
        if result.fewest_free is not None:
            lines.append(
                f"{result.api_requests:,} requests to the API, {result.api_errors} errors; "
                f"each found {result.fewest_free} connections free or more"
            )
        return "\n".join(lines)


async def read(url: str) -> tuple[dict[int, int], dict[str, store.Total]]:
    """Everything that a database holds."""
    pool = await store.open_pool(url, 1)
    try:
        async with pool.acquire() as connection:
            return await store.everything(connection)
    finally:
        await pool.close()
