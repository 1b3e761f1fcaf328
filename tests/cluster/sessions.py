"""A process's session with an engine, as its link has it, for tests of what a server does step by step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from resprout.cluster.driver import Connection, Request
from resprout.cluster.operations import Answer, Granted, Join, Operation, Row
from resprout.cluster.settings import engine_settings

from ..waiting import until

TTL = 3.0
_members = itertools.count(2**61)


class Session:
    """See the module; a claim of it is a number."""

    def __init__(self, url: str, *, ttl: float = TTL, grace: float = 0.15, node: str = "n") -> None:
        self.settings = engine_settings(url, name="e", ttl=ttl, grace=grace, schema="resprout", node=node)
        self.member = next(_members)
        self.connection = self._connect(False)

    def _connect(self, again: bool) -> Connection:
        if self.settings.scheme == "redis":
            from resprout.cluster.redis import connect
        else:
            from resprout.cluster.postgres import connect  # type: ignore[assignment]  # the same function
        return connect(self.settings, self.member, again, 5.0)

    def back(self) -> dict[int, Row]:
        """Connect anew; what there is of it."""
        self.connection.close()
        self.connection = self._connect(True)
        return dict(self.connection.greeting.rows.get("db", {}))

    @property
    def quiet(self) -> float:
        return self.connection.greeting.quiet

    def step(self, *operations: Operation, poll: bool = False, slots: int = 1) -> Answer:
        (answer,) = self.connection.step([Request("db", slots, operations, poll)], 5.0)
        return answer

    def do(self, *operations: Operation, poll: bool = False, slots: int = 1) -> tuple[object, ...]:
        return self.step(*operations, poll=poll, slots=slots).facts

    def beat(self) -> None:
        self.connection.step([], 5.0)

    def hears(self) -> list[Granted]:
        found: list[Granted] = []
        until(lambda: found.extend(self.connection.notified()) or found)
        return found


def join(
    ref: int, weight: int = 1, priority: int = 0, *, once: bool = False, most: int | None = None
) -> Join:
    return Join(ref, weight, priority, once, most, f"<{ref}>")


@contextmanager
def sessions(url: str, number: int, **options: float) -> Iterator[list[Session]]:
    found: list[Session] = []
    try:
        while True:
            if len(found) == number:
                break
            found.append(Session(url, **options))  # type: ignore[arg-type]  # seconds
        yield found
    finally:
        for each in found:
            each.connection.close()


def token_of(facts: tuple[object, ...]) -> int:
    (fact,) = facts
    assert isinstance(fact, Granted)
    return fact.token
