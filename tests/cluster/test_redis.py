"""What only Redis has: sessions that are judged by their channel and by their beats, data that may be gone,
and servers that are refused.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resprout import GenServer, StartError, cluster, process, throttle
from resprout.cluster.command import ClusterOptions, administer
from resprout.cluster.driver import ConnectionLost, Request
from resprout.cluster.key_operations import ClaimKey, KeyRequest
from resprout.cluster.operations import (
    Declare,
    Granted,
    Join,
    Keep,
    Leave,
    Lost,
    Pause,
    Queued,
    Reaped,
    Redeclared,
    Refused,
    Rerated,
    Resize,
    Row,
)
from resprout.cluster.redis import connect
from resprout.cluster.settings import HELD_SHARE
from resprout.throttle import Rate

from ..waiting import until
from .peer import Peer
from .redis_server import RedisDatabase, RedisServer, find_program, free_port
from .sessions import TTL, Session, join, sessions, token_of

pytestmark = pytest.mark.redis


@pytest.fixture
def kind() -> str:
    return "redis"


@pytest.fixture
def two(url: str) -> Iterator[list[Session]]:
    with sessions(url, 2) as found:
        yield found


# -- steps -----------------------------------------------------------------------------------------


def test_a_claim_is_granted_or_waits_and_saying_it_twice_changes_nothing(two: list[Session]) -> None:
    here, there = two
    token = token_of(here.do(join(1)))
    assert here.do(join(1)) == (Granted(1, token),)
    (queued,) = there.do(join(2))
    assert isinstance(queued, Queued)
    assert there.do(join(2)) == (queued,)
    assert here.do(Leave(1), Leave(1)) == ()
    (granted,) = there.hears()
    assert granted.ref == 2
    assert granted.token > token
    # A message may get lost; a look tells it again.
    assert granted in there.do(poll=True)


def test_what_is_not_taken_says_why(two: list[Session]) -> None:
    here, there = two
    here.do(join(1))
    assert there.do(join(2, weight=2), join(3, once=True), join(4, most=0)) == (
        Refused(2, "heavy"),
        Refused(3, "busy"),
        Refused(4, "full"),
    )


def test_priorities_that_only_differ_in_their_last_digit_are_told_apart(two: list[Session]) -> None:
    here, there = two
    here.do(join(1))
    most = 2**53 - 1
    here.do(join(2, priority=most - 1))
    there.do(join(3, priority=most))
    there.do(join(4, priority=-most))
    assert [each.ref for each in here.connection.claimants("db", 5.0)] == [1, 3, 2, 4]
    assert [each.priority for each in here.connection.claimants("db", 5.0)] == [0, most, most - 1, -most]


def test_slots_and_pauses_are_the_locks(two: list[Session]) -> None:
    here, there = two
    assert here.do(Declare(1, False), join(1)) == (
        Granted(1, here.connection.claimants("db", 5.0)[0].token or 0),
    )
    there.do(join(2))
    assert here.do(Pause(True)) == ()
    assert there.step(Resize(2)).num_slots == 2
    assert there.step(Declare(1, False), poll=True).paused
    assert isinstance(there.do(Pause(False))[0], Granted)
    assert there.do(Declare(3, False)) == (Redeclared(1),)
    assert here.step(poll=True).num_slots == 3


def test_nobody_waits_for_who_asks_for_more_than_there_is_now(two: list[Session]) -> None:
    here, there = two
    here.do(Declare(2, False), join(1, weight=2), slots=2)
    there.do(join(2, weight=2), join(3), slots=2)
    there.do(Resize(1))
    here.do(Leave(1))
    assert [each.ref for each in there.hears()] == [3]
    there.do(Leave(3))
    assert [each.ref for each in here.connection.claimants("db", 5.0)] == [2]


def test_a_step_of_many_claims_is_one_step(two: list[Session]) -> None:
    here, _ = two
    facts = here.do(Declare(5000, False), *[join(ref) for ref in range(1, 1001)], slots=5000)
    assert len({fact.token for fact in facts if isinstance(fact, Granted)}) == 1000
    for block in range(1, 4):
        here.do(*[join(block * 1000 + ref) for ref in range(1, 1001)])
    assert len(here.do(poll=True)) == 4000


def test_names_of_locks_are_what_they_are(url: str) -> None:
    names = ["a", "a}:lock", "{a}", "a b", "ünï", "a:claims:1", "*"]
    with sessions(url, 1) as (here,):
        for number, name in enumerate(names):
            here.connection.step([Request(name, 1, [join(number)], False)], 5.0)
        for number, name in enumerate(names):
            assert [each.ref for each in here.connection.claimants(name, 5.0)] == [number]
        here.back()
        assert set(here.connection.greeting.rows) == set(names)


def test_a_script_that_the_server_has_forgotten_is_said_again(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, _ = two
    token = token_of(here.do(join(1)))
    with redis_database.client() as client:
        client.script_flush()
    answers = here.connection.step([Request(name, 1, [join(5)], False) for name in ("a", "b")], 5.0)
    assert all(isinstance(answer.facts[0], Granted) for answer in answers)
    assert here.do(join(1)) == (Granted(1, token),)


def test_what_nobody_uses_leaves_little_behind(two: list[Session], redis_database: RedisDatabase) -> None:
    here, there = two
    here.do(join(1))
    there.do(join(2))
    there.do(Leave(2))
    here.do(Leave(1))
    here.connection.close()
    time_to_notice(there)
    with sessions(there.settings.url, 1), redis_database.client() as client:
        left = {key.replace(str(there.member), "M") for key in client.scan_iter()}
        assert {"resprout:server", "resprout:members", "resprout:member:M", "resprout:{db}:lock"} <= left
        assert str(here.member) not in client.smembers("resprout:members")
        assert not [key for key in left if ":claims:" in key or key.endswith(("line", "}:members"))]
        assert client.ttl("resprout:{db}:lock") > 29 * 24 * 3600
        there.do(join(3))
        assert client.ttl("resprout:{db}:lock") == -1


def time_to_notice(session: Session) -> None:
    """Have somebody see that a connection is gone, and let its grace pass."""
    # Who looks late does not believe the clock the first time.
    for _ in range(2):
        with sessions(session.settings.url, 1):
            pass
        # That it passes is what is waited for; nothing happens at its end.
        time.sleep(session.settings.grace + 0.05)


# -- who lives -------------------------------------------------------------------------------------


def test_a_connection_that_is_gone_is_given_its_grace_and_a_monitor_of_all_channels_is_none(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    here.do(join(1))
    there.do(join(2))
    with redis_database.client() as client, client.pubsub() as everything:
        everything.psubscribe("*")
        everything.get_message(timeout=5)
        here.connection.close()
        until(lambda: there.step(poll=True).again != pytest.approx(TTL, abs=1))
        began = time.monotonic()
        assert Granted not in map(type, there.do(poll=True))
        facts: list[object] = []
        until(lambda: facts.extend(there.do(poll=True)) or facts)
        assert facts[0] == Reaped("n", 1)
        assert isinstance(facts[1], Granted)
        assert time.monotonic() - began <= 0.15 + 0.3


def test_a_head_whose_connection_is_gone_is_passed_over_and_keeps_its_place(url: str) -> None:
    with sessions(url, 3, grace=0.9) as (here, head, second):
        here.do(join(1))
        head.do(join(2))
        second.do(join(3))
        head.connection.close()
        until(lambda: (here.step(poll=True).again or 9) < 1)
        here.do(Leave(1))
        assert [each.ref for each in second.hears()] == [3]
        assert head.back()[2].token is None
        second.do(Leave(3))
        assert [each.ref for each in head.hears()] == [2]


def test_a_jump_of_the_clock_ends_nobody_who_lives(two: list[Session], redis_database: RedisDatabase) -> None:
    here, there = two
    here.do(join(1))
    there.do(join(2))
    with redis_database.client() as client:
        for hours in (-1, 1):
            # As if it had been set by an hour since.
            key = f"resprout:member:{here.member}"
            client.hset(key, "beat", int(client.hget(key, "beat") or 0) + hours * 3_600_000_000)
            assert there.do(poll=True) == ()
            here.beat()
            assert there.do(poll=True) == ()
        assert int(client.hget(key, "silent") or -1) == 0


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_jump_of_the_clock_ends_nobody_who_is_silent_and_may_believe_in_its_grants(
    url: str, redis_database: RedisDatabase, share: float
) -> None:
    with sessions(url, 2, ttl=1.5) as (stopped, there), redis_database.client() as client:
        stopped.do(join(1))
        there.do(join(2))
        began = time.monotonic()
        until(lambda: there.do(poll=True) or time.monotonic() - began > share * 1.5)
        key = f"resprout:member:{stopped.member}"
        for field in ("beat", "silent", "looked"):
            at = int(client.hget(key, field) or 0)
            if at:
                client.hset(key, field, at - 3_600_000_000)
        facts: list[object] = []
        until(lambda: facts.extend(there.do(poll=True)) or facts)
        assert isinstance(facts[0], Reaped)
        assert time.monotonic() - began >= HELD_SHARE * 1.5


def test_who_is_silent_for_a_ttl_has_lost_everything_and_hears_of_that_at_its_next_step(url: str) -> None:
    with sessions(url, 2, ttl=1.0) as (stopped, there):
        here_too = [Request("other", 1, [join(9)], False)]
        stopped.do(join(1))
        stopped.connection.step(here_too, 5.0)
        there.do(join(2))
        began = time.monotonic()
        facts: list[object] = []
        until(lambda: facts.extend(there.do(poll=True)) or facts)
        assert 0.9 <= time.monotonic() - began <= 1.3
        assert isinstance(facts[0], Reaped)
        # It still has a claim on the other lock, and must not go on as if nothing had been.
        with pytest.raises(ConnectionLost, match="is over here"):
            stopped.beat()
        assert stopped.back() == {}
        assert stopped.connection.greeting.rows["other"].keys() == {9}


def test_an_old_session_of_a_process_that_has_a_new_one_can_do_nothing(url: str) -> None:
    with sessions(url, 1) as (here,):
        old = here.connection
        here.connection = connect(here.settings, here.member, True, 5.0)
        with pytest.raises(ConnectionLost, match="is over here"):
            old.step([Request("db", 1, [join(1)], False)], 5.0)
        old.close()
        here.do(join(1))


# -- data that are gone ----------------------------------------------------------------------------


def test_a_server_that_is_up_for_long_and_has_nothing_makes_nobody_wait(redis_server: RedisServer) -> None:
    database = redis_server.database()
    with database.client() as client:
        client.flushdb()
        until(lambda: int(client.info("server")["uptime_in_seconds"]) > 3)
    with sessions(database.url, 1, ttl=1.0) as (here,):
        assert here.quiet == 0


def test_a_newcomer_that_is_first_after_all_data_went_waits_for_those_who_hold(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, _ = two
    token = token_of(here.do(join(1)))
    redis_database.forget()
    with sessions(here.settings.url, 1) as (new,):
        assert 0 < new.quiet <= TTL
        assert isinstance(new.do(join(7), poll=True)[0], Queued)
        with pytest.raises(ConnectionLost, match="is over here"):
            here.beat()
        assert here.back() == {}
        assert here.quiet > 0
        assert here.do(Keep(1, token, 1, 0, "me")) == ()
        assert [(each.ref, each.token) for each in new.connection.claimants("db", 5.0)] == [
            (1, token),
            (7, None),
        ]


def test_a_server_that_has_just_started_without_data_makes_everybody_wait() -> None:
    program = find_program()
    assert program is not None
    server = RedisServer(program)
    try:
        with sessions(server.url, 1, ttl=1.0) as (new,):
            assert 0 < new.quiet <= 1.0
            assert isinstance(new.do(join(1), poll=True)[0], Queued)
            facts: list[object] = []
            until(lambda: facts.extend(new.do(poll=True)) or facts)
            assert isinstance(facts[0], Granted)
    finally:
        server.remove()


def another_server(database: RedisDatabase) -> None:
    """As after a failover, or a restart that brought the data back."""
    with database.client() as client:
        client.hset("resprout:server", "identity", "another")


def test_who_lost_its_slot_before_a_failover_gets_it_back_from_nobody(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    token = token_of(here.do(join(1)))
    there.do(join(2))
    # It was away for longer than its grace, so that its slot was given to the other one.
    here.connection.close()
    facts: list[object] = []
    until(lambda: facts.extend(there.do(poll=True)) or facts)
    another_server(redis_database)
    rows = there.back()
    assert there.quiet > 0
    assert rows[2].token is not None
    here.back()
    assert here.quiet > 0
    assert here.do(Keep(1, token, 1, 0, "me")) == (Lost(1),)


@pytest.mark.parametrize("first", ["older", "newer"])
def test_of_two_who_hold_one_slot_after_a_failover_that_knows_neither_the_newer_keeps_it(
    two: list[Session], redis_database: RedisDatabase, first: str
) -> None:
    here, there = two
    older = token_of(here.do(join(1)))
    there.do(join(2))
    here.connection.close()
    facts: list[object] = []
    until(lambda: facts.extend(there.do(poll=True)) or facts)
    newer = token_of(there.do(poll=True))
    redis_database.forget()
    here.back()
    there.back()
    assert here.quiet > 0
    if first == "older":
        assert here.do(Keep(1, older, 1, 0, "older")) == ()
        assert there.do(Keep(2, newer, 1, 0, "newer")) == ()
        with pytest.raises(ConnectionLost, match="is over here"):
            here.beat()
        assert here.back() == {}
    else:
        assert there.do(Keep(2, newer, 1, 0, "newer")) == ()
    assert here.do(Keep(1, older, 1, 0, "older")) == (Lost(1),)
    there.beat()
    assert [each.token for each in here.connection.claimants("db", 5.0)] == [newer]


def test_all_that_one_process_holds_is_entered_again(url: str, redis_database: RedisDatabase) -> None:
    with sessions(url, 1) as (here,):
        facts = here.do(Declare(3, False), join(1), join(2, weight=2), slots=3)
        kept = [Keep(each.ref, each.token, each.ref, 0, "x") for each in facts if isinstance(each, Granted)]
        redis_database.forget()
        here.back()
        assert here.do(*kept, slots=3) == ()
        # As if somebody had made it smaller, of which the server has forgotten nothing else.
        redis_database.forget()
        here.back()
        assert here.do(*kept, slots=2) == (Lost(1),)


def test_keys_of_another_version_are_refused(redis_database: RedisDatabase) -> None:
    with redis_database.client() as client:
        client.hset("resprout:server", "version", 99)
    assert "of version 2, got: 99; update resprout here" in str(start(redis_database.url))


def test_a_grant_that_a_failover_lost_is_entered_again_with_its_token(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    token = token_of(here.do(join(1)))
    there.do(join(2))
    # What was committed last is not there.
    with redis_database.client() as client:
        client.delete(f"resprout:{{db}}:claims:{here.member}")
        client.hset("resprout:{db}:lock", "used", 0)
    another_server(redis_database)
    there.back()
    assert there.do(poll=True) == ()
    assert here.back() == {}
    assert here.do(Keep(1, token, 1, 0, "me")) == ()
    assert here.back() == {1: Row(token, 0)}
    here.do(Leave(1))
    assert there.back()[2].token is None


def test_the_most_patient_of_those_who_were_here_is_waited_for(redis_database: RedisDatabase) -> None:
    with sessions(redis_database.url, 1, ttl=9.0) as (patient,):
        redis_database.forget()
        with sessions(redis_database.url, 1, ttl=1.0) as (hasty,):
            assert 0 < hasty.quiet <= 1.0
            patient.back()
            assert 8.0 < patient.quiet <= 9.0
            hasty.back()
            assert 8.0 < hasty.quiet <= 9.0


def test_what_a_lock_has_is_counted_anew_when_only_that_is_gone(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    token = token_of(here.do(join(1)))
    with redis_database.client() as client:
        client.delete("resprout:{db}:lock")
    assert isinstance(there.do(join(2))[0], Queued)
    here.do(Leave(1))
    assert there.hears()[0].token > token


# -- a rate ------------------------------------------------------------------------------------------


def test_a_rate_lasts_though_all_data_went_and_tells_when_it_allows_the_next(
    engine: str, redis_database: RedisDatabase
) -> None:
    throttle.new("db", 5, engine=engine, rate="1/m burst 2")
    throttle.acquire("db").release()
    redis_database.forget()
    until(lambda: cluster.info(engine).reconnects > 0)
    for _ in range(2):
        throttle.acquire("db").release()
    assert throttle.attempt("db") is None


def test_who_is_next_is_told_when_to_ask_again(two: list[Session]) -> None:
    here, there = two
    rate = Rate(1.0, 1)
    here.do(Declare(3, False, rate), join(1), slots=3)
    first = there.step(join(2), slots=3)
    assert 0.9 < (first.again or 0) <= 1
    assert here.step(join(3), slots=3).again is None
    assert 0.8 < (there.step(poll=True).again or 0) <= 1
    # A heavier one than the burst, for which all credit has to be there.
    assert here.do(Declare(3, False, Rate(1.0, 2)), Leave(3), poll=True, slots=3)[:2] == (
        Rerated(rate),
        Granted(1, token_of(here.do(join(1)))),
    )


def test_a_clock_that_was_set_back_makes_nobody_wait_for_that_long(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    here.do(Declare(3, False, Rate(20.0, 1)), join(1), slots=3)
    with redis_database.client() as client:
        ahead = int(client.hget("resprout:{db}:lock", "counted") or 0) + 3_600_000_000
        client.hset("resprout:{db}:lock", "counted", ahead)
    assert 0 < (there.step(join(2)).again or 0) <= 0.05
    found: list[object] = []
    until(lambda: found.extend(there.do(poll=True)) or found)
    assert isinstance(found[0], Granted)


def test_a_lock_that_was_forgotten_knows_the_tokens_of_a_block(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    far = 10**9
    first = token_of(here.do(Join(1, 1, 0, False, None, "w", block=far)))
    with redis_database.client() as client:
        client.delete("resprout:{db}:lock")
    assert token_of(there.do(join(2), slots=2)) == first + far


def test_who_keeps_a_grant_keeps_the_tokens_of_its_block(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    token, far = token_of(here.do(join(1))), 10**9
    redis_database.forget()
    here.back()
    assert here.do(Keep(1, token, 1, 0, "w", far), slots=2) == ()
    there.back()
    (queued,) = there.do(join(2), slots=2)
    assert isinstance(queued, Queued)
    with redis_database.client() as client:
        client.hset("resprout:server", "quiet", 0)
    assert token_of(there.do(poll=True)[-1:]) == token + far


# -- servers ---------------------------------------------------------------------------------------


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server with options."""
    program = find_program()
    assert program is not None
    server = RedisServer(program, *getattr(request, "param", ()))
    yield server
    server.remove()


