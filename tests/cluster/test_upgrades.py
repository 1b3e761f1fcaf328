"""A schema of the version before, which `resprout cluster install` upgrades."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg
import pytest

from resprout import StartError, cluster
from resprout.cluster.command import ClusterOptions, administer
from resprout.cluster.postgres_schema import VERSION, install_sql

from .peer import Peer

pytestmark = pytest.mark.postgres


def make_version_one(url: str) -> None:
    """As far as it matters: without the keys, and what came with them."""
    statements = install_sql("resprout").replace(
        f"server (version) values ({VERSION})", "server (version) values (1)"
    )
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(statements)
        connection.execute("drop table resprout.keys cascade")
        connection.execute("alter table resprout.server drop column anew_until, drop column quiet_seen")
        connection.execute("alter table resprout.sessions drop column anew, drop column doubted")
        connection.execute("alter table resprout.claims drop column block")
        connection.execute("alter table resprout.locks drop column rate, drop column burst, drop column due")
        for function in re.findall(r"function resprout\.(\w+)", statements):
            if "key" in function or function in ("try_member", "seconds_of", "seconds_left"):
                connection.execute(f"drop function resprout.{function} cascade")


def test_a_schema_of_the_version_before_is_upgraded_and_keeps_what_is_in_it(url: str) -> None:
    make_version_one(url)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(
            "insert into resprout.locks (name, num_slots, declared, paused) values ('db', 3, 2, false)"
        )
        with pytest.raises(StartError, match=r"of version 2, got: 1; run `resprout cluster install URL`"):
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


def test_install_says_what_it_did(url: str) -> None:
    make_version_one(url)
    status, text = administer(ClusterOptions("install", url))
    assert (status, text.rpartition(": ")[2]) == (0, "version 1 is upgraded to 2")
    status, text = administer(ClusterOptions("install", url))
    assert (status, text.rpartition(": ")[2]) == (0, "it is there already")
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("update resprout.server set version = 7")
    status, text = administer(ClusterOptions("install", url))
    assert (status, text.rpartition(": ")[2]) == (
        0,
        "it is of another version than 2, and was left as it is; remove it first",
    )
