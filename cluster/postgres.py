"""PostgreSQL as an engine: locks on the server that one has. Needs the extra ``postgres``."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typing_extensions import assert_never

from ..throttle import Rate
from .driver import Claimant, ConnectionLost, Greeting, NotTaken, Request
from .errors import EngineRefused
from .key_operations import KeyFact, KeyRequest
from .operations import (
    Answer,
    Declare,
    Fact,
    Granted,
    Join,
    Keep,
    Leave,
    Locked,
    Lost,
    Operation,
    Pause,
    Queued,
    Reaped,
    Redeclared,
    Refused,
    Rerated,
    Resize,
    Row,
)
from .postgres_keys import facts_of, packed, rows_of, text_of
from .postgres_schema import VERSION, grant_sql, install_sql, upgrade_sql
from .postgres_warnings import found_in
from .postgres_wire import SqlError, Wire
from .settings import EngineSettings, shown, without_secrets

OLDEST = 140000
DEFAULT_SCHEMA = "resprout"
WITHOUT_SCHEMA = ("3F000", "42P01")
NOT_ALLOWED = "42501"
NOT_TAKEN = ("22", "23", "44", "54", "P0001")
"""How errors begin that are about what was said: data, constraints, views, limits, somebody's trigger."""
INSTALL_SECONDS = 30.0

_LOOK = """\
select pg_backend_pid(), pg_is_in_recovery(), current_setting('transaction_read_only'),
    current_setting('server_version'), current_database()"""

_CLAIMANTS = """\
select c.member, c.ref, coalesce(s.node, ''), c.who, c.token, c.weight, -c.rank,
    extract(epoch from clock_timestamp() - c.since)
from $schema$.claims c left join $schema$.sessions s using (session)
where c.lock = $1 order by c.waiting, c.token, c.rank, c.place"""


def connect(settings: EngineSettings, member: int, again: bool, timeout: float) -> PostgresConnection:
    """Begin a session (see driver.Connect)."""
    connection, server = connected(settings, timeout)
    try:
        wire = Wire(connection.pgconn)
        _settle(settings, wire, timeout)
        try:
            _check_schema(settings, wire, timeout)
            return PostgresConnection(settings, connection, wire, member, again, server, timeout)
        except SqlError as error:
            if error.sqlstate != NOT_ALLOWED:
                raise
            raise _not_allowed(settings, wire, error, timeout) from None
    except BaseException:
        connection.close()
        raise


def connected(settings: EngineSettings, timeout: float) -> tuple[psycopg.Connection[Any], str]:
    """Connect to a server that can be an engine; which one it is, for people."""
    connection = _connect(settings, timeout)
    try:
        return connection, _look(settings, connection, Wire(connection.pgconn), timeout)
    except BaseException:
        connection.close()
        raise


def _connect(settings: EngineSettings, timeout: float) -> psycopg.Connection[Any]:
    try:
        given = conninfo_to_dict(_plain(settings.url))
    except psycopg.Error as error:
        why = without_secrets(str(error).strip(), settings.url)
        raise EngineRefused(settings.name, f"the URL {shown(settings.url)} is none: {why}") from None
    more: dict[str, Any] = {
        "connect_timeout": max(2, round(timeout)),
        "keepalives_idle": max(1, round(settings.ttl / 2)),
        "tcp_user_timeout": round(settings.ttl * 1000),
        "application_name": f"resprout {settings.node}"[:63],
    }
    if "," in str(given.get("host", "")):
        more["target_session_attrs"] = "read-write"
    try:
        return psycopg.connect(make_conninfo(**{**more, **given}), autocommit=True)
    except psycopg.Error as error:
        raise ConnectionLost(without_secrets(str(error).strip(), settings.url)) from None


