"""Locks on each kind of engine: what every call means there, with another OS process on the same engine."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resprout import (
    BlockingInLoop,
    CallTimeout,
    GenServer,
    LockLost,
    LockNotFound,
    NoReply,
    NotHeld,
    Ok,
    QueueFull,
    ServerExit,
    cluster,
    process,
    telemetry,
    throttle,
)
from resprout.cluster.handle import handles

from ..waiting import until
from .databases import Database
from .kinds import KINDS
from .peer import Peer, PeerError


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


def test_one_slot_is_one_slot_in_both_processes_and_goes_to_who_came_first(both: Peer) -> None:
    grant = throttle.acquire("db")
    first = both.later("throttle.acquire('db').token")
    waiting(1)
    mine = throttle.execute("db", lambda: "mine")
    waiting(2)
    grant.release()
    assert both.result(first) > grant.token
    assert not mine.done()
    # Its thread has ended, and its slot with it.
    assert mine.result(5) == "mine"


def test_a_nested_acquire_asks_no_engine(both: Peer, database: Database) -> None:
    with throttle.slot("db") as outer:
        cluster.info("shared")
        both.do("throttle.lock_info('db').num_slots")
        with throttle.slot("db") as inner:
            assert inner is outer
    assert database.claims() in (0, 1)


def test_a_timeout_of_zero_gets_one_answer(both: Peer) -> None:
    throttle.acquire("db", timeout=0).release()
    with throttle.slot("db", timeout=0):
        with pytest.raises(PeerError, match="CallTimeout"):
            both.do("throttle.acquire('db', timeout=0)")
    assert throttle.execute("db", lambda: 1, timeout=0).result(5) == 1


def test_a_timeout_counts_from_the_call_and_leaves_nothing_in_the_line(both: Peer) -> None:
    with throttle.slot("db"):
        with pytest.raises(PeerError, match="CallTimeout"):
            both.do("throttle.acquire('db', timeout=0.1)")
        waiting(0)


def test_attempt_is_one_round_trip_and_never_queues(both: Peer) -> None:
    assert throttle.attempt("db") is not None
    assert both.do("throttle.attempt('db')") is None
    assert throttle.lock_state("db", everywhere=True) == throttle.LockState(1, 0, 1)
    throttle.release("db")
    until(lambda: both.do("throttle.attempt('db') is not None and throttle.release('db') is None"))


def test_in_an_event_loop_attempt_names_aattempt(both: Peer) -> None:
    async def main() -> None:
        with pytest.raises(BlockingInLoop, match="aattempt"):
            throttle.attempt("db")
        grant = await throttle.aattempt("db")
        assert grant is not None
        assert grant.held
        grant.release()
        async with throttle.slot("db"):
            assert both.do("throttle.attempt('db')") is None
        with pytest.raises(BlockingInLoop, match="to_thread"):
            throttle.holders("db", everywhere=True)

    asyncio.run(main())


def test_aattempt_of_a_lock_without_an_engine_is_attempt() -> None:
    throttle.new("own", 1)

    async def main() -> None:
        grant = await throttle.aattempt("own")
        assert grant is not None

    asyncio.run(main())
    throttle.stop_lock("own")


def test_priority_counts_over_all_processes(both: Peer) -> None:
    with ThreadPoolExecutor(1) as threads:
        with throttle.slot("db"):
            low = both.later("throttle.run('db', time.monotonic)")
            waiting(1)
            high = threads.submit(throttle.run, "db", time.monotonic, priority=5)
            waiting(2)
            assert [each.priority for each in throttle.waiters("db", everywhere=True)] == [5, 0]
        assert high.result(5) < both.result(low)


def test_nobody_overtakes_a_heavy_head_of_another_process(engine: str, peer: Peer) -> None:
    throttle.new("db", 2, engine="shared")
    peer.do("throttle.new('db', 2, engine='shared') and None")
    grant = throttle.acquire("db")
    heavy = peer.later("throttle.acquire('db', weight=2) and None")
    waiting(1)
    assert threading_result(lambda: throttle.attempt("db")) is None
    assert peer.do("throttle.attempt('db')") is None
    grant.release()
    peer.result(heavy)


def test_num_slots_is_the_engines_and_a_start_changes_it_only_if_it_declares_another_number(
    both: Peer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    throttle.resize("db", 3)
    until(lambda: database.num_slots() == 3)
    with Peer(database.url) as third:
        # The last start declared one as well, so what was changed by hand stays.
        third.do("throttle.new('db', 1, engine='shared') and None")
        until(lambda: third.do("throttle.lock_info('db').num_slots") == 3)
    throttle.stop_lock("db")
    with caplog.at_level(logging.WARNING):
        throttle.new("db", 2, engine="shared")
        until(lambda: database.num_slots() == 2)
        until(lambda: "declared 1 slots, this one declares 2" in caplog.text)
    both.do("throttle.run('db', int)")
    assert both.do("throttle.lock_info('db').num_slots") == 2


def test_a_weight_above_the_engines_number_of_slots_is_refused_everywhere(
    both: Peer, database: Database
) -> None:
    throttle.resize("db", 3)
    until(lambda: database.num_slots() == 3)
    both.do("throttle.run('db', int)")
    grant = throttle.acquire("db")
    number = both.later("throttle.acquire('db', weight=3)")
    waiting(1)
    throttle.resize("db", 2)
    with pytest.raises(PeerError, match=r"ValueError.*at most the num_slots"):
        both.result(number)
    grant.release()
    with pytest.raises(ValueError, match="which is 2, got: 3"):
        throttle.acquire("db", weight=3)


def test_who_has_nothing_to_do_with_a_lock_may_ask_for_what_another_process_has_made_room_for(
    both: Peer, database: Database
) -> None:
    throttle.run("db", int)
    both.do("throttle.resize('db', 5)")
    until(lambda: database.num_slots() == 5)
    # Nobody waited here meanwhile, so nobody has heard of it.
    with throttle.slot("db", weight=3, timeout=5):
        assert throttle.lock_info("db").num_slots == 5
    both.do("throttle.resize('db', 2)")
    until(lambda: database.num_slots() == 2)
    with pytest.raises(ValueError, match="which is 2, got: 3"):
        throttle.acquire("db", weight=3)
    with pytest.raises(ValueError, match="at most 2147483647 with an engine, got: 2147483648"):
        throttle.acquire("db", weight=2**31)


def test_max_waiting_is_of_the_whole_cluster(engine: str, peer: Peer) -> None:
    throttle.new("db", 1, engine="shared", max_waiting=1)
    peer.do("throttle.new('db', 1, engine='shared', max_waiting=1) and None")
    with throttle.slot("db"):
        number = peer.later("throttle.run('db', int)")
        waiting(1)
        late = throttle.execute("db", int)
        with pytest.raises(QueueFull):
            late.result(5)
        with ThreadPoolExecutor(1) as threads, pytest.raises(QueueFull):
            threads.submit(throttle.acquire, "db").result(5)
    assert peer.result(number) == 0


def test_pause_is_the_locks_everywhere(both: Peer) -> None:
    throttle.pause("db")
    assert throttle.attempt("db") is None
    number = both.later("throttle.run('db', int)")
    waiting(1)
    until(lambda: both.do("throttle.lock_info('db').paused"))
    both.do("throttle.resume('db')")
    assert both.result(number) == 0
    throttle.run("db", int)
    assert throttle.lock_info("db") == throttle.LockInfo("db", 1, None, "strict", False, "shared")


def test_what_is_said_just_before_a_program_ends_is_heard(both: Peer) -> None:
    throttle.pause("db")
    assert throttle.attempt("db") is None
    both.do("from resprout import GenServer")
    both.do("throttle.resize('db', 3) or throttle.resume('db') or GenServer.stop(process.whereis('shared'))")
    assert throttle.run("db", int, timeout=10) == 0
    assert throttle.lock_info("db").num_slots == 3


def test_stop_lock_ends_it_in_this_process_only(both: Peer) -> None:
    with throttle.slot("db"):
        number = both.later("throttle.run('db', int)")
        waiting(1)
        with ThreadPoolExecutor(1) as threads:
            waiter = threads.submit(throttle.acquire, "db")
            waiting(2)
            throttle.stop_lock("db")
            with pytest.raises(LockNotFound):
                waiter.result(5)
    assert both.result(number) == 0


def test_tokens_rise_over_all_processes_and_restarts_of_them(both: Peer, url: str) -> None:
    tokens = [
        throttle.run("db", lambda: throttle.holders("db")[0].token),
        both.do("throttle.acquire('db').token"),
    ]
    both.kill()
    with Peer(url) as third:
        third.do("throttle.new('db', 1, engine='shared') and None")
        tokens.append(third.do("throttle.acquire('db').token"))
    assert tokens == sorted(set(tokens))
    assert tokens[-1] < 2**53


def test_who_holds_and_waits_everywhere_is_shown_with_its_node(both: Peer) -> None:
    token = both.do("throttle.acquire('db').token")
    with ThreadPoolExecutor(1) as threads:
        mine = threads.submit(throttle.acquire, "db")
        waiting(1)
        (holder,) = throttle.holders("db", everywhere=True)
        (waiter,) = throttle.waiters("db", everywhere=True)
        assert (holder.token, holder.weight) == (token, 1)
        far: Any = holder.pid
        assert isinstance(far, cluster.FarPid)
        assert far.node == "there"
        assert str(far).endswith("MainThread>@there")
        assert waiter.pid.alive
        for use in (far.call, far.send, lambda message: GenServer.call(far, message), process.monitor):
            with pytest.raises(cluster.NotHere, match="runs in another OS process"):
                use(far)
        assert throttle.lock_state("db") == throttle.LockState(0, 1, 0)
        both.do("throttle.release('db')")
        mine.result(5)


def test_what_a_dead_holder_had_comes_back_and_a_stragglers_slot_when_it_has_left(both: Peer) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Worker(GenServer):
        def init(self, arg: object) -> Any:
            return Ok(arg)

        def handle_cast(self, message: object, state: object) -> Any:
            with throttle.slot("db"):
                began.set()
                go_on.wait(10)
            return NoReply(state)

    pid = Worker.start()
    GenServer.cast(pid, "work")
    assert began.wait(5)
    process.exit(pid, "kill")
    assert both.do("throttle.attempt('db')") is None
    assert throttle.holders("db", everywhere=True)[0].straggler
    go_on.set()
    until(lambda: both.do("throttle.attempt('db') is not None"))


def test_the_lock_process_may_die_and_grants_go_on_in_their_order(both: Peer) -> None:
    number = both.later("grants.append(throttle.acquire('db')) or process.sleep(60)")
    until(lambda: both.do("len(grants)"))
    mine = [throttle.execute("db", lambda i=i: i) for i in range(3)]
    waiting(3)
    pid = process.whereis("db")
    assert pid is not None
    process.exit(pid, "kill")
    both.do("grants[0].release()")
    assert [future.result(5) for future in mine] == [0, 1, 2]
    assert number == 0


def test_the_process_of_the_engine_may_die_and_nothing_is_lost(both: Peer) -> None:
    grant = throttle.acquire("db")
    number = both.later("throttle.run('db', int)")
    waiting(1)
    pid = process.whereis("shared")
    assert pid is not None
    process.unlink(pid)
    url = handles["shared"].settings.url
    process.exit(pid, "kill")
    until(lambda: process.whereis("shared") is None)
    cluster.Engine.start_link(url, name="shared", ttl=3.0, node="here")
    until(lambda: cluster.info("shared").connected)
    waiting(1)
    assert grant.held
    grant.assert_held()
    grant.release()
    assert both.result(number) == 0


def test_telemetry_tells_the_local_events_and_those_of_the_engine(both: Peer, database: Database) -> None:
    heard: list[tuple[str, ...]] = []
    telemetry.attach("test", ("resprout",), lambda event, measured, metadata: heard.append(event))
    try:
        throttle.run("db", int)
        assert database.cut() == 2
        until(lambda: ("resprout", "cluster", "reconnected") in heard)
        throttle.run("db", int)
    finally:
        telemetry.detach("test")
    assert ("resprout", "throttle", "lock_acquired") in heard
    assert ("resprout", "throttle", "lock_released") in heard
    assert ("resprout", "cluster", "tick") in heard
    assert ("resprout", "cluster", "lost") in heard


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, float], dict[str, object]]]]:
    """What engines tell: the event, what was measured, and whose it is."""
    found: list[tuple[str, dict[str, float], dict[str, object]]] = []
    telemetry.attach(
        "heard",
        ("resprout", "cluster"),
        lambda event, measured, metadata: found.append((event[2], {**measured}, {**metadata})),
    )
    yield found
    telemetry.detach("heard")


Heard = list[tuple[str, dict[str, float], dict[str, object]]]


def one(heard: Heard, what: str) -> tuple[dict[str, float], dict[str, object]]:
    """Wait for the event of that name."""
    until(lambda: any(name == what for name, _, _ in list(heard)))
    ((measured, metadata),) = [(measured, metadata) for name, measured, metadata in heard if name == what]
    return measured, metadata


def test_telemetry_tells_of_the_first_connection_and_of_grants_that_are_void(
    heard: Heard, url: str, database: Database
) -> None:
    process.trap_exit(True)
    began = time.monotonic()
    pid = cluster.Engine.start_link(url, name="first", ttl=1.0)
    measured, metadata = one(heard, "connected")
    assert 0 < measured.pop("seconds") <= time.monotonic() - began
    assert (measured, metadata) == ({}, {"engine": "first"})
    throttle.new("db", 3, engine="first", on_lost="tell")
    grant = throttle.acquire("db", weight=2)
    with database.closed():
        assert one(heard, "void") == ({"grants": 1}, {"engine": "first"})
        until(lambda: not grant.held)
    measured, metadata = one(heard, "reconnected")
    assert measured.keys() == {"seconds", "lost"}
    throttle.stop_lock("db")
    GenServer.stop(pid)
    process.trap_exit(False)


def test_telemetry_tells_of_those_who_were_found_to_have_ended(both: Peer, heard: Heard) -> None:
    both.do("grants.append(throttle.acquire('db'))")
    mine = throttle.execute("db", int)
    waiting(1)
    both.kill()
    assert mine.result(10) == 0
    assert one(heard, "reaped") == ({"claims": 1}, {"engine": "shared", "node": "there", "name": "db"})


# -- grants that are lost --------------------------------------------------------------------------


def test_a_thread_that_has_lost_its_grant_meets_that_at_its_next_call(both: Peer, database: Database) -> None:
    def work() -> tuple[bool, str]:
        grant = throttle.acquire("db")
        database.lose_everything()
        until(lambda: not grant.held)
        with pytest.raises(ServerExit) as raised:
            while True:
                process.sleep(0.01)
        assert raised.value.reason == LockLost("db", grant.token)
        with pytest.raises(LockLost, match=str(grant.token)):
            grant.assert_held()
        with pytest.raises(NotHeld):
            grant.release()
        return grant.held, "went on"

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(work).result(20) == (False, "went on")
    assert both.do("throttle.attempt('db') is not None")


def test_a_task_that_has_lost_its_grant_is_cancelled(both: Peer, database: Database) -> None:
    async def main() -> None:
        async def hold() -> None:
            async with throttle.slot("db"):
                await asyncio.to_thread(database.lose_everything)
                await asyncio.get_running_loop().create_future()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(hold())

    asyncio.run(main())


def test_an_actor_that_has_lost_its_grant_exits_and_with_tell_it_gets_a_message(
    engine: str, database: Database
) -> None:
    heard: list[object] = []
    got = threading.Event()

    class Worker(GenServer):
        def init(self, name: str) -> Any:
            throttle.acquire(name)
            return Ok(name)

        def handle_info(self, message: object, state: object) -> Any:
            heard.append(message)
            got.set()
            return NoReply(state)

    throttle.new("exits", 1, engine=engine)
    throttle.new("tells", 1, engine=engine, on_lost="tell")
    exits, tells = Worker.start("exits"), Worker.start("tells")
    assert exits is not None
    assert tells is not None
    tokens = {name: throttle.holders(name)[0].token for name in ("exits", "tells")}
    database.lose_everything()
    until(lambda: not exits.alive)
    assert exits.exit_reason == LockLost("exits", tokens["exits"])
    assert got.wait(5)
    assert heard == [LockLost("tells", tokens["tells"])]
    assert tells.alive
    GenServer.stop(tells)


def test_a_job_that_has_lost_its_grant_does_not_succeed(both: Peer, database: Database) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work() -> str:
        began.set()
        go_on.wait(10)
        return "too late"

    future = throttle.execute("db", work)
    assert began.wait(5)
    database.lose_everything()
    with pytest.raises(ServerExit) as raised:
        future.result(10)
    assert isinstance(raised.value.reason, LockLost)
    go_on.set()
    assert throttle.run("db", int) == 0


def test_locks_with_and_without_engines_stand_side_by_side(both: Peer) -> None:
    throttle.new("own", 1)
    with throttle.slot("own"), throttle.slot("db"):
        with pytest.raises(CallTimeout):
            threading_result(lambda: throttle.acquire("own", timeout=0))
    throttle.stop_lock("own")


def threading_result(work: Any) -> Any:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result(10)
