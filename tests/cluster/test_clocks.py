"""The clock of a server that is set while locks and keys are used, by an hour: nobody loses anything by that,
and nobody waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from resprout.cluster.driver import KeyConnection
from resprout.cluster.key_operations import ClaimKey, KeyClaimed, KeyOwned, KeyRequest, KeyUndecided
from resprout.cluster.operations import Declare, Granted, Keep, Leave, Queued, Reaped
from resprout.cluster.settings import HELD_SHARE
from resprout.throttle import Rate

from ..waiting import until
from .databases import Database
from .kinds import KINDS
from .sessions import Session, join, sessions, token_of

HOUR = 3600

# In front of those of PostgreSQL, for all connections of a database.
CLOCK = """\
create schema played;
create table played.clock (ahead double precision);
insert into played.clock values (0);
create function played.clock_timestamp() returns timestamptz language sql
    as 'select pg_catalog.clock_timestamp() + make_interval(secs => ahead) from played.clock';
create function played.now() returns timestamptz language sql
    as 'select pg_catalog.now() + make_interval(secs => ahead) from played.clock';
"""
# As if what is kept had been said by the clock as it was before.
SHIFT = """\
local by = ARGV[1] * 1000000
for _, key in ipairs(redis.call('KEYS', 'resprout:*')) do
    if redis.call('TYPE', key).ok == 'hash' then
        for _, field in ipairs({'quiet', 'seen', 'since', 'beat', 'free', 'silent', 'looked', 'counted'}) do
            local at = tonumber(redis.call('HGET', key, field) or 0)
            if at ~= 0 then
                redis.call('HSET', key, field, string.format('%.0f', at - by))
            end
        end
    end
end
"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[HOUR, -HOUR], ids=["forward", "back"])
def set_clock(request: pytest.FixtureRequest, database: Any) -> Callable[[], object]:
    """Sets it, by an hour."""
    by = request.param
    if database.url.startswith("redis"):

        def shift() -> None:
            with database.client() as client:
                client.eval(SHIFT, 0, by)

        return shift
    name = database.url.rpartition("/")[2]
    do(database, CLOCK)
    do(database, f"alter database {name} set search_path = played, pg_catalog")
    return lambda: do(database, f"update played.clock set ahead = ahead + {by}")


def do(database: Database, what: str) -> None:
    import psycopg

    with closing(psycopg.connect(database.url, autocommit=True)) as connection:
        connection.execute(what)


def as_after_a_crash(database: Any) -> None:
    """The server is another one than the one that was here last."""
    if database.url.startswith("redis"):
        with database.client() as client:
            client.hset("resprout:server", "identity", "another")
    else:
        do(database, "update resprout.server set identity = 'another'")


def lose_all(database: Any) -> None:
    """As if what is kept had been removed, and made anew."""
    if database.url.startswith("redis"):
        with database.client() as client:
            client.flushall()
    else:
        do(database, "update resprout.server set identity = null")
        do(database, "truncate resprout.sessions, resprout.claims, resprout.locks")


def granted(session: Session) -> list[object]:
    """What it is told until it is granted something."""
    found: list[object] = []
    until(lambda: found.extend(session.do(poll=True)) or any(isinstance(each, Granted) for each in found))
    return found


def notices(session: Session) -> None:
    """It has seen that somebody's connection is gone."""
    until(lambda: 0 < (session.step(poll=True).again or 9) <= 0.9)


def test_who_lives_and_who_waits_goes_on(url: str, set_clock: Callable[[], object]) -> None:
    with sessions(url, 2) as (here, there):
        token = token_of(here.do(join(1)))
        there.do(join(2))
        set_clock()
        for _ in range(3):
            assert there.do(poll=True) == ()
            here.beat()
            there.beat()
        here.do(Leave(1))
        assert there.hears()[0].token > token


def test_a_connection_that_was_cut_has_its_grace(url: str, set_clock: Callable[[], object]) -> None:
    with sessions(url, 2, grace=0.9) as (here, there):
        token = token_of(here.do(join(1)))
        there.do(join(2))
        here.connection.close()
        notices(there)
        set_clock()
        assert there.do(poll=True) == ()
        assert here.back()[1].token == token
        assert there.do(poll=True) == ()


