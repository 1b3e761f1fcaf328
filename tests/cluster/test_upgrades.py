"""A schema of a version before, which `resprout cluster install` upgrades."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from resprout import StartError, cluster
from resprout.cluster.command import ClusterOptions, administer
from resprout.cluster.postgres_schema import VERSION, install_sql

from .peer import Peer

pytestmark = pytest.mark.postgres

# What version 2 had, where that was another one.
TABLES_2 = """\
alter table resprout.server add column anew_until timestamptz not null default 'epoch';
alter table resprout.sessions add column anew boolean not null default false;
alter table resprout.locks add column rate double precision,
    add column burst bigint,
    add column due double precision not null default 0;
alter table resprout.claims add column block bigint not null default 1;
"""
FUNCTIONS_2 = """\
create or replace function resprout.seconds_left(p_session resprout.sessions) returns double precision
language plpgsql as $$
declare
    v_left double precision;
begin
    if not resprout.is_free(p_session.session) then
        if p_session.free_since is not null then
            update resprout.sessions set free_since = null where session in (select session
                from resprout.sessions where session = p_session.session for no key update skip locked);
        end if;
        return null;
    end if;
    if p_session.free_since is null then
        update resprout.sessions set free_since = clock_timestamp() where session in (select session
            from resprout.sessions where session = p_session.session for no key update skip locked);
        return p_session.grace;
    end if;
    v_left := p_session.grace - extract(epoch from clock_timestamp() - p_session.free_since);
    if v_left > p_session.grace then
        update resprout.sessions set free_since = clock_timestamp() where session in (select session
            from resprout.sessions where session = p_session.session for no key update skip locked);
    end if;
    return v_left;
end $$;

create or replace function resprout.quiet_seconds() returns double precision language plpgsql as $$
declare
    v_quiet double precision;
    v_longest double precision;
begin
    select extract(epoch from quiet_until - clock_timestamp()) into v_quiet from resprout.server;
    if v_quiet <= 0 then
        return 0;
    end if;
    select max(ttl) into v_longest from resprout.sessions;
    if v_quiet > v_longest then
        update resprout.server set quiet_until = clock_timestamp() + make_interval(secs => v_longest)
            where only_row in (select only_row from resprout.server for update skip locked);
    end if;
    return least(v_quiet, v_longest);
end $$;

create or replace function resprout.assert_held(p_lock text, p_token bigint) returns void
language plpgsql set enable_seqscan = off set enable_bitmapscan = off as $$
begin
    perform 1 from resprout.claims where lock = p_lock and not waiting
        and token <= p_token and p_token < token + block for key share;
    if not found then
        raise exception 'the grant of lock % with token % is void', quote_literal(p_lock), p_token
            using errcode = 'RS001', hint = 'somebody else may hold the lock by now';
    end if;
end $$;
"""


def installed_as(version: int) -> str:
    """The statements, without what all former versions had not."""
    statements = install_sql("resprout").replace(
        f"server (version) values ({VERSION})", f"server (version) values ({version})"
    )
    statements, number = re.subn(r"(?ms)^-- What was not in version 1\.$.*?(?=^create table)", "", statements)
    assert number == 1
    return statements


def make_version_one(connection: psycopg.Connection[Any]) -> None:
    """As far as it matters: without the keys, and what came with them."""
    statements = installed_as(1)
    connection.execute("begin")
    # They name columns that are not there.
    connection.execute("set local check_function_bodies = off")
    connection.execute(statements)
    connection.execute("drop table resprout.keys cascade")
    for function in re.findall(r"function resprout\.(\w+)", statements):
        if "key" in function or function in ("try_member", "seconds_of", "seconds_left"):
            connection.execute(f"drop function resprout.{function} cascade")
    connection.execute("commit")


def make_version_two(connection: psycopg.Connection[Any]) -> None:
    """As far as it matters, too."""
    connection.execute("begin")
    connection.execute("set local check_function_bodies = off")
    connection.execute(installed_as(2))
    connection.execute(TABLES_2)
    connection.execute("drop function resprout.due_by_now")
    connection.execute(FUNCTIONS_2)
    connection.execute("commit")


Make = Callable[[psycopg.Connection[Any]], None]
VERSIONS: list[tuple[int, Make]] = [(1, make_version_one), (2, make_version_two)]


def made_of(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """Its columns and functions."""
    # All names are shown with their schema.
    connection.execute("set search_path = pg_catalog")
    found = connection.execute(
        "select concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)"
        " from information_schema.columns where table_schema = %(schema)s"
        " union all select pg_get_functiondef(oid) from pg_proc"
        " where pronamespace = to_regnamespace(%(schema)s)",
        {"schema": schema},
    )
    return sorted(text.replace(schema, "SCHEMA") for (text,) in found)


@pytest.mark.parametrize(("version", "make"), VERSIONS)
def test_a_schema_of_a_version_before_is_upgraded_and_keeps_what_is_in_it(
    url: str, version: int, make: Make
) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        make(connection)
        connection.execute(
            "insert into resprout.locks (name, num_slots, declared, paused) values ('db', 3, 2, false)"
        )
        refusal = rf"of version {VERSION}, got: {version}; run `resprout cluster install URL`"
        with pytest.raises(StartError, match=refusal):
            cluster.Engine.start_link(url, name="shared")
        assert administer(ClusterOptions("install", url))[0] == 0
        found = connection.execute("select num_slots from resprout.locks where name = 'db'").fetchone()
        assert found == (3,)
    with Peer(url) as peer:
        peer.do("Registry.start_link(keys='unique', name='syncs', engine='shared') and None")
        peer.do("Registry.register('syncs', 1) and None")
        peer.do("throttle.new('db', 2, engine='shared') and None")
        assert peer.do("throttle.run('db', int)") == 0
        assert "registry syncs: 1 keys" in administer(ClusterOptions("status", url))[1]


@pytest.mark.parametrize(("version", "make"), VERSIONS)
def test_an_upgraded_schema_is_as_a_new_one(url: str, version: int, make: Make) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        make(connection)
        administer(ClusterOptions("install", url, "brand_new"))
        assert made_of(connection, "resprout") != made_of(connection, "brand_new")
        administer(ClusterOptions("install", url))
        assert made_of(connection, "resprout") == made_of(connection, "brand_new")


@pytest.mark.parametrize(("version", "make"), VERSIONS)
def test_install_says_what_it_did(url: str, version: int, make: Make) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        make(connection)
    status, text = administer(ClusterOptions("install", url))
    assert (status, text.rpartition(": ")[2]) == (0, f"version {version} is upgraded to {VERSION}")
    status, text = administer(ClusterOptions("install", url))
    assert (status, text.rpartition(": ")[2]) == (0, "it is there already")
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("update resprout.server set version = 7")
    status, text = administer(ClusterOptions("install", url))
    assert (status, text.rpartition(": ")[2]) == (
        0,
        f"it is of another version than {VERSION}, and was left as it is; remove it first",
    )
