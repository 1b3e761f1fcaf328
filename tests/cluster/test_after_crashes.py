"""Grants that PostgreSQL has lost, and what those may keep who come back there (see test_redis for the same
on Redis).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from resprout.cluster.driver import ConnectionLost
from resprout.cluster.operations import Declare, Granted, Keep, Lost, Queued, Resize

from ..waiting import until
from .crowd import SLOTS, Crowd
from .judging import intervals, most_at_work
from .peer import Peer, PeerError
from .postgres_database import PostgresDatabase
from .postgres_server import PostgresServer, bin_folder
from .sessions import Session, join, sessions, token_of

pytestmark = pytest.mark.postgres


@pytest.fixture
def two(url: str) -> Iterator[list[Session]]:
    with sessions(url, 2) as found:
        yield found


def handed_on(here: Session, there: Session) -> tuple[int, int]:
    """Have one lose its slot to another, by being away for longer than its grace; the token of each."""
    older = token_of(here.do(join(1)))
    there.do(join(2))
    here.connection.close()
    found: list[int] = []
    until(
        lambda: found.extend(fact.token for fact in there.do(poll=True) if isinstance(fact, Granted)) or found
    )
    assert found[0] > older
    return older, found[0]


def change(url: str, what: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f"update resprout.server set {what}")


# -- of two who hold one slot ----------------------------------------------------------------------


@pytest.mark.parametrize("first", ["older", "newer"])
def test_of_two_who_hold_one_slot_when_the_server_knows_neither_the_newer_keeps_it(
    two: list[Session], postgres_database: PostgresDatabase, first: str
) -> None:
    here, there = two
    older, newer = handed_on(here, there)
    postgres_database.forget()
    here.back()
    there.back()
    assert here.quiet > 0
    if first == "older":
        assert here.do(Keep(1, older, 1, 0, "older")) == ()
        assert there.do(Keep(2, newer, 1, 0, "newer")) == ()
        # It must not go on as if nothing had been, nor as if it were only late.
        with pytest.raises(ConnectionLost, match="is over here"):
            here.do(join(9))
        assert here.back() == {}
    else:
        assert there.do(Keep(2, newer, 1, 0, "newer")) == ()
    assert here.do(Keep(1, older, 1, 0, "older")) == (Lost(1),)
    there.do(poll=True)
    assert [each.token for each in there.connection.claimants("db", 5.0)] == [newer]


def test_whoever_has_to_begin_anew_does_so_for_one_reason_once(
    two: list[Session], postgres_database: PostgresDatabase
) -> None:
    here, there = two
    older, newer = handed_on(here, there)
    postgres_database.forget()
    here.back()
    there.back()
    here.do(Keep(1, older, 1, 0, "older"))
    there.do(Keep(2, newer, 1, 0, "newer"))
    with pytest.raises(ConnectionLost, match="is over here"):
        here.beat()
    here.back()
    here.beat()
    assert isinstance(here.do(join(3))[0], Queued)


def test_what_one_process_holds_is_entered_again_and_what_is_too_much_goes_from_the_oldest(
    url: str, postgres_database: PostgresDatabase
) -> None:
    with sessions(url, 1) as (here,):
        facts = here.do(Declare(3, False), join(1), join(2, weight=2), slots=3)
        kept = [Keep(each.ref, each.token, each.ref, 0, "x") for each in facts if isinstance(each, Granted)]
        postgres_database.forget()
        here.back()
        assert here.do(*kept, slots=3) == ()
        # As if somebody had made it smaller, of which the server has forgotten nothing else.
        postgres_database.forget()
        here.back()
        assert here.do(*kept, slots=2) == (Lost(1),)
        assert [each.ref for each in here.connection.claimants("db", 5.0)] == [2]


def test_a_grant_that_is_asserted_in_a_transaction_is_not_the_one_that_goes(
    two: list[Session], postgres_database: PostgresDatabase
) -> None:
    here, there = two
    older, newer = handed_on(here, there)
    postgres_database.forget()
    here.back()
    there.back()
    assert here.do(Keep(1, older, 1, 0, "older")) == ()
    with closing(psycopg.connect(postgres_database.url)) as connection:
        connection.execute("select resprout.assert_held('db', %s)", [older])
        # The older one writes under it just now; so it is the newer that is refused.
        assert there.do(Keep(2, newer, 1, 0, "newer")) == (Lost(2),)
        connection.commit()
    here.beat()
    assert [each.token for each in here.connection.claimants("db", 5.0)] == [older]


def test_a_lock_that_was_made_smaller_by_hand_takes_nothing_from_its_holders(two: list[Session]) -> None:
    here, there = two
    here.do(Declare(2, False), join(1), slots=2)
    there.do(join(2), slots=2)
    there.do(Resize(1), slots=2)
    here.beat()
    assert [each.ref for each in here.connection.claimants("db", 5.0)] == [1, 2]


def test_a_clock_that_is_set_back_after_a_crash_keeps_nobody_waiting_for_longer_than_a_ttl(url: str) -> None:
    with sessions(url, 2, ttl=1.0) as (here, there):
        # As if it had been set back by an hour since.
        change(url, "quiet_until = clock_timestamp() + interval '1 hour'")
        assert isinstance(here.do(join(1))[0], Queued)
        began = time.monotonic()
        found: list[object] = []
        until(lambda: found.extend(here.do(poll=True)) or found)
        assert isinstance(found[0], Granted)
        assert 0.8 <= time.monotonic() - began <= 1.5
        change(url, "quiet_until = clock_timestamp() + interval '1 hour'")
        there.back()
        assert 0.9 <= there.quiet <= 1.0


# -- who was found to have ended -------------------------------------------------------------------


def test_who_lost_its_slot_before_a_crash_is_known_to_have_ended(
    two: list[Session], postgres_database: PostgresDatabase
) -> None:
    here, there = two
    handed_on(here, there)
    # A crash that has lost nothing, long after the schema was made.
    change(postgres_database.url, "identity = 'another', anew_until = 'epoch'")
    assert there.back().keys() == {2}
    assert not there.connection.greeting.ended
    assert here.back() == {}
    assert here.quiet > 0
    assert here.connection.greeting.ended


@pytest.fixture
def lazy() -> Iterator[PostgresServer]:
    """A server that loses in a crash whatever was not flushed on purpose."""
    folder = bin_folder()
    assert folder is not None
    server = PostgresServer(folder, "wal_writer_delay=10s")
    yield server
    server.remove()


def test_a_crash_loses_grants_and_never_that_somebody_was_found_to_have_ended(lazy: PostgresServer) -> None:
    with sessions(lazy.url, 3) as (here, there, late):
        change(lazy.url, "anew_until = 'epoch'")
        handed_on(here, there)
        late.do(Resize(2))
        assert token_of(late.do(join(3)))
        lazy.crash()
        lazy.start()
        # What is committed without being flushed is gone, which is what the test stands on.
        assert late.back() == {}
        assert not late.connection.greeting.ended
        assert there.back().keys() == {2}
        assert here.back() == {}
        assert here.connection.greeting.ended


@pytest.mark.slow
def test_after_a_failover_that_lost_a_hand_over_the_one_who_had_the_slot_last_keeps_it() -> None:
    folder = bin_folder()
    assert folder is not None
    primary = PostgresServer(folder)
    standby = PostgresServer(folder, of=primary)
    try:
        url = f"postgresql://resprout@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
        with Peer(url, ttl=10.0, node="older") as older, Peer(url, ttl=10.0, node="newer") as newer:
            for peer in (older, newer):
                peer.do("throttle.new('db', 1, engine='shared') and None")
            older.do("grants.append(throttle.acquire('db'))")
            newer.later("grants.append(throttle.acquire('db')) or process.sleep(60)")
            until(lambda: older.do("throttle.lock_state('db', everywhere=True).waiting") == 1)
            standby.receive_no_more(primary)
            # It hears of nothing: neither that its connection is cut, nor who is let in then.
            older.freeze()
            primary.cut("resprout older")
            until(lambda: newer.do("len(grants)"))
            primary.stop("immediate")
            standby.promote()
            older.thaw()
            until(lambda: lost(older))
            assert newer.do("grants[0].held")
            assert newer.do("cluster.info('shared').connected")
            newer.do("grants[0].assert_held()")
    finally:
        standby.remove()
        primary.remove()


@pytest.mark.slow
def test_a_crowd_goes_on_after_a_failover_that_lost_grants_and_nobody_is_let_in_twice(tmp_path: Path) -> None:
    folder = bin_folder()
    assert folder is not None
    primary = PostgresServer(folder)
    standby = PostgresServer(folder, of=primary)
    url = f"postgresql://resprout@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
    many = Crowd(url, tmp_path, ttl=1.0)
    try:
        for _ in range(4):
            many.start()
        many.await_more()
        standby.receive_no_more(primary)
        many.await_more()
        primary.stop("immediate")
        standby.promote()
        back = time.monotonic()
        many.await_more(1)
        assert time.monotonic() - back <= 2.0 + 0.5
        many.await_more(50)
        many.stop()
        found = intervals(tmp_path.iterdir(), many.ended, time.monotonic())
        assert most_at_work(found) == SLOTS
        tokens = [each.token for each in found]
        assert len(set(tokens)) == len(tokens)
    finally:
        many.stop()
        standby.remove()
        primary.remove()


def lost(peer: Peer) -> bool:
    """Whether it was told of the loss of its grant."""
    try:
        peer.do("grants[0].assert_held()")
    except PeerError as error:
        return error.kind in ("LockLost", "ServerExit")
    return False


def test_who_was_found_to_have_ended_is_not_believed_after_a_crash_and_hears_so(
    url: str, server: PostgresServer
) -> None:
    with Peer(url, ttl=3.0, node="older") as older, Peer(url, ttl=3.0, node="newer") as newer:
        for peer in (older, newer):
            peer.do("throttle.new('db', 1, engine='shared') and None")
        older.do("grants.append(throttle.acquire('db'))")
        number = newer.later("throttle.run('db', int)")
        until(lambda: older.do("throttle.lock_state('db', everywhere=True).waiting") == 1)
        older.freeze()
        assert server.cut("resprout older") == 1
        # It comes, works, and has left again: no row tells that anybody was there.
        assert newer.result(number) == 0
        until(lambda: newer.do("throttle.lock_state('db', everywhere=True).running") == 0)
        change(url, "identity = 'another', anew_until = 'epoch'")
        older.thaw()
        until(lambda: lost(older))
