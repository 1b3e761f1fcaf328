"""What happened, noted by the syncs themselves: the remote system of this example, and the proof at its end.

It is memory that no process owns, so it outlives all of them. Notes are appended, which any thread may do
at any time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from .requests import Request


@attrs.frozen
class Visit:
    """The time that one worker spent on one user, to the end or to its crash."""

    user: int
    began: float
    ended: float


class Ledger:
    """Which requests were carried out, and when somebody was at work on which user."""

    def __init__(self) -> None:
        self._done: dict[int, Request] = {}
        self._visits: list[Visit] = []
        self._tried: dict[int, object] = {}
        self._put_back: list[None] = []
        self._given_up: list[None] = []
        self._finished = False

    @contextmanager
    def visit(self, user: int) -> Iterator[None]:
        """Notes when this began and ended, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._visits.append(Visit(user, began, time.perf_counter()))

    def is_first(self, request: Request) -> bool:
        """Tells, once for each request, that it was never tried before."""
        mine = object()
        return self._tried.setdefault(request.number, mine) is mine

    def carry_out(self, request: Request) -> None:
        """The effect of a sync."""
        self._done[request.number] = request

    def is_done(self, request: Request) -> bool:
        """Tells whether a request was carried out, maybe by a worker that crashed before it could say so."""
        return request.number in self._done

    def put_back(self) -> None:
        """Notes that a request met a taken user."""
        self._put_back.append(None)

    def gave_up(self) -> None:
        """Notes that a worker died with a request in hand."""
        self._given_up.append(None)

    def finish(self) -> None:
        """Notes that nothing is left to do."""
        self._finished = True

    def is_finished(self) -> bool:
        """Tells whether all was done; not so when the run was stopped before."""
        return self._finished

    def times_put_back(self) -> int:
        """How often a request met a taken user."""
        return len(self._put_back)

    def times_given_up(self) -> int:
        """How often a worker died with a request in hand."""
        return len(self._given_up)

    def done(self) -> int:
        """How many requests were carried out."""
        return len(self._done)

    def visits(self) -> list[Visit]:
        """All visits, in order of their ends."""
        return list(self._visits)

    def syncs(self) -> Counter[int]:
        """How often each user was synced."""
        return Counter(request.user for request in list(self._done.values()))


def overlaps(visits: list[Visit]) -> list[tuple[Visit, Visit]]:
    """Finds the visits of the same user that were at the same time.

    >>> overlaps([Visit(1, 0.0, 1.0), Visit(2, 0.5, 1.5), Visit(1, 1.0, 2.0)])
    []
    >>> len(overlaps([Visit(1, 0.0, 1.0), Visit(1, 0.9, 2.0)]))
    1
    """
    found = []
    latest: dict[int, Visit] = {}
    for visit in sorted(visits, key=lambda each: (each.user, each.began)):
        former = latest.get(visit.user)
        if former is not None and visit.began < former.ended:
            found.append((former, visit))
        if former is None or visit.ended > former.ended:
            latest[visit.user] = visit
    return found


ledger = Ledger()
"""The one of this run."""
