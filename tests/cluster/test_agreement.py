"""Each kind of engine answers as the one in memory does: the same steps of three processes, on each, of locks
and of keys.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import cast

import attrs
import pytest

from resprout.cluster.driver import Connection, ConnectionLost, KeyConnection, Request, find_driver
from resprout.cluster.key_operations import (
    ChangeKey,
    ClaimKey,
    FindKey,
    KeepKey,
    KeyClaimed,
    KeyFact,
    KeyOperation,
    KeyOwned,
    KeyRequest,
    KeyRow,
    ReleaseKey,
)
from resprout.cluster.operations import (
    Declare,
    Fact,
    Granted,
    Join,
    Leave,
    Operation,
    Pause,
    Queued,
    Redeclared,
    Resize,
)
from resprout.cluster.settings import engine_settings
from resprout.throttle import Rate

from ..waiting import until
from .kinds import KINDS
from .model_engine import ModelEngine
from .model_keys import ModelKeys

MEMBERS = 3
STEPS = 60
# So slow that what may come in a test is a burst.
RATES = [Rate(1e-6, 1), Rate(1e-6, 3)]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def begin(url: str, member: int, again: bool) -> Connection:
    settings = engine_settings(url, name="e", ttl=9.0, grace=0.15, schema="resprout", node="n")
    return find_driver(settings)(settings, member, again, 5.0)


@pytest.fixture
def connections(url: str) -> Iterator[list[Connection]]:
    found = [begin(url, member, False) for member in range(1, MEMBERS + 1)]
    yield found
    for each in found:
        each.close()


def some_operation(chosen: random.Random, asked: list[int]) -> Operation:
    kind = chosen.choices(["join", "leave", "again", "resize", "declare", "pause"], [8, 7, 1, 1, 1, 1])[0]
    if kind == "join" or not asked:
        asked.append(len(asked) + 1)
        once, most, block = chosen.random() < 0.2, chosen.choice([None, None, 3]), chosen.choice([1, 1, 4])
        priority = chosen.choice([0, 0, 0, 5, -5])
        return Join(asked[-1], chosen.choice([1, 1, 2, 3]), priority, once, most, "w", block=block)
    if kind == "leave":
        return Leave(chosen.choice(asked))
    if kind == "again":
        # What was asked for, and is over maybe: as where an answer was lost.
        return Join(chosen.choice(asked), 1, 0, False, None, "w")
    if kind == "resize":
        return Resize(chosen.randint(1, 4))
    if kind == "declare":
        return Declare(chosen.randint(2, 4), False, chosen.choice([None, *RATES]))
    return Pause(chosen.random() < 0.5)


class Numbers:
    """Tokens and places of two engines, of which only the order is the same."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, int], int] = {}

    def same(self, what: str, model: int, real: int) -> bool:
        return self._pairs.setdefault((what, model), real) == real

    def rise(self) -> bool:
        """Whether no two grants have a token in common, either."""
        tokens = [(model, real) for (what, model), real in sorted(self._pairs.items()) if what == "token"]
        return all(
            later - real >= after - model for (model, real), (after, later) in itertools.pairwise(tokens)
        )


def agree(numbers: Numbers, expected: Fact, got: Fact) -> bool:
    match expected, got:
        case Granted(ref, token), Granted(its_ref, its_token):
            return ref == its_ref and numbers.same("token", token, its_token)
        case Queued(ref, place), Queued(its_ref, its_place):
            return ref == its_ref and numbers.same("place", place, its_place)
        case _:
            return expected == got


