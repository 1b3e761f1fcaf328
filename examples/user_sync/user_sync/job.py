"""What `resprout run` shows of the work, and the proof at its end."""

from __future__ import annotations

from collections import Counter

import attrs

from resprout.observer import Progress

from .ledger import ledger, overlaps
from .requests import make_requests


@attrs.frozen
class Result:
    """What came of a run.

    Args:
        asked: Requests.
        synced: Requests that were carried out.
        users: How many users were asked for.
        wrong_counts: Users that were not synced as often as they were asked for.
        overlaps: Pairs of syncs of the same user that were at the same time.
        attempts: Visits to users, those that crashed included.
        put_back: Requests that met a taken user, and came up again a second later.
        given_up: Requests whose worker died with them in hand, and that went back on the queue.
    """

    asked: int
    synced: int
    users: int
    wrong_counts: int
    overlaps: int
    attempts: int
    put_back: int
    given_up: int


class SyncJob:
    """Compares what was asked with what the ledger says was done.

    Args:
        seed: Of the requests.
        count: How many there are.
    """

    def __init__(self, seed: object, count: object) -> None:
        self._asked = Counter(request.user for request in make_requests(int(str(seed)), int(str(count))))

    def progress(self) -> Progress:
        """How many requests were carried out."""
        return Progress(ledger.done(), sum(self._asked.values()), unit="syncs")

    def result(self) -> Result:
        """Counts, and looks at each pair of visits to a user."""
        visits, synced = ledger.visits(), ledger.syncs()
        return Result(
            asked=sum(self._asked.values()),
            synced=sum(synced.values()),
            users=len(self._asked),
            wrong_counts=sum(1 for user in {*self._asked, *synced} if self._asked[user] != synced[user]),
            overlaps=len(overlaps(visits)),
            attempts=len(visits),
            put_back=ledger.times_put_back(),
            given_up=ledger.times_given_up(),
        )

    def report(self) -> dict[str, object]:
        """The result as `--report` writes it."""
        return attrs.asdict(self.result())

    def summary(self) -> str:
        """The result for people."""
        result = self.result()
        counts = (
            "each as often as asked"
            if not result.wrong_counts
            else f"{result.wrong_counts} not as often as asked"
        )
        pairs = "never two at once" if not result.overlaps else f"{result.overlaps} times two at once"
        return (
            f"{result.synced:,} of {result.asked:,} syncs of {result.users} users: {counts}, {pairs}\n"
            f"{result.put_back:,} requests met a taken user and came up again, "
            f"{result.given_up:,} workers died with one in hand"
        )
