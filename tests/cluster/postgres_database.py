"""A database for a test on PostgreSQL (see databases)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from .postgres_server import PostgresServer

HISTORY = """
create table history (
    number bigserial primary key, at timestamptz not null default clock_timestamp(), grants integer, token
    bigint);
create function note() returns trigger language plpgsql as $$
begin
    if tg_op <> 'DELETE' and not new.waiting and (tg_op = 'INSERT' or old.waiting) then
        insert into history (grants, token) values (new.weight, new.token);
    elsif tg_op = 'DELETE' and not old.waiting then
        insert into history (grants, token) values (-old.weight, old.token);
    end if;
    return null;
end $$;
lock table resprout.claims in share mode;
insert into history (grants, token) select weight, token from resprout.claims where not waiting order by
token; create trigger note after insert or update or delete on resprout.claims for each row execute function
note();
"""


class PostgresDatabase:
    def __init__(self, server: PostgresServer, name: str) -> None:
        self._server = server
        self.url = server.url_of(name)
        self.port = server.port

    def one(self, what: str) -> Any:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            return connection.execute(what).fetchone()[0]  # type: ignore[index]  # there is one

    def claims(self) -> int:
        return int(self.one("select count(*) from resprout.claims"))

    def keys(self) -> int:
        return int(self.one("select count(*) from resprout.keys"))

    def num_slots(self) -> int:
        return int(self.one("select coalesce(max(num_slots), 0) from resprout.locks"))

    def lose_everything(self) -> None:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute("delete from resprout.claims")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'resprout here'"
            )

    def forget(self) -> None:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute("drop schema resprout cascade")

    def sessions(self) -> int:
        return int(self.one("select count(*) from pg_stat_activity where application_name like 'resprout %'"))

    def cut(self) -> int:
        return self._server.cut()

    @contextmanager
    def silent(self) -> Iterator[None]:
        with closing(psycopg.connect(self.url)) as blocker:
            blocker.execute("lock table resprout.keys in access exclusive mode")
            yield

    @contextmanager
    def closed(self) -> Iterator[None]:
        name = self.url.rpartition("/")[2]
        with closing(self._server.connect()) as connection:
            connection.execute(f"alter database {name} allow_connections false")
            self._server.cut()
            yield
            connection.execute(f"alter database {name} allow_connections true")

    def keep_history(self) -> None:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute(HISTORY)

    def most_by_history(self) -> int:
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            rows = connection.execute("select grants, token from history order by number").fetchall()
        tokens = [token for grants, token in rows if grants > 0]
        assert tokens == sorted(set(tokens))
        used = most = 0
        for grants, _ in rows:
            used += grants
            most = max(most, used)
        return most