@pytest.mark.parametrize("seed", range(6))
def test_each_step_is_answered_as_by_the_engine_in_memory(connections: list[Connection], seed: int) -> None:
    chosen = random.Random(seed)
    model = ModelEngine(2, 2)
    numbers = Numbers()
    asked: list[list[int]] = [[] for _ in connections]
    connections[0].step([Request("db", 2, [Declare(2, False)], False)], 5.0)
    for _ in range(STEPS):
        at = chosen.randrange(MEMBERS)
        # One lock asks for what it wants in the order of its tickets.
        operations = [some_operation(chosen, asked[at]) for _ in range(chosen.randint(1, 4))]
        expected = model.step(at, operations, False)
        (got,) = connections[at].step([Request("db", 2, operations, False)], 5.0)
        assert (got.num_slots, got.paused) == (expected.num_slots, expected.paused)
        assert len(got.facts) == len(expected.facts), (operations, expected.facts, got.facts)
        for one, other in zip(expected.facts, got.facts, strict=True):
            assert agree(numbers, one, other), (operations, expected.facts, got.facts)
        for member, connection in enumerate(connections):
            told = [notice for to, notice in model.notices if to == member]
            heard: list[Granted] = []
            until(lambda: heard.extend(connection.notified()) or len(heard) >= len(told))  # noqa: B023  # at once
            assert len(heard) == len(told)
            assert all(agree(numbers, one, other) for one, other in zip(told, heard, strict=True))
        model.notices.clear()
    assert numbers.rise()
    assert any(isinstance(fact, Redeclared) for fact in model.step(0, [Declare(7, False)], False).facts)


def of_many(ref: int) -> Join:
    """A claim, always the same for a ticket."""
    some = random.Random(ref)
    weight, priority, block = some.choice([1, 1, 1, 2]), some.choice([0, 0, 0, 5]), some.choice([1, 1, 4])
    return Join(ref, weight, priority, some.random() < 0.7, None, "w", block=block)


@pytest.mark.parametrize("seed", range(6))
def test_what_many_threads_of_a_process_say_at_once_is_answered_likewise(
    connections: list[Connection], seed: int
) -> None:
    """What they give back first, as a process says it: for that PostgreSQL has a way of its own."""
    chosen = random.Random(seed)
    model = ModelEngine(9, 9)
    numbers = Numbers()
    asked: list[list[int]] = [[] for _ in connections]
    connections[0].step([Request("db", 9, [Declare(9, False)], False)], 5.0)
    for _ in range(STEPS):
        at = chosen.randrange(MEMBERS)
        leaves = [Leave(ref) for ref in chosen.sample(asked[at], min(len(asked[at]), chosen.randint(0, 5)))]
        # Now and then one that was said before, as where an answer was lost.
        refs = [chosen.choice([chosen.randint(1, 200), *asked[at][-2:]]) for _ in range(chosen.randint(0, 5))]
        joins = [of_many(ref) for ref in refs]
        asked[at] = list({*asked[at], *[each.ref for each in joins]} - {each.ref for each in leaves})
        operations = [*leaves, *joins]
        expected = model.step(at, operations, False)
        (got,) = connections[at].step([Request("db", 9, operations, False)], 5.0)
        assert len(got.facts) == len(expected.facts), (operations, expected.facts, got.facts)
        for one, other in zip(expected.facts, got.facts, strict=True):
            assert agree(numbers, one, other), (operations, expected.facts, got.facts)
    assert numbers.rise()


@pytest.mark.parametrize("is_free", [False, True])
def test_who_asks_for_more_than_there_is_for_a_moment_keeps_its_place(
    connections: list[Connection], is_free: bool
) -> None:
    """The process that waits has heard nothing of it, as it does not look all the time."""
    first, second, third = connections
    first.step([Request("db", 4, [Declare(4, False), Join(1, 4, 0, False, None, "w")], False)], 5.0)
    second.step([Request("db", 4, [Join(1, 3, 0, False, None, "w")], False)], 5.0)
    third.step([Request("db", 4, [Resize(1), Leave(9)], False)], 5.0)
    if is_free:
        # It is there, and nobody has to wait for it.
        first.step([Request("db", 4, [Leave(1)], False)], 5.0)
        (answer,) = third.step([Request("db", 4, [Join(2, 1, 0, False, None, "w")], False)], 5.0)
        assert isinstance(answer.facts[0], Granted)
        third.step([Request("db", 4, [Leave(2)], False)], 5.0)
    third.step([Request("db", 4, [Resize(4)], False)], 5.0)
    first.step([Request("db", 4, [Leave(1)], False)], 5.0)
    heard: list[Granted] = []
    until(lambda: heard.extend(second.notified()) or heard)
    assert [each.ref for each in heard] == [1]


