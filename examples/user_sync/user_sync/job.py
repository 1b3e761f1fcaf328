"""What `resprout run` shows of the work, and the proof at its end."""

from __future__ import annotations

from collections import Counter

import attrs

from resprout.observer import Progress

from .ledger import ledger, overlaps
from .requests import make_requests


class NotExact(Exception):
    """The proof has failed; so the run fails."""


@attrs.frozen
class Result:
    """What came of a run.

    Args:
        asked: Requests.
        synced: Requests that were carried out.
        users: How many users were asked for.
        finished: Whether nothing was left to do; not so when the run was stopped before.
        wrong_counts: Users that were synced more often than asked, or, if it is finished, less often.
        overlaps: Pairs of syncs of the same user that were at the same time.
        attempts: Visits to users, those that crashed included.
        put_back: Requests that met a taken user, and came up again a second later.
        given_up: Requests whose worker died with them in hand, and that went back on the queue.
    """

    asked: int
    synced: int
    users: int
    finished: bool
    wrong_counts: int
    overlaps: int
    attempts: int
    put_back: int
    given_up: int

    def check(self) -> None:
        """Holds it against what must be so.

        Raises:
            NotExact: It is not.
        """
        if self.wrong_counts:
            raise NotExact(f"{self.wrong_counts} users were not synced as often as they were asked for")
        if self.overlaps:
            raise NotExact(f"{self.overlaps} times two workers were at work on the same user at once")


class SyncJob:
    """Compares what was asked with what the ledger says was done.

    Args:
        seed: Of the requests.
        count: How many there are.
    """

    def __init__(self, seed: int, count: int) -> None:
        self._asked = Counter(request.user for request in make_requests(seed, count))

    def progress(self) -> Progress:
        """How many requests were carried out."""
        return Progress(ledger.done(), sum(self._asked.values()), unit="syncs")

    def result(self) -> Result:
        """Counts, and looks at each pair of visits to a user."""
        finished = ledger.is_finished()  # before the rest is read
        visits, synced = ledger.visits(), ledger.syncs()
        too_many, too_few = synced - self._asked, self._asked - synced
        return Result(
            asked=sum(self._asked.values()),
            synced=sum(synced.values()),
            users=len(self._asked),
            finished=finished,
            wrong_counts=len(too_many) + (len(too_few) if finished else 0),
            overlaps=len(overlaps(visits)),
            attempts=len(visits),
            put_back=ledger.times_put_back(),
            given_up=ledger.times_given_up(),
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
        if not result.asked:
            return "nothing to do: no user was asked for"
        counts = "each as often as asked" if result.finished else "none more often than asked"
        syncs = f"{result.synced:,} of {result.asked:,} syncs of {result.users} users"
        return (
            f"{syncs}: {counts}, never two at once\n"
            f"{result.put_back:,} requests met a taken user and came up again, "
            f"{result.given_up:,} workers died with one in hand"
        )
