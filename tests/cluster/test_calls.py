"""What else can be called on a lock, on each kind of engine: jobs, grants that move, who can't reach it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resprout import (
    CallTimeout,
    EngineDown,
    GenServer,
    LockLost,
    NoReply,
    NotHeld,
    Ok,
    QueueFull,
    process,
    throttle,
)

from ..waiting import until
from .databases import Database
from .kinds import KINDS
from .peer import Peer

TIMES = 100


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def peer(engine: str, url: str) -> Iterator[Peer]:
    with Peer(url, node="there") as other:
        yield other


@pytest.fixture
def both(peer: Peer) -> Peer:
    """A lock `db` of one slot, here and there."""
    throttle.new("db", 1, engine="shared")
    peer.do("throttle.new('db', 1, engine='shared') and None")
    return peer


def waiting(number: int) -> None:
    until(lambda: throttle.lock_state("db", everywhere=True).waiting == number)


def test_while_the_engine_is_away_on_unreachable_raise_refuses_who_waits_and_who_comes(
    engine: str, database: Database
) -> None:
    throttle.new("db", 1, engine=engine, on_unreachable="raise")
    throttle.new("patient", 1, engine=engine)
    refused: list[BaseException] = []
    held, go_on = threading.Event(), threading.Event()

    def hold() -> bool:
        held.set()
        return go_on.wait(20)

    def wait() -> None:
        try:
            throttle.acquire("db")
        except EngineDown as error:
            refused.append(error)

    holder = throttle.execute("db", hold)
    assert held.wait(5)
    waiter = threading.Thread(target=wait)
    waiter.start()
    job = throttle.execute("db", int)
    waiting(2)
    with database.closed():
        waiter.join(20)
        assert [type(error) for error in refused] == [EngineDown]
        with pytest.raises(EngineDown):
            job.result(20)
        with pytest.raises(EngineDown, match="'shared'"):
            throttle.acquire("db")
        with pytest.raises(EngineDown):
            throttle.attempt("db")
        with pytest.raises(EngineDown):
            throttle.run("db", int)
        with pytest.raises(EngineDown):
            throttle.execute("db", int).result(20)
        # Who is patient waits; but not who has said that they don't.
        assert throttle.attempt("patient") is None
        with pytest.raises(CallTimeout):
            throttle.acquire("patient", timeout=0)
        late = throttle.execute("patient", lambda: "late")
    assert late.result(20) == "late"
    go_on.set()
    holder.exception(20)
    assert throttle.run("db", lambda: "again") == "again"


def test_a_killed_holder_with_on_kill_release_frees_its_slot_before_it_has_left(both: Peer) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Worker(GenServer):
        def init(self, arg: object) -> Any:
            return Ok(arg)

        def handle_cast(self, message: object, state: object) -> Any:
            with throttle.slot("db", on_kill="release"):
                began.set()
                go_on.wait(20)
            return NoReply(state)

    pid = Worker.start()
    GenServer.cast(pid, "work")
    assert began.wait(5)
    assert both.do("throttle.attempt('db')") is None
    process.exit(pid, "kill")
    # It is still at work.
    until(lambda: both.do("throttle.attempt('db') is not None"))
    assert not go_on.is_set()
    go_on.set()
    assert both.do("throttle.release('db')") is None


def test_a_grant_that_moves_is_the_new_holders_everywhere(both: Peer) -> None:
    class Keeper(GenServer):
        def init(self, arg: object) -> Any:
            return Ok(arg)

    keeper = Keeper.start()
    mine = throttle.acquire("db")
    theirs = mine.transfer(keeper)
    assert theirs.held
    assert theirs.token == mine.token
    with pytest.raises((LockLost, NotHeld)):
        mine.assert_held()
    (holder,) = throttle.holders("db", everywhere=True)
    assert (holder.pid, holder.token) == (keeper, theirs.token)
    assert both.do("throttle.attempt('db')") is None
    process.exit(keeper, "kill")
    until(lambda: both.do("throttle.attempt('db') is not None"))
    assert not theirs.held


def test_who_works_within_a_grant_works_in_its_slots(both: Peer) -> None:
    grant = throttle.acquire("db")
    seen: list[tuple[bool, bool]] = []

    def work() -> None:
        with throttle.slot("db", within=grant) as guest:
            seen.append((guest.held, both.do("throttle.attempt('db')") is None))

    helper = threading.Thread(target=work)
    helper.start()
    helper.join(20)
    assert seen == [(True, True)]
    grant.release()
    until(lambda: both.do("throttle.attempt('db') is not None"))


def test_limited_calls_and_a_drain_are_as_without_an_engine(both: Peer) -> None:
    @throttle.limited("db")
    def limited() -> str:
        assert both.do("throttle.attempt('db')") is None
        return "done"

    assert limited() == "done"
    began, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        began.set()
        return go_on.wait(20)

    jobs = [throttle.execute("db", work) for _ in range(3)]
    assert began.wait(5)
    waiting(2)
    drained: list[throttle.DrainReport] = []
    draining = threading.Thread(target=lambda: drained.append(throttle.drain("db")))
    draining.start()
    go_on.set()
    draining.join(20)
    assert drained == [throttle.DrainReport(3, 0)]
    assert [job.result(0) for job in jobs] == [True] * 3
    assert both.do("throttle.run('db', int)") == 0


def test_a_job_beyond_max_waiting_of_this_process_alone_is_refused_at_the_call(engine: str) -> None:
    throttle.new("db", 1, engine=engine, max_waiting=2)
    held, go_on = threading.Event(), threading.Event()

    def hold() -> bool:
        held.set()
        return go_on.wait(20)

    first = throttle.execute("db", hold)
    assert held.wait(5)
    jobs = [throttle.execute("db", int) for _ in range(2)]
    waiting(2)
    with pytest.raises(QueueFull):
        throttle.execute("db", int)
    go_on.set()
    assert first.result(20)
    assert [job.result(20) for job in jobs] == [0, 0]


def test_a_free_lock_is_granted_each_time_to_who_does_not_wait(both: Peer) -> None:
    """What is given back and what is asked for next go to the engine in that order."""
    for _ in range(TIMES):
        grant = throttle.attempt("db")
        assert grant is not None
        grant.release()
        with throttle.slot("db", timeout=0):
            pass
    jobs = 0
    for _ in range(TIMES):
        jobs += throttle.execute("db", lambda: 1, timeout=0).result(5)
    assert jobs == TIMES

    async def in_a_loop() -> None:
        for _ in range(TIMES):
            grant = await throttle.aattempt("db")
            assert grant is not None
            grant.release()
            async with throttle.slot("db", timeout=0):
                pass

    asyncio.run(in_a_loop())
    assert both.do("throttle.run('db', int)") == 0
