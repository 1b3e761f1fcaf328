"""Registries on each kind of engine while everything fails: judged by what the owners themselves say."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from resprout import AlreadyRegistered, Registry, Supervisor, process
from resprout.cluster.handle import handles

from ..waiting import until
from .crowd import Crowd
from .databases import Database
from .killing import kill_while_they_work, tree_of
from .kinds import KINDS
from .peer import Peer
from .servers import own_server

pytestmark = pytest.mark.slow
KEY = ("user", 42)
REGISTER = f"str(Registry.register('syncs', {KEY}))"
TRY = f"""
def take():
    while True:
        try:
            Registry.register('syncs', {KEY})
            return time.monotonic()
        except resprout.AlreadyRegistered:
            time.sleep(0.005)  # nobody tells when a key is free
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def crowd(url: str, tmp_path: Path) -> Iterator[Crowd]:
    folder = tmp_path / "crowd"
    folder.mkdir()
    many = Crowd(url, folder, program="key_crowd_program.py")
    yield many
    many.stop()


def registry_at(url: str, *, ttl: float = 1.0, grace: float = 0.15) -> Peer:
    """A process with a registry `syncs`."""
    peer = Peer(url, ttl=ttl, grace=grace)
    peer.do("Registry.start_link(keys='unique', name='syncs', engine='shared') and None")
    peer.do(TRY)
    return peer


def begin_a_session(url: str) -> None:
    with Peer(url):
        pass


def test_a_killed_owner_frees_its_key_within_three_tenths_of_a_second_and_nobody_had_to_look_before(
    url: str, database: Database
) -> None:
    seconds = []
    with registry_at(url) as waiter:
        for _ in range(4):
            with registry_at(url) as owner:
                owner.do(REGISTER)
                killed = time.monotonic()
                owner.kill()
                seconds.append(waiter.do("take()") - killed)
                waiter.do(f"Registry.unregister('syncs', {KEY})")
        # One that nobody asks for goes with the next session.
        with registry_at(url) as owner:
            owner.do(REGISTER)
            owner.kill()
        until(lambda: waiter.do(f"Registry.whereis('syncs', {KEY})") is None)
    assert database.keys() == 1
    until(lambda: begin_a_session(url) or database.keys() == 0)
    assert statistics.median(seconds) <= 0.3
    assert max(seconds) <= 0.6


def test_a_process_that_was_stopped_is_told_when_it_wakes(url: str) -> None:
    with registry_at(url) as stopped, registry_at(url) as waiter:
        stopped.do(
            "class Owner(resprout.GenServer):\n"
            "    def init(self, arg): return resprout.Ok(arg)\n"
            "    def handle_call(self, message, from_, state): return resprout.Reply(message(), state)\n"
            "owner = Owner.start(None)\n"
            f"owner.call(lambda: Registry.register('syncs', {KEY}))\n"
            "ref = process.monitor(owner)\n"
        )
        stopped.freeze()
        began = time.monotonic()
        taken = waiter.do("take()")
        assert 0.6 <= taken - began <= 1.0 + 0.8
        assert waiter.do("str(Registry.register('syncs', 'another'))")
        stopped.thaw()
        assert "KeyLost" in stopped.do("repr(process.receive(timeout=10).reason)")
        assert stopped.do("Registry.count('syncs')") == 0
        assert stopped.do(f"Registry.whereis('syncs', {KEY}).node") == waiter.do(
            "cluster.info('shared').node"
        )


def test_a_connection_that_is_cut_costs_no_key(url: str, database: Database) -> None:
    # With more grace than a machine needs that has nothing else to do.
    with ExitStack() as peers:
        owner, other = (peers.enter_context(registry_at(url, ttl=3.0, grace=0.9)) for _ in range(2))
        mine = owner.do(REGISTER)
        cuts = 0
        while cuts < 28:
            cuts += database.cut()
            with pytest.raises(Exception, match="AlreadyRegistered"):
                other.do(REGISTER)
            assert other.do(f"Registry.whereis('syncs', {KEY}).text") == mine
            until(lambda: owner.do("cluster.info('shared').connected"))
        assert owner.do(f"Registry.keys('syncs', Registry.whereis('syncs', {KEY}))") == [list(KEY)]
        owner.do(f"Registry.unregister('syncs', {KEY})")
        other.do(REGISTER)


def test_owners_that_are_killed_and_cut_off_are_never_two(crowd: Crowd, database: Database) -> None:
    for _ in range(3):
        crowd.start()
    for number in range(6):
        crowd.await_more()
        if number % 2:
            database.cut()
        else:
            crowd.kill(random.choice(list(crowd.running)))
            crowd.start()
    crowd.await_more(50)
    crowd.stop()
    assert crowd.most_at_work() == 1


def test_a_server_that_crashes_and_comes_back_gives_no_key_to_two(kind: str, tmp_path: Path) -> None:
    server = own_server(kind)
    many = Crowd(server.url, tmp_path, ttl=1.0, program="key_crowd_program.py")
    try:
        for _ in range(3):
            many.start()
        for _ in range(3):
            many.await_more()
            server.crash()
            server.start()
            many.await_more(1)
        many.await_more(20)
        many.stop()
        assert many.most_at_work() == 1
    finally:
        many.stop()
        server.remove()


def test_what_somebody_removes_all_of_is_made_anew_and_the_owner_keeps_its_key(
    url: str, database: Database
) -> None:
    with registry_at(url) as owner, registry_at(url) as other:
        mine = owner.do(REGISTER)
        database.forget()
        for peer in (owner, other):
            until(lambda: peer.do("cluster.info('shared').reconnects"))  # noqa: B023  # at once
        assert other.do(f"Registry.whereis('syncs', {KEY}).text") == mine
        owner.do(f"Registry.unregister('syncs', {KEY})")
        other.do("take()")


def test_registry_link_owners_and_supervisors_are_killed_and_nothing_is_left_behind(
    url: str, database: Database
) -> None:
    top = tree_of(url, Registry.child_spec(keys="unique", name="syncs", engine="shared"))
    turn = threading.Lock()
    done = threading.Event()
    at_work: set[object] = set()
    twice: list[object] = []
    counts = [0] * 6

    def work(number: int) -> None:
        while not done.is_set():
            try:
                me = Registry.register("syncs", KEY)
            except (AlreadyRegistered, LookupError, ValueError):
                # Or the registry is just being started again.
                time.sleep(0.001)
                continue
            with turn:
                if at_work:
                    twice.append((me, set(at_work)))
                at_work.add(me)
            # The work itself, long enough for somebody else to come in beside it.
            time.sleep(0.001)
            with turn:
                at_work.discard(me)
            counts[number] += 1
            Registry.unregister("syncs", KEY)

    # Owners end without a word, too.
    def die() -> None:
        while not done.is_set():
            task = process.spawn(work_once)
            until(lambda: not task.alive)  # noqa: B023  # at once

    def work_once() -> None:
        try:
            me = Registry.register("syncs", KEY)
        except (AlreadyRegistered, LookupError, ValueError):
            return
        with turn:
            if at_work:
                twice.append((me, set(at_work)))
            at_work.add(me)
        # As above.
        time.sleep(0.001)
        with turn:
            at_work.discard(me)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    threads.append(threading.Thread(target=die))
    kill_while_they_work("syncs", threads, done, counts)
    assert twice == []
    assert sum(counts) > 50
    until(lambda: database.keys() == 0)
    claims = [gate.claims for gate in handles["shared"].keys.gates.values()]
    assert [(each.claims, each.searches, each.leaving) for each in claims] == [({}, {}, {})]
    Supervisor.stop(top)
