"""What is particular to PostgreSQL: sessions that say something at once, and rows that are forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from resprout.cluster.driver import Request
from resprout.cluster.operations import Declare, Granted, Join, Leave, Queued
from resprout.throttle import Rate

from ..waiting import until
from .sessions import Session

pytestmark = pytest.mark.postgres


@pytest.fixture
def somebody(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else, who has a transaction open."""
    with closing(psycopg.connect(url)) as connection:
        yield connection


def joins(ref: int, weight: int = 1) -> Join:
    return Join(ref, weight, 0, False, None, "w")


def waiting_for_rows(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("select count(*) from pg_locks where not granted").fetchone()
    return int(found[0]) if found else 0


def test_a_session_begins_with_all_that_the_one_before_is_saying_just_now(
    url: str, somebody: psycopg.Connection[Any]
) -> None:
    session = Session(url)
    session.do(Declare(1, False))
    former = session.connection
    somebody.execute("select 1 from resprout.locks where name = 'db' for no key update")
    says = threading.Thread(target=former.step, args=([Request("db", 1, [joins(7)], False)], 5.0))
    says.start()
    until(lambda: waiting_for_rows(somebody) >= 1)
    found: list[Any] = []
    begins = threading.Thread(target=lambda: found.append(session._connect(True)))
    begins.start()
    until(lambda: waiting_for_rows(somebody) >= 2)
    somebody.rollback()
    says.join()
    begins.join()
    (session.connection,) = found
    rows = session.connection.greeting.rows["db"]
    assert rows[7].token is not None
    former.close()
    # So it is one claim, which is given back once.
    session.do(Leave(7))
    other = Session(url)
    assert isinstance(other.do(joins(1))[0], Granted)
    for each in (session, other):
        each.connection.close()


def test_a_session_that_has_another_one_behind_it_is_over(url: str) -> None:
    session = Session(url)
    former = session.connection
    session.connection = session._connect(True)
    with pytest.raises(Exception, match="is over here, or not known"):
        former.step([Request("db", 1, [joins(7)], False)], 5.0)
    former.close()
    session.connection.close()


SETTINGS = {
    "synchronous_commit": "off",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "idle_session_timeout": "2s",
    "statement_timeout": "2s",
    "idle_in_transaction_session_timeout": "2s",
    "client_connection_check_interval": "200ms",
    "default_transaction_isolation": "read committed",
    "client_min_messages": "warning",
}


def test_the_engine_sets_what_its_session_needs_and_the_page_names_it(url: str) -> None:
    session: Any = Session(url, ttl=2.0)
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    for name, value in SETTINGS.items():
        assert session.connection._wire.run(f"select current_setting('{name}')", 5.0) == [[value]]
        assert f"`{name}" in page
    assert all(f"`{name}" in page for name in ("tcp_user_timeout", "keepalives_idle", "target_session_attrs"))
    session.connection.close()


def test_what_libpq_is_told_of_a_connection_is_what_a_url_does_not_say(url: str) -> None:
    def told(url: str) -> dict[str, str]:
        session: Any = Session(url, ttl=2.0, node="me")
        found: dict[str, str] = session.connection._connection.info.get_parameters()
        session.connection.close()
        return found

    one = told(url)
    assert (one["tcp_user_timeout"], one["keepalives_idle"]) == ("2000", "1")
    assert one["application_name"] == "resprout me"
    assert "target_session_attrs" not in one
    host = url.partition("@")[2].partition("/")[0]
    assert told(url.replace(host, f"{host},{host}"))["target_session_attrs"] == "read-write"
    mine = told(f"{url}?tcp_user_timeout=1234&target_session_attrs=primary")
    assert (mine["tcp_user_timeout"], mine["target_session_attrs"]) == ("1234", "primary")


def test_a_lock_that_was_forgotten_has_its_rate_again(url: str, somebody: psycopg.Connection[Any]) -> None:
    session, rate = Session(url), Rate(1e-6, 1)

    def ask(ref: int) -> object:
        (answer,) = session.connection.step([Request("db", 50, [joins(ref)], False, rate)], 5.0)
        return answer.facts[0]

    session.do(Declare(50, False, rate), slots=50)
    assert [type(ask(ref)) for ref in (1, 2)] == [Granted, Queued]
    session.do(Leave(1), Leave(2))
    somebody.execute("update resprout.locks set used_at = now() - interval '31 days'")
    somebody.commit()
    Session(url).connection.close()
    assert somebody.execute("select count(*) from resprout.locks").fetchone() == (0,)
    somebody.rollback()
    assert [type(ask(ref)) for ref in (3, 4)] == [Granted, Queued]
    session.connection.close()
