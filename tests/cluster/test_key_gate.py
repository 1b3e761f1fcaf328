"""What somebody who registers sees of an engine, whose answers come at the worst moment or are cut."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout import AlreadyRegistered, CallTimeout, UnknownRegistry, process
from resprout.cluster.key_gate import KeyGate
from resprout.cluster.key_gates import KeyGates
from resprout.cluster.key_operations import (
    ClaimKey,
    FindKey,
    KeyClaimed,
    KeyDone,
    KeyFact,
    KeyFree,
    KeyOperation,
    KeyRefused,
    KeyRequest,
    KeyRow,
    KeyUndecided,
    ReleaseKey,
)
from resprout.registry.engine import SharedSettings, key_engines
from resprout.registry.shared_table import SharedEntry, SharedTable
from resprout.registry.table import tables
from resprout.throttle import EngineDown

from ..interrupting import Interrupter, at_safe_points

NAME = "test_key_gate"


class Scripted:
    """An engine whose answers a test gives.

    Attributes:
        asked: there is something to be said.
        patience: seconds.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.patience = 5.0
        self.gate: Any = None

    def check_keys(self) -> None:
        """It can."""

    def make_keys(self, settings: SharedSettings) -> KeyGate:
        self.gate = KeyGate(
            settings, 1, 77, self._woken, lambda: True, lambda: EngineDown(NAME), lambda: self.patience
        )
        self.gate.reassert({}, False)
        return self.gate

    def _woken(self, gate: KeyGate) -> None:
        self.asked.set()

    def answer(self, fact: Callable[[KeyOperation], KeyFact] | None = None) -> None:
        """Say yes to all that was asked."""
        request = self.gate.request(time.monotonic())
        if request is not None:
            facts = [(fact or self._yes)(each) for each in request.operations]
            self.gate.tell(request.operations, facts, time.monotonic() + 5.0, time.monotonic())

    @staticmethod
    def _yes(operation: KeyOperation) -> KeyFact:
        if isinstance(operation, FindKey):
            return KeyFree()
        return KeyClaimed(5) if isinstance(operation, ClaimKey) else KeyDone()


@pytest.fixture
def engine() -> Iterator[Scripted]:
    made = Scripted()
    key_engines[NAME] = made
    yield made
    del key_engines[NAME]


@pytest.fixture
def answering(engine: Scripted, table: SharedTable) -> Iterator[Scripted]:
    """It answers as soon as it is asked, in a thread of its own."""
    over = False

    def run() -> None:
        while not over:
            engine.asked.wait()
            engine.asked.clear()
            engine.answer()

    thread = threading.Thread(target=run)
    thread.start()
    yield engine
    over = True
    engine.asked.set()
    thread.join()


@pytest.fixture
def table(engine: Scripted) -> Iterator[SharedTable]:
    made = tables[NAME] = SharedTable(NAME, NAME, "exit", "wait")
    yield made
    made.end()
    tables.pop(NAME, None)


def between_grant_and_entry(table: SharedTable, step: Callable[[SharedEntry], None]) -> None:
    """Do something when a claim was granted, and whoever waited for it is about to enter the table."""
    enter = table._enter

    def entering(entry: SharedEntry) -> bool:
        table._enter = enter  # type: ignore[method-assign]
        step(entry)
        return enter(entry)

    table._enter = entering  # type: ignore[method-assign]