def _plain(url: str) -> str:
    """The URL as libpq reads it: SQLAlchemy's may name a driver."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def _look(settings: EngineSettings, connection: psycopg.Connection[Any], wire: Wire, timeout: float) -> str:
    """Look what is at the other end.

    Raises:
        EngineRefused: it can't be an engine.
    """
    if connection.info.server_version < OLDEST:
        raise EngineRefused(
            settings.name,
            f"expected PostgreSQL 14 or later at {shown(settings.url)}, "
            f"got: {connection.info.server_version // 10000}",
        )
    ((pid, standby, read_only, version, database),) = wire.run(_LOOK, timeout)
    if int(pid or 0) != connection.info.backend_pid:
        raise EngineRefused(
            settings.name,
            f"{shown(settings.url)} is a connection pooler: behind it, sessions change hands, and a lock "
            f"would be let go, or kept for ever, with somebody else's; give the address of PostgreSQL itself",
        )
    if standby == "t":
        raise EngineRefused(
            settings.name, f"{shown(settings.url)} is a hot standby; give the address of the primary"
        )
    if read_only == "on":
        raise EngineRefused(
            settings.name,
            f"transactions of this role are read-only (default_transaction_read_only) at "
            f"{shown(settings.url)}",
        )
    return f"PostgreSQL {version}, database {database}"


def _settle(settings: EngineSettings, wire: Wire, timeout: float) -> None:
    milliseconds = round(settings.ttl * 1000)
    # Sequential and bitmap scans would go through all the rows that are dead, which are nearly all there are:
    # an index scan leaves out what one before it has found to be dead.
    wire.run(
        f"set synchronous_commit = off; set jit = off; set enable_seqscan = off; "
        f"set enable_bitmapscan = off; set idle_session_timeout = {milliseconds}; "
        f"set statement_timeout = {milliseconds}; "
        f"set idle_in_transaction_session_timeout = {milliseconds}; "
        f"set default_transaction_isolation = 'read committed'; set client_min_messages = warning",
        timeout,
    )
    # Not everywhere there is a way to do that.
    with suppress(SqlError):
        wire.run(f"set client_connection_check_interval = {max(1, milliseconds // 10)}", timeout)


def _check_schema(settings: EngineSettings, wire: Wire, timeout: float) -> None:
    schema = settings.schema
    try:
        version = _version(wire, schema, timeout)
    except SqlError as error:
        if error.sqlstate not in WITHOUT_SCHEMA:
            raise
        try:
            install(wire, schema)
        except SqlError as problem:
            if problem.sqlstate != NOT_ALLOWED:
                raise
            role, command = _way_in(settings, wire, timeout)
            raise EngineRefused(
                settings.name,
                f"nothing is installed in the schema {schema!r}, and role {role!r} may not do that "
                f"({problem}); have somebody run {command}, or this:\n{install_sql(schema)}"
                f"{grant_sql(schema, role)}",
            ) from None
        version = _version(wire, schema, timeout)
    if version != VERSION:
        newer = (
            "update resprout here"
            if version > VERSION
            else "run `resprout cluster install URL`, which upgrades it; processes with the version before "
            "go on until they have to connect anew"
        )
        raise EngineRefused(
            settings.name, f"expected schema {schema!r} of version {VERSION}, got: {version}; {newer}"
        )


def _not_allowed(settings: EngineSettings, wire: Wire, error: SqlError, timeout: float) -> EngineRefused:
    """What somebody has to grant to a role that may not use all that is there."""
    role, command = _way_in(settings, wire, timeout)
    return EngineRefused(
        settings.name,
        f"role {role!r} may not use all that is in the schema {settings.schema!r} ({error}); have its owner "
        f"run {command}, or this:\n{grant_sql(settings.schema, role)}",
    )


def _way_in(settings: EngineSettings, wire: Wire, timeout: float) -> tuple[str, str]:
    """The role, and the command by which somebody lets it in."""
    role = wire.run("select current_user", timeout)[0][0] or ""
    where = "" if settings.schema == DEFAULT_SCHEMA else f" --schema {settings.schema}"
    return role, f"`resprout cluster install URL{where} --grant {shlex.quote(role)}`"


def _version(wire: Wire, schema: str, timeout: float) -> int:
    rows = wire.run(f"select version from {schema}.server", timeout)
    return int(rows[0][0] or 0) if rows else 0


def install(wire: Wire, schema: str) -> int | None:
    """Make the schema, or upgrade it. Of several who do so at once, one does it.

    Returns:
        The version that was there before: 0 for none. None if it is one that can't be upgraded.
    """
    # On a busy machine it takes longer than a grant may.
    wire.run("begin; set local statement_timeout = 0", INSTALL_SECONDS)
    try:
        wire.run("select pg_advisory_xact_lock(hashtext('resprout install'))", INSTALL_SECONDS)
        there = wire.run(f"select to_regclass('{schema}.server')", INSTALL_SECONDS)[0][0] is not None
        before = _version(wire, schema, INSTALL_SECONDS) if there else 0
        statements = upgrade_sql(schema, before) if there else install_sql(schema)
        if statements is not None:
            wire.run(statements, INSTALL_SECONDS)
    except BaseException:
        with suppress(ConnectionLost):
            wire.run("rollback", INSTALL_SECONDS)
        raise
    wire.run("commit", INSTALL_SECONDS)
    return before if before in (0, VERSION) or statements is not None else None


class PostgresConnection:
    """A session (see driver.Connection)."""

    def __init__(
        self,
        settings: EngineSettings,
        connection: psycopg.Connection[Any],
        wire: Wire,
        member: int,
        again: bool,
        server: str,
        timeout: float,
    ) -> None:
        self._connection = connection
        self._wire = wire
        self._settings = settings
        self._schema = schema = settings.schema
        # First, so that nothing is missed that is granted from now on.
        wire.run(f'listen "{schema}_{member}"', timeout)
        hello = f"select {schema}.hello($1, $2, $3, $4, $5)".encode()
        ((answer,),) = wire.ask(
            hello, [str(member), settings.node, str(settings.ttl), str(settings.grace), str(again)], timeout
        )
        session, quiet, rows, keys, ended = json.loads(answer or "")
        self.greeting = Greeting(session, server, float(quiet), _by_lock(rows), rows_of(keys), ended)
        self._keys = f"select {schema}.step_keys({session}, {member}, $1)".encode()
        self._step = f"select {schema}.step({session}, {member}, $1)".encode()
        self._one_step = f"select {schema}.step_lock({session}, {member}, $1, $2, $3, $4, $5, $6)".encode()
        self._claimants = _CLAIMANTS.replace("$schema$", schema).encode()

    def fileno(self) -> int:
        return self._wire.fileno()

    def step(self, requests: Sequence[Request], timeout: float) -> list[Answer]:
        asked = [
            [
                each.lock,
                each.num_slots,
                [_packed(op) for op in each.operations],
                each.poll,
                *_rate(each.rate),
            ]
            for each in requests
        ]
        if len(asked) == 1:
            lock, slots, operations, poll, rate, burst = asked[0]
            values = [
                str(lock),
                str(slots),
                json.dumps(operations),
                str(poll),
                None if rate is None else repr(rate),
                None if burst is None else str(burst),
            ]
            return [_answer(*self._told(self._one_step, values, timeout))]
        return [_answer(*each) for each in self._told(self._step, [json.dumps(asked)], timeout)]

    def keys(self, requests: Sequence[KeyRequest], timeout: float) -> list[list[KeyFact]]:
        asked = json.dumps([packed(each) for each in requests])
        return [facts_of(each) for each in self._told(self._keys, [asked], timeout)]

    def _told(self, function: bytes, values: Sequence[str | None], timeout: float) -> Any:
        try:
            ((answer,),) = self._wire.ask(function, values, timeout)
        except SqlError as error:
            if error.sqlstate.startswith(NOT_TAKEN):
                raise NotTaken(str(error)) from None
            if error.sqlstate == NOT_ALLOWED:
                raise _not_allowed(self._settings, self._wire, error, timeout) from None
            raise
        return json.loads(answer or "")

    def notified(self) -> list[Granted]:
        return [Granted(*map(int, said.split())) for said in self._wire.notified()]

    def claimants(self, lock: str, timeout: float) -> list[Claimant]:
        return [
            Claimant(
                int(member or 0),
                int(ref or 0),
                node or "",
                who or "",
                None if token is None else int(token),
                int(weight or 0),
                int(priority or 0),
                float(seconds or 0),
            )
            for member, ref, node, who, token, weight, priority, seconds in self._wire.ask(
                self._claimants, [lock], timeout
            )
        ]

    def warnings(self, timeout: float) -> list[str]:
        return found_in(self._wire, timeout)

    def interrupt(self) -> None:
        try:
            with socket.socket(fileno=socket.dup(self.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            # It is gone by itself.
            pass

    def close(self) -> None:
        self._connection.close()


def _by_lock(rows: Sequence[Sequence[Any]]) -> Mapping[str, Mapping[int, Row]]:
    found: dict[str, dict[int, Row]] = {}
    for lock, ref, token, place in rows:
        found.setdefault(lock, {})[ref] = Row(token, place)
    return found


def _packed(operation: Operation) -> list[object]:
    match operation:
        case Join(ref, weight, priority, once, max_waiting, who, place, block):
            return ["j", ref, weight, priority, once, max_waiting, text_of(who), place, block]
        case Leave(ref):
            return ["l", ref]
        case Keep(ref, token, weight, priority, who, block):
            return ["k", ref, token, weight, priority, text_of(who), block]
        case Declare(num_slots, paused, rate):
            return ["d", num_slots, paused, *_rate(rate)]
        case Resize(num_slots):
            return ["r", num_slots]
        case Pause(paused):
            return ["p", paused]
        case _:
            assert_never(operation)


def _rate(rate: Rate | None) -> tuple[float | None, int | None]:
    return (None, None) if rate is None else (rate.per_second, rate.burst)


_FACTS: Mapping[str, Callable[..., Fact]] = {
    "granted": Granted,
    "queued": Queued,
    "refused": Refused,
    "lost": Lost,
    "locked": Locked,
    "redeclared": Redeclared,
    "rerated": lambda per_second, burst: Rerated(None if per_second is None else Rate(per_second, burst)),
    "reaped": Reaped,
}


def _answer(
    num_slots: int, paused: bool, facts: Sequence[Sequence[Any]], watch: bool | None, again: float | None
) -> Answer:
    told: list[Fact] = [_FACTS[kind](*values) for kind, *values in facts]
    return Answer(num_slots, paused, tuple(told), watch, again)
