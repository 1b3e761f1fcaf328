"""What `resprout run` shows of the crawl, and the proof at its end, by the log of those who were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs

from resprout.observer import Progress
from resprout.throttle import Rate

from . import frontier, site
from .hosts import NUM_SLOTS, RATE
from .site import Visit

TO_FETCH = site.PAGES - 1
"""The pages of a host, but for the broken one."""


class NotExact(Exception):
    """The proof has failed; so the run fails."""


@attrs.frozen
class Result:
    """What a host saw.

    Args:
        host: Its name.
        requests: All of them.
        pages: Pages that were fetched.
        twice: Pages that were fetched more than once.
        missing: Pages that nobody fetched, the broken one aside.
        failures: Requests that were answered with an error.
        most_at_once: The most requests that it was at together.
        most_in_a_second: The most requests that began within a second.
        too_fast: Pairs of requests between which more have begun than the rate allows.
    """

    host: str
    requests: int
    pages: int
    twice: int
    missing: int
    failures: int
    most_at_once: int
    most_in_a_second: int
    too_fast: int

    def check(self, *, finished: bool = True) -> None:
        """Holds it against what must be so.

        Args:
            finished: Whether the crawl came to its end; one that was stopped may have pages left.

        Raises:
            NotExact: It is not.
        """
        missing = self.missing if finished else 0
        if missing or self.twice:
            raise NotExact(f"{self.host}: {missing} pages were never fetched, {self.twice} twice")
        if self.most_at_once > NUM_SLOTS:
            raise NotExact(f"{self.host} was asked for {self.most_at_once} pages at once")
        if self.too_fast:
            raise NotExact(f"{self.host} was asked too fast {self.too_fast} times")


class CrawlJob:
    """Knows how many pages there are, and what the hosts were asked for."""

    def progress(self) -> Progress:
        """How many pages were fetched."""
        done = sum(visit.status == 200 for visits in site.log.values() for visit in list(visits))
        return Progress(done, len(site.log) * TO_FETCH, unit="pages")

    def results(self) -> list[Result]:
        """What each host saw."""
        return [result_of(host, visits) for host, visits in site.log.items()]

    def report(self) -> dict[str, object]:
        """The results as `--report` writes them.

        Raises:
            NotExact: They are not as they must be.
        """
        results = self.results()
        for result in results:
            result.check(finished=frontier.finished.is_set())
        return {"finished": frontier.finished.is_set(), "hosts": [attrs.asdict(result) for result in results]}

    def summary(self) -> str:
        """The results for people."""
        so_far = "" if frontier.finished.is_set() else f" of {TO_FETCH}"
        return "\n".join(
            f"{result.host}: {result.pages}{so_far} pages, each once, by {result.requests} requests; at most "
            f"{result.most_at_once} at once and {result.most_in_a_second} in a second"
            for result in self.results()
        )


def result_of(host: str, visits: Sequence[Visit]) -> Result:
    """Counts."""
    fetched = Counter(visit.page for visit in visits if visit.status == 200)
    began = sorted(visit.began for visit in visits)
    return Result(
        host=host,
        requests=len(visits),
        pages=len(fetched),
        twice=sum(times > 1 for times in fetched.values()),
        missing=len(set(range(site.PAGES)) - {site.BROKEN} - fetched.keys()),
        failures=len(visits) - fetched.total(),
        most_at_once=most_at_once(visits),
        most_in_a_second=max((sum(0 <= each - start <= 1 for each in began) for start in began), default=0),
        too_fast=too_fast(began, RATE, NUM_SLOTS),
    )


def most_at_once(visits: Sequence[Visit]) -> int:
    """The most visits that any one began in the middle of, itself included.

    >>> most_at_once([Visit(1, 200, 0.0, 2.0), Visit(2, 200, 1.0, 3.0), Visit(3, 200, 2.0, 4.0)])
    2
    """
    return max(
        (sum(each.began <= visit.began < each.ended for each in visits) for visit in visits), default=0
    )


def too_fast(began: Sequence[float], rate: Rate, num_slots: int) -> int:
    """Counts the pairs of requests between which more have begun than a rate allows.

    The rate is that of the grants, and a request comes to its host a moment after its grant. However long
    that moment is: no more than `num_slots` can be on their way, so in no time of `t` seconds do more than
    `burst + t * per_second + num_slots` begin.

    >>> too_fast([0.0, 0.0, 0.0, 0.0, 0.1, 0.2], Rate(per_second=10, burst=2), num_slots=1)
    3
    """
    return sum(
        last - first + 1 > rate.burst + (began[last] - began[first]) * rate.per_second + num_slots
        for first in range(len(began))
        for last in range(first, len(began))
    )