@pytest.mark.parametrize("set_clock", [1.5], indirect=True)
def test_a_connection_that_was_cut_has_its_grace_after_a_small_step(
    url: str, set_clock: Callable[[], object]
) -> None:
    with sessions(url, 2, grace=0.9) as (here, there):
        token = token_of(here.do(join(1)))
        there.do(join(2))
        here.connection.close()
        notices(there)
        set_clock()
        assert there.do(poll=True) == ()
        assert here.back()[1].token == token


def test_who_has_ended_is_found_to_have_ended(url: str, set_clock: Callable[[], object]) -> None:
    with sessions(url, 2, grace=0.9) as (here, there):
        here.do(join(1))
        there.do(join(2))
        here.connection.close()
        notices(there)
        set_clock()
        began = time.monotonic()
        assert Reaped("n", 1) in granted(there)
        assert time.monotonic() - began < HOUR / 100


def ask(session: Session, *operations: Any) -> list[object]:
    connection: KeyConnection = session.connection  # type: ignore[assignment]  # it keeps keys
    (facts,) = connection.keys([KeyRequest("r", list(operations))], 5.0)
    return list(facts)


def test_a_key_is_not_taken_from_who_has_its_grace_by_who_comes_or_claims(
    url: str, set_clock: Callable[[], object]
) -> None:
    with sessions(url, 2, grace=0.9) as (here, there):
        assert isinstance(ask(here, ClaimKey(1, "k", "1", "w"))[0], KeyClaimed)
        here.connection.close()
        until(lambda: isinstance(ask(there, ClaimKey(2, "k", "1", "w"))[0], KeyUndecided))
        set_clock()
        with sessions(url, 1):
            pass
        assert isinstance(ask(there, ClaimKey(2, "k", "1", "w"))[0], KeyUndecided)
        here.back()
        assert (here.connection.greeting.keys or {}).keys() == {"r"}
        assert isinstance(ask(there, ClaimKey(2, "k", "1", "w"))[0], KeyOwned)


@pytest.mark.parametrize("times", [1, 2])
def test_after_a_crash_those_who_hold_have_their_time_to_say_so(
    url: str, database: Database, set_clock: Callable[[], object], times: int
) -> None:
    with sessions(url, 2, ttl=1.5) as (here, there):
        token = token_of(here.do(join(1)))
        here.do(Leave(1))
        as_after_a_crash(database)
        assert there.back() == {}
        began = time.monotonic()
        assert there.quiet > 0
        set_clock()
        assert isinstance(there.do(join(2), poll=True)[0], Queued)
        if times == 2:
            set_clock()
        assert here.back() == {}
        assert here.quiet > 0
        assert here.do(Keep(1, token, 1, 0, "me")) == ()
        here.do(Leave(1))
        granted(there)
        assert HELD_SHARE * 1.5 <= time.monotonic() - began < HOUR / 100


def test_who_comes_back_to_a_server_that_lost_all_is_believed(
    url: str, database: Database, set_clock: Callable[[], object]
) -> None:
    with sessions(url, 2) as (here, there):
        token = token_of(here.do(join(1)))
        lose_all(database)
        there.back()
        set_clock()
        here.back()
        assert not here.connection.greeting.ended
        assert here.quiet > 0
        assert here.do(Keep(1, token, 1, 0, "me")) == ()


def test_a_rate_is_as_used_up_as_it_was(url: str, set_clock: Callable[[], object]) -> None:
    rate = Rate(20.0, 1)
    with sessions(url, 2) as (here, there):
        here.do(Declare(9, False, rate), join(1), slots=9)
        set_clock()
        answer = there.step(join(2), slots=9)
        assert (answer.again or 0) < 1
        granted(there)
        # It is so, too, for those who only look.
        there.do(join(3), slots=9)
        set_clock()
        began = time.monotonic()
        until(lambda: Granted in [type(each) for each in there.do(poll=True) if getattr(each, "ref", 0) == 3])
        assert time.monotonic() - began < HOUR / 100
