"""A claim of another OS process: a place in the line and a hold like any other, which its end ends alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resprout import process, throttle
from resprout.actors import Agent, LockNotFound, Pid, QueueFull
from resprout.throttle.lock.remote import RemoteClaim
from resprout.throttle.lock.table import cores

from ...waiting import await_end

NAME = "remote"


class Told:
    """Notes what is told to the other process."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def granted(self, ref: int, token: int) -> None:
        self.said.append(("granted", ref, token))

    def refused(self, ref: int, error: BaseException | None) -> None:
        self.said.append(("refused", ref, error if error is None else type(error)))

    def lost(self, ref: int) -> None:
        self.said.append(("lost", ref))


@pytest.fixture
def told() -> Iterator[Told]:
    throttle.new(NAME, 1, max_waiting=1)
    yield Told()
    if NAME in throttle.locks():
        throttle.stop_lock(NAME)


@pytest.fixture
def stand_in() -> Iterator[Pid]:
    agent = Agent.start(dict)
    yield agent
    if agent.alive:
        agent.stop()


def claim(told: Told, ref: int, pid: Pid, *, weight: int = 1, once: bool = False) -> RemoteClaim:
    made = RemoteClaim(cores[NAME], ref, pid, weight, 0, once, "<0.7>", told)
    made.enter()
    return made


def test_it_is_granted_waits_and_is_granted_when_its_turn_comes(told: Told, stand_in: Pid) -> None:
    first, second = claim(told, 1, stand_in), claim(told, 2, stand_in)
    (held,) = throttle.holders(NAME)
    assert (held.pid, held.token) == (stand_in, first.token)
    assert [each.pid for each in throttle.waiters(NAME)] == [stand_in]
    first.end("success")
    first.end("success")
    assert told.said == [("granted", 1, first.token), ("granted", 2, second.token)]
    assert second.token > first.token
    second.end("success")
    assert throttle.lock_state(NAME).used == 0


def test_the_death_of_the_process_that_stands_for_it_frees_nothing(told: Told, stand_in: Pid) -> None:
    held = claim(told, 1, stand_in)
    assert [each.straggler for each in throttle.holders(NAME)] == [False]
    await_end(stand_in)
    assert [each.straggler for each in throttle.holders(NAME)] == [True]
    found = process.whereis(NAME)
    assert found is not None
    await_end(found)
    assert throttle.attempt(NAME) is None
    held.end("ignored")
    with throttle.slot(NAME):
        assert throttle.lock_state(NAME).running == 1


def test_one_that_does_not_wait_is_told_that_the_slots_are_not_free(told: Told, stand_in: Pid) -> None:
    first = claim(told, 1, stand_in)
    waits = claim(told, 2, stand_in)
    claim(told, 3, stand_in, once=True)
    assert told.said[1:] == [("refused", 3, None)]
    assert throttle.lock_state(NAME).waiting == 1
    waits.end("ignored")
    claim(told, 4, stand_in, once=True)
    assert told.said[2:] == [("refused", 4, None)]
    first.end("success")
    claim(told, 5, stand_in, once=True).end("success")
    assert told.said[3][:2] == ("granted", 5)


def test_what_cannot_be_granted_is_refused_with_the_error_of_the_lock(told: Told, stand_in: Pid) -> None:
    claim(told, 1, stand_in, weight=2)
    claim(told, 2, stand_in)
    claim(told, 3, stand_in)
    claim(told, 4, stand_in)
    throttle.stop_lock(NAME)
    assert [each[0::2] for each in told.said if each[0] == "refused"] == [
        ("refused", ValueError),
        ("refused", QueueFull),
        ("refused", LockNotFound),
    ]


def test_one_that_has_left_before_it_came_in_is_granted_nothing(told: Told, stand_in: Pid) -> None:
    made = RemoteClaim(cores[NAME], 1, stand_in, 1, 0, False, "<0.7>", told)
    made.end("ignored")
    made.enter()
    assert told.said == []
    assert throttle.lock_state(NAME).used == 0