def some_key_operation(
    chosen: random.Random, asked: list[tuple[int, str]], owned: list[tuple[int, str]], tokens: list[int]
) -> KeyOperation:
    kind = chosen.choices(["claim", "release", "again", "change", "keep", "find"], [6, 5, 1, 2, 2, 3])[0]
    if kind == "claim" or not asked:
        asked.append((len(asked) + 1, chosen.choice(["a", "b", "c"])))
        return ClaimKey(*asked[-1], chosen.choice(["1", '{"x":null}']), "w h o")
    ref, key = chosen.choice(owned or asked if chosen.random() < 0.7 else asked)
    if kind == "release":
        return ReleaseKey(ref, key)
    if kind == "again":
        return ClaimKey(ref, key, "1", "w h o")
    if kind == "change":
        return ChangeKey(ref, key, chosen.choice(["2", "[]"]), chosen.random() < 0.7)
    if kind == "keep":
        return KeepKey(ref, key, chosen.choice([0, *tokens]), "3", True, "w h o")
    return FindKey(0, chosen.choice(["a", "b", "c"]))


def agree_on_keys(numbers: Numbers, expected: KeyFact, got: KeyFact) -> bool:
    match expected, got:
        case KeyClaimed(token), KeyClaimed(its_token):
            return numbers.same("token", token, its_token)
        case KeyOwned(member, ref, _, who, value), KeyOwned():
            return got == KeyOwned(member, ref, "n", who, value)
        case _:
            return expected == got


@pytest.mark.parametrize("seed", range(3))
def test_each_step_of_keys_is_answered_as_by_the_engine_in_memory(
    connections: list[Connection], seed: int
) -> None:
    chosen = random.Random(seed)
    model, numbers = ModelKeys(), Numbers()
    asked: list[list[tuple[int, str]]] = [[] for _ in connections]
    tokens: dict[int, int] = {}
    for _ in range(STEPS):
        at = chosen.randrange(MEMBERS)
        owned = [(ref, row.key) for ref, row in model.rows_of(at + 1).items()]
        operations = [
            some_key_operation(chosen, asked[at], owned, list(tokens)) for _ in range(chosen.randint(1, 4))
        ]
        expected = [
            fact
            for each in operations
            for fact in model.step(
                at + 1, [each if not isinstance(each, KeepKey) else in_model(each, tokens)]
            )
        ]
        (got,) = cast(KeyConnection, connections[at]).keys([KeyRequest("syncs", operations)], 5.0)
        assert len(got) == len(expected)
        for one, other in zip(expected, got, strict=True):
            assert agree_on_keys(numbers, one, other), (operations, expected, got)
            if isinstance(one, KeyClaimed) and isinstance(other, KeyClaimed):
                tokens[other.token] = one.token
    assert numbers.rise()
    assert len(tokens) > STEPS // 6


def in_model(keep: KeepKey, tokens: dict[int, int]) -> KeepKey:
    """The same with the model's token."""
    return attrs.evolve(keep, token=tokens.get(keep.token, 0))


def test_a_session_begins_with_the_keys_that_its_process_has(connections: list[Connection], url: str) -> None:
    operations: list[KeyOperation] = [
        ClaimKey(1, "a", "1", "w"),
        ClaimKey(2, "b", "1", "w"),
        ReleaseKey(1, "a"),
    ]
    ((_, fact, _),) = cast(KeyConnection, connections[0]).keys([KeyRequest("syncs", operations)], 5.0)
    assert isinstance(fact, KeyClaimed)
    assert connections[0].greeting.keys == {}
    again = begin(url, 1, True)
    connections.append(again)
    assert again.greeting.keys == {"syncs": {2: KeyRow("b", fact.token)}}
    assert not again.greeting.ended
    with pytest.raises(ConnectionLost):
        cast(KeyConnection, connections[0]).keys([KeyRequest("syncs", operations)], 5.0)