def start(url: str) -> StartError:
    with pytest.raises(StartError) as raised:
        cluster.Engine.start_link(url, name="shared", ttl=TTL)
    assert process.whereis("shared") is None
    return raised.value


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (["--cluster-enabled", "yes", "--cluster-port", str(free_port())], "Redis Cluster"),
        (["--replicaof", "127.0.0.1", "1"], "is a replica; give the address of the primary"),
    ],
    indirect=["own"],
)
def test_a_node_of_a_cluster_and_a_replica_are_refused(own: RedisServer, why: str) -> None:
    assert why in str(start(own.url))


def test_a_server_that_is_too_old_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resprout.cluster.redis.OLDEST", 99)
    assert "expected Redis 99 or later" in str(start(url))


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        ("x", "nothing but the number of a database behind the host"),
        ("0?nope=1", "an option that is not known"),
        ("0?db=x", "is none"),
        ("99999", "out of range"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused(url: str, tail: str, why: str) -> None:
    assert why in str(start(url.rpartition("/")[0] + "/" + tail))


def test_something_that_is_no_redis_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            inside, _ = listener.accept()
            with inside:
                inside.recv(65536)
                inside.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        error = start(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        thread.join(5)
    assert "is not reached" in str(error)


def test_two_connections_that_lead_to_two_servers_are_refused(
    redis_server: RedisServer, own: RedisServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def carry(inside: socket.socket, port: int) -> None:
            with inside, socket.create_connection(("127.0.0.1", port)) as outside:
                while data := inside.recv(65536):
                    outside.sendall(data)
                    inside.sendall(outside.recv(65536))

        def answer() -> None:
            for port in (redis_server.port, own.port):
                inside, _ = listener.accept()
                threads.append(threading.Thread(target=carry, args=(inside, port)))
                threads[-1].start()

        threads = [threading.Thread(target=answer)]
        threads[0].start()
        assert "lead to two servers" in str(start(f"redis://127.0.0.1:{listener.getsockname()[1]}/0"))
        for thread in threads:
            thread.join(5)


def test_a_user_who_may_not_do_what_it_takes_is_told_what_that_is(own: RedisServer) -> None:
    with own.client() as client:
        client.acl_setuser("app", enabled=True, passwords=["+hunter2"], commands=["+info"], keys=["*"])
        error = start(f"redis://app:hunter2@127.0.0.1:{own.port}/0")
        assert "~resprout:* &resprout@*" in str(error)
        assert "hunter2" not in str(error)
        # What it says is enough.
        client.execute_command(
            *["ACL", "SETUSER", "app", "reset", "on", ">hunter2", "~resprout:*", "&resprout@*"],
            *["+@all", "-@dangerous", "+info"],
        )
        pid = cluster.Engine.start_link(f"redis://app:hunter2@127.0.0.1:{own.port}/0", name="shared", ttl=1.0)
        throttle.new("db", 1, engine="shared")
        assert throttle.run("db", int) == 0
        assert cluster.info("shared").warnings == ()
        throttle.stop_lock("db")
        GenServer.stop(pid)


def test_a_right_that_is_taken_from_a_user_is_asked_for_with_pauses_and_told_of_once(
    own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    may = ["+@all", "-@dangerous", "+info"]
    with own.client() as client, caplog.at_level(logging.WARNING, "resprout.cluster"):
        client.execute_command("ACL", "SETUSER", "app", "on", ">hunter2", "~resprout:*", "&resprout@*", *may)
        pid = cluster.Engine.start_link(f"redis://app:hunter2@127.0.0.1:{own.port}/0", name="shared", ttl=1.0)
        throttle.new("db", 1, engine="shared")
        throttle.run("db", int)
        # It may begin a session, and nothing that is about a lock.
        some = ["~resprout:[lmrs]*", "~resprout:{*}:claims:*"]
        client.execute_command("ACL", "SETUSER", "app", "resetkeys", *some)
        job = throttle.execute("db", int)
        until(lambda: "NOPERM" in (cluster.info("shared").why_not or ""))
        before, began = cluster.info("shared").reconnects, time.monotonic()
        until(lambda: cluster.info("shared").reconnects >= before + 5)
        assert time.monotonic() - began >= 0.02 + 0.04 + 0.08 + 0.16
        assert [record.getMessage().count("NOPERM") for record in caplog.records] == [1]
        client.execute_command("ACL", "SETUSER", "app", "~resprout:*")
        assert job.result(10) == 0
        until(lambda: "connected again" in caplog.text)
        throttle.stop_lock("db")
        GenServer.stop(pid)


def test_a_policy_by_which_redis_forgets_keys_is_warned_about(own: RedisServer) -> None:
    with own.client() as client, sessions(own.url, 1, ttl=1.0) as (here,):
        assert here.connection.warnings(5.0) == []
        client.config_set("maxmemory-policy", "allkeys-lru")
        (warning,) = here.connection.warnings(5.0)
        assert "noeviction" in warning


def test_a_server_whose_memory_is_full_goes_on_with_locks(own: RedisServer) -> None:
    with own.client() as client, sessions(own.url, 2, ttl=1.0) as (here, there):
        client.config_set("maxmemory", 1)
        with pytest.raises(Exception, match="used memory > 'maxmemory'"):
            client.set("something", "else")
        granted: list[object] = []
        here.do(join(1))
        until(lambda: granted.extend(here.do(poll=True)) or granted)
        there.do(join(2))
        here.do(Leave(1))
        assert there.hears()[0].ref == 2


def test_a_password_that_was_changed_is_tried_until_it_is_right_and_nobody_sees_it(
    own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), own.client() as client:
        client.config_set("requirepass", "hunter2")
        client.execute_command("AUTH", "hunter2")
        pid = cluster.Engine.start_link(f"redis://:hunter2@127.0.0.1:{own.port}/0", name="shared", ttl=1.0)
        throttle.new("db", 1, engine="shared")
        throttle.run("db", int)
        client.config_set("requirepass", "another")
        client.client_kill_filter(_type="pubsub")
        until(lambda: "password" in (cluster.info("shared").why_not or ""))
        future = throttle.execute("db", int)
        client.config_set("requirepass", "hunter2")
        assert future.result(10) == 0
        assert "hunter2" not in f"{cluster.info('shared')} {process.info(pid)}"
        throttle.stop_lock("db")
        GenServer.stop(pid)
    assert "hunter2" not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_grants_come_through_tls_as_well(certificate: Path) -> None:
    program = find_program()
    assert program is not None
    cert, key = certificate / "cert.pem", certificate / "key.pem"
    port = free_port()
    server = RedisServer(
        program,
        *["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-cert-file", str(cert)],
        *["--tls-key-file", str(key), "--tls-ca-cert-file", str(cert)],
    )
    try:
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={cert}"
        with Peer(url, ttl=1.0) as holder, Peer(url, ttl=1.0) as waiter:
            for peer in (holder, waiter):
                peer.do("throttle.new('db', 1, engine='shared') and None")
            for _ in range(3):
                token = holder.do("grants.append(throttle.acquire('db')) or grants[-1].token")
                number = waiter.later("throttle.acquire('db').token")
                until(lambda: holder.do("throttle.lock_state('db', everywhere=True).waiting") == 1)
                holder.do("grants[-1].release()")
                assert waiter.result(number) > token
                # Its thread has ended, and its slot with it.
    finally:
        server.remove()


# -- what is on Redis, for people ------------------------------------------------------------------


def test_the_command_says_that_nothing_has_to_be_installed_shows_and_removes(
    two: list[Session], url: str, redis_database: RedisDatabase
) -> None:
    here, there = two
    here.do(join(1))
    there.do(join(2))
    there.connection.keys([KeyRequest("syncs", [ClaimKey(3, "k", "1", "w")])], 5.0)
    status, text = administer(ClusterOptions("install", url))
    assert status == 0
    assert "nothing has to be installed" in text
    status, text = administer(ClusterOptions("status", url))
    assert status == 0
    assert text.count("session") == 2
    assert "lock db: 1 of 1 slots used, 1 waiting" in text
    assert "registry syncs: 1 keys" in text
    assert administer(ClusterOptions("remove", url))[0] == 0
    with redis_database.client() as client:
        assert client.dbsize() == 0
    with pytest.raises(ConnectionLost, match="is over here"):
        here.beat()
    for action in ("install", "status", "remove"):
        assert "hunter2" not in administer(ClusterOptions(action, "redis://:hunter2@127.0.0.1:1"))[1]  # type: ignore[arg-type]  # one of these
        assert (
            "resprout" in administer(ClusterOptions(action, url, only_print=True))[1] or action == "install"
        )  # type: ignore[arg-type]  # one of these


def test_a_grant_on_redis_can_not_be_asserted_in_a_transaction_and_that_is_said(engine: str) -> None:
    throttle.new("db", 1, engine=engine)
    with throttle.slot("db") as grant:
        grant.assert_held()
        with pytest.raises(
            ValueError, match=r"on redis://, which takes part in no transaction.*num_slots: 1"
        ):
            cluster.assert_held(None, grant)


def test_info_says_which_server_it_is(engine: str) -> None:
    info = cluster.info(engine)
    assert info.connected
    program = find_program()
    assert program is not None
    assert (info.server or "").startswith("Valkey " if "valkey" in program.name else "Redis 7")
    assert info.session is not None


def test_a_url_of_valkey_leads_to_what_speaks_as_redis_does(url: str) -> None:
    process.trap_exit(True)
    there = url.replace("redis://", "valkey://")
    pid = cluster.Engine.start_link(there, name="valkeys")
    throttle.new("db", 1, engine="valkeys")
    with throttle.slot("db") as grant:
        assert grant.held
    throttle.stop_lock("db")
    assert cluster.info("valkeys").url == there
    GenServer.stop(pid)
    process.trap_exit(False)
