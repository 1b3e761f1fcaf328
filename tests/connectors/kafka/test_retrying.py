"""What becomes of a message whose handler has raised."""

from __future__ import annotations

import pytest

from resprout import Backoff
from resprout.connectors.kafka.retrying import Again, GiveUp, PutAside, Retrying

BACKOFF = Backoff(initial=1.0, factor=2.0, maximum=3.0)


@pytest.mark.parametrize(("dead_letters", "last"), [(True, PutAside()), (False, GiveUp())])
def test_retries_wait_longer_each_time_and_end(dead_letters: bool, last: object) -> None:
    retrying = Retrying(3, BACKOFF, dead_letters)
    steps = [retrying.after(failures, chance=0.0) for failures in range(1, 6)]
    assert steps == [Again(1.0), Again(2.0), Again(3.0), last, last]


def test_without_retries_the_first_failure_is_the_last() -> None:
    assert Retrying(0, BACKOFF, True).after(1, 0.0) == PutAside()


def test_chance_shortens_a_wait_by_the_jitter_at_most() -> None:
    retrying = Retrying(1, Backoff(initial=1.0, jitter=0.5), False)
    assert [retrying.after(1, chance) for chance in (0.0, 1.0)] == [Again(1.0), Again(0.5)]