def begun_elsewhere(engine: Scripted, step: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Begin something in a thread, up to the engine; what comes of it."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(step())
        except Exception as error:
            found.append(error)

    engine.asked.clear()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert engine.asked.wait(10)
    return thread, found


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_registry_that_ends_between_the_grant_and_the_entry_ends_the_registration(
    engine: Scripted, table: SharedTable, asynchronous: bool
) -> None:
    """It went round and round there, in a coroutine without ever letting the loop go on."""
    between_grant_and_entry(table, lambda entry: table.end())

    def register() -> Any:
        me = process.current()
        return asyncio.run(table.aregister(me, "k", 1)) if asynchronous else table.register(me, "k", 1)

    thread, found = begun_elsewhere(engine, register)
    engine.answer()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(found[0], UnknownRegistry)
    assert not table.under("k")


def test_a_claim_that_is_given_up_between_the_grant_and_the_entry_was_not_entered(
    engine: Scripted, table: SharedTable
) -> None:
    """As one is whose owner has died just then: it registers again, as the process that it is now."""
    between_grant_and_entry(table, lambda entry: table.shared.drop(entry.claim))
    thread, found = begun_elsewhere(engine, lambda: table.register(process.current(), "k", 1))
    engine.answer()
    thread.join(10)
    assert found == [False]
    assert not table.under("k")


def test_a_registration_whose_time_is_over_between_the_grant_and_the_entry_does_not_wait_again(
    engine: Scripted, table: SharedTable
) -> None:
    """The engine took the key away just then, and the alarm had gone off already."""

    def expire_and_lose(entry: SharedEntry) -> None:
        entry.claim.expire()
        engine.gate._combiner.submit(engine.gate.claims.void)

    between_grant_and_entry(table, expire_and_lose)
    thread, found = begun_elsewhere(
        engine, lambda: asyncio.run(table.aregister(process.current(), "k", 1, timeout=60.0))
    )
    engine.answer()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(found[0], CallTimeout)
    assert not table.under("k")


@at_safe_points
def test_a_registration_that_is_interrupted_anywhere_has_the_key_or_leaves_nothing_behind(
    answering: Scripted, table: SharedTable
) -> None:
    interrupt = Interrupter(("/registry/shared_table", "/cluster/key_gate"))
    me = process.current()
    for number in interrupt.everywhere(least=15):
        interrupt(number, lambda: table.register(me, "k", 1), exact=True)
        claims = answering.gate.claims.claims.values()
        assert [each.taken for each in list(claims) if not each.over] == [True] * len(table.under("k")), (
            number
        )
        table.give_up(me, "k")
    assert not table.holdings(me).entries


def test_a_search_waits_for_as_long_as_an_engine_is_quiet(engine: Scripted, table: SharedTable) -> None:
    engine.patience = 0.0
    with pytest.raises(EngineDown):
        table.pairs("k")
    engine.patience = 30.0
    thread, found = begun_elsewhere(engine, lambda: table.pairs("k"))
    engine.answer(lambda each: KeyUndecided(0.0) if isinstance(each, FindKey) else KeyDone())
    assert not found
    engine.answer()
    thread.join(10)
    assert found == [[]]


def test_a_session_may_begin_while_registries_are_made() -> None:
    """The thread that talks goes through them meanwhile."""

    class Made:
        name = "made"

        def __init__(self, number: int, during: Callable[[], None]) -> None:
            self.number = number
            self._during = during

        def reassert(self, rows: object, trusting: bool) -> int:
            self._during()
            return 0

    gates: Any = KeyGates(7, lambda: None, lambda: True, lambda: EngineDown(NAME))
    more = iter(range(100, 200))

    def make() -> None:
        number = next(more)
        gates.gates[number] = Made(number, make)

    for number in range(1, 5):
        gates.gates[number] = Made(number, make)
    assert gates.greeted({}, False) == 0
    assert len(gates.gates) == 8


def test_somebody_else_of_this_process_is_named_as_ever(answering: Scripted, table: SharedTable) -> None:
    me = process.current()
    assert table.register(me, "k", 1)
    with pytest.raises(AlreadyRegistered, match=str(me)):
        table.register(me, "k", 2)


def test_keys_of_nobody_whose_release_is_refused_are_released_later() -> None:
    gates = KeyGates(1, lambda: None, lambda: True, lambda: EngineDown(NAME))
    gates.greeted({"r": {77: KeyRow("k", 5)}}, False)
    said = gates.collect(10.0)
    assert said == [(None, KeyRequest("r", [ReleaseKey(77, "k")]))]
    gates.answered(said, [[KeyRefused(ValueError("a constraint"))]], 20.0, 10.0)
    assert gates.collect(10.0) == []
    assert 10.0 < gates.next_look < 11.0
    assert gates.collect(gates.next_look) == said
    gates.answered(said, [[KeyDone()]], 20.0, 11.0)
    assert gates.collect(60.0) == []
    assert gates.next_look == float("inf")
