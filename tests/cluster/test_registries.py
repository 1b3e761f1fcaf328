"""Registries on each kind of engine: what every call means there, with another OS process on it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resprout import (
    Agent,
    AlreadyRegistered,
    AlreadyStarted,
    BlockingInLoop,
    CallTimeout,
    GenServer,
    Killed,
    NotFound,
    Pid,
    Registered,
    Registry,
    ServerExit,
    StartError,
    Supervisor,
    UnknownRegistry,
    Unregistered,
    Via,
    cluster,
    process,
)
from resprout.cluster import EngineDown, FarPid, KeyLost, NotHere
from resprout.cluster.handle import handles

from ..scripted import Runs
from ..waiting import await_end, until
from .databases import Database
from .kinds import KINDS
from .peer import Peer, PeerError

START = "Registry.start_link(keys='unique', name='syncs', engine='shared'{}) and None"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def peer(engine: str, url: str) -> Iterator[Peer]:
    """A registry `syncs`, here and there."""
    Registry.start_link(keys="unique", name="syncs", engine=engine)
    with Peer(url, node="there") as other:
        other.do(START.format(""))
        yield other


def refused(peer: Peer, code: str) -> PeerError:
    with pytest.raises(PeerError) as raised:
        peer.do(code)
    return raised.value


def test_a_key_has_one_owner_in_all_processes(peer: Peer) -> None:
    me = Registry.register("syncs", ("user", 42), {"at": 1})
    assert me is process.current()
    taken = refused(peer, "Registry.register('syncs', ('user', 42.0))")
    assert taken.kind == "AlreadyRegistered"
    assert str(taken).endswith(f"('user', 42.0) is already registered by {me}@here")
    Registry.unregister("syncs", ("user", 42))
    theirs = peer.do("str(Registry.register('syncs', ('user', 42)))")
    with pytest.raises(AlreadyRegistered) as raised:
        Registry.register("syncs", ("user", 42))
    assert raised.value.pid == FarPid("there", theirs)
    assert str(raised.value.pid) == f"{theirs}@there"
    assert hash(raised.value.pid) == hash(FarPid("there", theirs))


def test_lookups_know_owners_here_and_elsewhere_and_are_never_stale(peer: Peer) -> None:
    assert Registry.lookup("syncs", 1) == []
    assert Registry.whereis("syncs", 1) is None
    me = Registry.register("syncs", 1, "mine")
    assert Registry.lookup("syncs", 1) == [(me, "mine")]
    assert peer.do("str(Registry.lookup('syncs', True))") == f"[(FarPid(node='here', text='{me}'), 'mine')]"
    for number in range(20):
        theirs = peer.do(f"str(Registry.register('syncs', 2, {number}))")
        assert Registry.lookup("syncs", 2) == [(FarPid("there", theirs), number)]
        assert Registry.whereis("syncs", 2) == FarPid("there", theirs)
        peer.do("Registry.unregister('syncs', 2)")
        assert Registry.whereis("syncs", 2) is None


def test_an_owner_here_is_found_without_the_engine(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    me = Registry.register("syncs", 1)
    from resprout.registry.table import tables

    monkeypatch.setattr(tables["syncs"].shared, "find", None)  # type: ignore[attr-defined]  # of an engine
    assert Registry.whereis("syncs", 1) is me
    assert Registry.lookup("syncs", 1) == [(me, None)]


def test_a_changed_value_is_seen_elsewhere(peer: Peer) -> None:
    Registry.register("syncs", 1, ["old"])
    assert Registry.update_value("syncs", 1, lambda value: [*value, "new"]) == (["old", "new"], ["old"])
    until(lambda: peer.do("Registry.lookup('syncs', 1)[0][1]") == ["old", "new"])
    with pytest.raises(TypeError, match="list or dict"):
        Registry.update_value("syncs", 1, set)
    assert Registry.lookup("syncs", 1)[0][1] == ["old", "new"]


def test_keys_and_values_that_cannot_be_stored_are_the_callers_error_and_leave_nothing(
    peer: Peer, database: Database
) -> None:
    with pytest.raises(TypeError, match="made of str, int, bool, float, None, bytes and tuples"):
        Registry.register("syncs", frozenset())
    with pytest.raises(ValueError, match="nan"):
        Registry.register("syncs", float("nan"))
    with pytest.raises(TypeError, match="a text, or a list or dict"):
        Registry.register("syncs", 1, object())
    with pytest.raises(TypeError, match="made of str, int"):
        Registry.lookup("syncs", frozenset())
    odd = ("\0", "é😀'\"\\", b"\0\xff", None, -0.5, float("inf"), 2**70)
    me = Registry.register("syncs", odd, {"\0": ["\ud800", None]})
    (found,) = peer.do(
        f"[value for _, value in Registry.lookup('syncs', {odd!r})]".replace("inf", "float('inf')")
    )
    assert found == {"\0": ["\ud800", None]}
    assert Registry.whereis("syncs", odd) is me
    assert database.keys() == 1


def test_dispatch_select_count_keys_and_listeners_are_of_this_process(engine: str, url: str) -> None:
    process.register(process.current(), "ear")
    Registry.start_link(keys="unique", name="syncs", engine=engine, listeners=["ear"])
    with Peer(url) as peer:
        peer.do(START.format(""))
        peer.do("Registry.register('syncs', 'far')")
        me = Registry.register("syncs", "near", 1)
        assert Registry.count("syncs") == 1
        assert Registry.keys("syncs", me) == ["near"]
        assert Registry.select("syncs") == [("near", me, 1)]
        Registry.dispatch("syncs", "far", lambda pairs: pytest.fail("it is elsewhere"))
        seen: list[Any] = []
        Registry.dispatch("syncs", "near", seen.extend)
        assert seen == [(me, 1)]
        assert Registry.values("syncs", "far", me) == []
        Registry.unregister("syncs", "near")
        told = [process.receive(timeout=5), process.receive(timeout=5)]
        assert told == [Registered("syncs", "near", me, 1), Unregistered("syncs", "near", me)]
    process.unregister("ear")


def test_the_key_of_a_dead_owner_is_free_everywhere(peer: Peer) -> None:
    owner = Runs.start(None)
    owner.call(lambda: Registry.register("syncs", 1))
    assert refused(peer, "Registry.register('syncs', 1)").kind == "AlreadyRegistered"
    await_end(owner)
    # Here at once, whether the engine knows of it or not.
    Registry.register("syncs", 1)
    Registry.unregister("syncs", 1)
    other = Runs.start(None)
    other.call(lambda: Registry.register("syncs", 2))
    await_end(other)
    until(lambda: peer.do("Registry.whereis('syncs', 2)") is None)
    peer.do("Registry.register('syncs', 2) and None")


def test_a_restarted_child_takes_its_key_without_a_race(peer: Peer) -> None:
    spec = {"id": "sync", "start": (Runs.start_link, (None,), {"name": Via("syncs", "child")})}
    top = Supervisor.start_link([spec], strategy="one_for_one", max_restarts=100)
    for _ in range(20):
        pid = Registry.whereis("syncs", "child")
        assert isinstance(pid, Pid)
        await_end(pid)
        until(lambda: Registry.whereis("syncs", "child") not in (None, pid))  # noqa: B023  # at once
        assert refused(peer, "Registry.register('syncs', 'child')").kind == "AlreadyRegistered"
    Supervisor.stop(top)
    until(lambda: peer.do("Registry.whereis('syncs', 'child')") is None)


def test_threads_of_both_processes_fight_for_a_key_and_it_has_one_owner_at_a_time(peer: Peer) -> None:
    owned: list[int] = []
    tried = threading.Barrier(9)

    def fight() -> None:
        tried.wait(10)
        try:
            Registry.register("syncs", "one")
            owned.append(1)
        except AlreadyRegistered:
            pass
        tried.wait(10)

    for _ in range(5):
        threads = [threading.Thread(target=fight) for _ in range(8)]
        for thread in threads:
            thread.start()
        tried.wait(10)
        tried.wait(10)
        for thread in threads:
            thread.join(10)
        assert owned == [1]
        owned.clear()
        until(lambda: peer.do("Registry.whereis('syncs', 'one')") is None)


def test_a_via_names_servers_of_this_process_and_says_where_others_are(peer: Peer) -> None:
    pid = Agent.start_link(lambda: 1, name=Via("syncs", "agent"))
    assert Agent.get(Via("syncs", "agent"), lambda n: n) == 1
    with pytest.raises(AlreadyStarted) as raised:
        Agent.start_link(lambda: 2, name=Via("syncs", "agent"))
    assert raised.value.pid is pid
    peer.do("resprout.Agent.start(lambda: 3, name=resprout.Via('syncs', 'far')) and None")
    far: Any = Registry.whereis("syncs", "far")
    assert isinstance(far, FarPid)
    assert far.node == "there"
    with pytest.raises(AlreadyStarted) as started:
        Agent.start_link(lambda: 4, name=Via("syncs", "far"))
    assert started.value.pid == far
    for send in (
        lambda: GenServer.call(Via("syncs", "far"), 1),
        lambda: GenServer.cast(Via("syncs", "far"), 1),
        lambda: process.send(Via("syncs", "far"), 1),
        lambda: process.monitor(Via("syncs", "far")),
        lambda: far.send(1),
        lambda: far.call(1),
        lambda: process.monitor(far),  # type: ignore[arg-type]  # nobody can
    ):
        with pytest.raises(NotHere) as nobody:
            send()
        assert nobody.value.pid == far
    Agent.stop(Via("syncs", "agent"))


def test_in_an_event_loop_the_plain_names_name_the_forms_for_coroutines(
    peer: Peer, database: Database
) -> None:
    async def main() -> None:
        for plain, name in (
            (lambda: Registry.register("syncs", 1), "aregister"),
            (lambda: Registry.unregister("syncs", 1), "aunregister"),
            (lambda: Registry.lookup("syncs", 1), "alookup"),
            (lambda: Registry.whereis("syncs", 1), "awhereis"),
        ):
            with pytest.raises(BlockingInLoop, match=f"await Registry.{name}"):
                plain()
        me = await Registry.aregister("syncs", 1, [1])
        assert me is process.current()
        assert await Registry.alookup("syncs", 1) == [(me, [1])]
        assert await Registry.awhereis("syncs", 2) is None
        with pytest.raises(AlreadyRegistered):
            await Registry.aregister("syncs", 1)
        theirs = await asyncio.to_thread(peer.do, "str(Registry.register('syncs', 2))")
        assert await Registry.awhereis("syncs", 2) == FarPid("there", theirs)
        with pytest.raises(AlreadyRegistered, match="@there"):
            await Registry.aregister("syncs", 2)
        await Registry.aunregister("syncs", 1)
        assert database.keys() == 1

    asyncio.run(main())


def test_the_forms_for_coroutines_do_without_an_engine_too() -> None:
    Registry.start_link(keys="unique", name="plain")

    async def main() -> None:
        me = await Registry.aregister("plain", 1, "x", timeout=5)
        assert await Registry.alookup("plain", 1) == [(me, "x")]
        assert await Registry.awhereis("plain", 1) is me
        await Registry.aunregister("plain", 1)
        assert await Registry.alookup("plain", 1) == []

    asyncio.run(main())
    Registry.stop("plain")


def test_a_registration_that_is_cancelled_or_killed_leaves_nothing(peer: Peer, database: Database) -> None:
    peer.do("Registry.register('syncs', 1) and None")

    async def main() -> None:
        with pytest.raises(CallTimeout, match=r"engine 'shared' has not said within 0.1 s whether 2 is free"):
            await Registry.aregister("syncs", 2, timeout=0.1)
        task = asyncio.ensure_future(Registry.aregister("syncs", 3))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with database.silent():
        with pytest.raises(CallTimeout, match="whether 2 is free"):
            Registry.register("syncs", 2, timeout=0.1)
        asyncio.run(main())
        owner = Runs.start(None)
        waits = GenServer.send_request(owner, lambda: Registry.register("syncs", 4))
        from resprout.registry.table import tables

        until(lambda: owner.id in tables["syncs"].owners)
        await_end(owner)
        with pytest.raises((Killed, ServerExit)):
            waits.result(5)
    until(lambda: database.keys() == 1)
    assert Registry.count("syncs") == 0
    for key in (2, 3, 4):
        Registry.register("syncs", key)
        Registry.unregister("syncs", key)


def test_a_lingering_key_stays_taken_everywhere_and_is_not_shown(
    engine: str, url: str, database: Database
) -> None:
    Registry.start_link(keys="unique", name="syncs", engine=engine, linger=True)
    go_on = threading.Event()
    begun = threading.Event()

    def work() -> None:
        Registry.register("syncs", 1)
        begun.set()
        go_on.wait(20)

    with Peer(url) as peer:
        peer.do(START.format(", linger=True"))
        owner = Runs.start(None)
        owner.cast(work)
        begun.wait(20)
        await_end(owner)
        assert Registry.whereis("syncs", 1) is None
        until(lambda: peer.do("Registry.whereis('syncs', 1)") is None)
        assert refused(peer, "Registry.register('syncs', 1)").kind == "AlreadyRegistered"
        with pytest.raises(AlreadyRegistered):
            Registry.register("syncs", 1)
        go_on.set()
        until(lambda: database.keys() == 0)
        peer.do("Registry.register('syncs', 1) and None")


def test_a_key_lock_is_of_this_process(peer: Peer) -> None:
    assert Registry.lock("syncs", 1, lambda: peer.do("Registry.lock('syncs', 1, int)")) == 0


def test_a_registry_that_ends_releases_its_keys_and_one_that_is_killed_keeps_them(peer: Peer) -> None:
    Registry.register("syncs", 1)
    registry = process.whereis("syncs")
    assert registry is not None
    top = Supervisor.start_link(
        [Registry.child_spec(keys="unique", name="ours", engine="shared")], strategy="one_for_one"
    )
    peer.do("Registry.start_link(keys='unique', name='ours', engine='shared') and None")
    Registry.register("ours", 1)
    before = process.whereis("ours")
    assert before is not None
    await_end(before)
    until(lambda: process.whereis("ours") not in (None, before))
    assert refused(peer, "Registry.register('ours', 1)").kind == "AlreadyRegistered"
    assert Registry.keys("ours", process.current()) == [1]
    Supervisor.stop(top)
    with pytest.raises(UnknownRegistry):
        Registry.register("ours", 2)
    until(lambda: peer.do("Registry.whereis('ours', 1)") is None)
    peer.do("Registry.register('ours', 1) and None")
    Registry.stop("syncs")
    until(lambda: peer.do("Registry.whereis('syncs', 1)") is None)


def test_an_owner_whose_key_is_gone_is_told_and_has_it_no_more(peer: Peer) -> None:
    owner = Runs.start(None)
    ref = process.monitor(owner)
    owner.call(lambda: Registry.register("syncs", ("user", 1)))
    lose_all()
    down = process.receive(lambda message: getattr(message, "ref", None) is ref, timeout=5)
    assert down.reason == KeyLost("syncs", ("user", 1))
    assert Registry.count("syncs") == 0


def lose_all() -> None:
    """As if the engine had not been heard of for too long."""
    handle = handles["shared"]
    handle.valid_until = 0.0
    handle.void()


def test_a_thread_that_has_lost_its_key_meets_that_at_its_next_call(peer: Peer) -> None:
    def work() -> Pid | None:
        before = Registry.register("syncs", 1)
        lose_all()
        until(lambda: not before.alive)
        with pytest.raises(ServerExit, match="the key 1 of registry"):
            process.current()
        # It goes on as a new process, which has nothing.
        until(handles["shared"].valid)
        assert Registry.whereis("syncs", 1) is None
        return Registry.register("syncs", 1)

    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool.submit(work).result(20), Pid)


def test_on_lost_tell_sends_a_message_instead(engine: str) -> None:
    Registry.start_link(keys="unique", name="syncs", engine=engine, on_lost="tell")
    Registry.register("syncs", 1)
    lose_all()
    assert process.receive(timeout=5) == KeyLost("syncs", 1)
    assert Registry.count("syncs") == 0


def test_while_the_engine_is_away_claims_wait_and_on_unreachable_raise_does_not(
    engine: str, database: Database
) -> None:
    Registry.start_link(keys="unique", name="syncs", engine=engine)
    Registry.start_link(keys="unique", name="hasty", engine=engine, on_unreachable="raise")
    mine = Registry.register("syncs", "mine")
    with database.closed():
        until(lambda: not cluster.info("shared").connected)
        with pytest.raises(EngineDown):
            Registry.register("hasty", 1)
        with pytest.raises(EngineDown):
            Registry.lookup("hasty", 1)
        with pytest.raises(CallTimeout):
            Registry.register("syncs", 1, timeout=0.05)
        # Who is known here is known without it, as long as what it said is good.
        assert Registry.whereis("syncs", "mine") is mine
        Registry.unregister("syncs", "mine")
        waiting = threading.Thread(target=Registry.register, args=("syncs", 2))
        waiting.start()
    waiting.join(20)
    assert not waiting.is_alive()
    until(lambda: database.keys() == 0)


def test_a_registry_is_refused_what_is_not_there(engine: str, database: Database) -> None:
    for options, error, why in (
        ({"engine": "share"}, ValueError, "engine that was started before, got: 'share' .*mean 'shared'"),
        (
            {"engine": "shared", "keys": "duplicate"},
            ValueError,
            "keys 'unique', as the registry has an engine",
        ),
        ({"engine": "postgresql://x/y"}, ValueError, "got a URL"),
        ({"engine": "shared", "name": "x" * 201}, ValueError, "at most 200 characters"),
        ({"engine": "shared", "on_lost": "ignore"}, ValueError, "'exit' or 'tell'"),
        ({"engine": "shared", "on_unreachable": "x"}, ValueError, "'wait' or 'raise'"),
    ):
        with pytest.raises(error, match=why):
            Registry.start_link(**{"keys": "unique", "name": "syncs", **options})
    Registry.start_link(keys="unique", name="syncs", engine=engine)
    with database.silent(), pytest.raises(CallTimeout):
        Registry.register("syncs", 1, timeout=0.05)
    with pytest.raises(NotFound):
        Registry.update_value("syncs", 1, str)


def test_an_engine_that_keeps_no_keys_refuses_registries(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles["shared"], "keeps_keys", False)
    with pytest.raises(cluster.EngineRefused, match=":// keeps locks, and no keys of registries"):
        Registry.start_link(keys="unique", name="syncs", engine=engine)
    spec = Registry.child_spec(keys="unique", name="syncs", engine=engine)
    with pytest.raises(StartError, match="no keys of registries"):
        Supervisor.start_link([spec], strategy="one_for_one")


def test_registries_and_locks_of_an_engine_are_told_of(peer: Peer) -> None:
    Registry.register("syncs", 1)
    assert cluster.info("shared").registries == ("syncs",)
    Registry.stop("syncs")
    until(lambda: cluster.info("shared").registries == ())


def test_many_keys_at_once_are_claimed_in_few_steps(peer: Peer, database: Database) -> None:
    def claim(number: int) -> None:
        for key in range(25):
            Registry.register("syncs", (number, key))
        held.wait(30)
        done.wait(30)

    held, done = threading.Barrier(9), threading.Event()
    began = time.monotonic()
    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    held.wait(30)
    assert database.keys() == 200
    assert time.monotonic() - began < 30
    done.set()
    for thread in threads:
        thread.join(10)
    until(lambda: database.keys() == 0)
