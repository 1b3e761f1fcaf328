"""What an engine, and a lock with an engine, is refused for; before anything runs wherever that can be."""

from __future__ import annotations

import importlib.metadata
import logging
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from resprout import (
    AlreadyStarted,
    Backoff,
    GenServer,
    Registry,
    StartError,
    Supervisor,
    cluster,
    process,
    throttle,
)
from resprout.actors import ConfigError, Crash
from resprout.cluster.command import ClusterOptions, administer
from resprout.cluster.postgres_schema import VERSION
from resprout.cluster.settings import shown, without_secrets
from resprout.supervision.trees.application import Application
from resprout.throttle import Rate

from ..waiting import until
from .peer import Peer
from .postgres_server import PostgresServer, bin_folder
from .sessions import Session, join, sessions, token_of

URL = "postgresql://app:hunter2@db.example/app"
SPEC = cluster.Engine.child_spec


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ttl": 0.5}, "ttl to be at least 1 s and at most 86400 s, got: 0.5"),
        ({"ttl": 1e300}, "at most 86400 s, got: 1e.300"),
        ({"ttl": float("nan")}, "ttl to be a positive number of seconds"),
        ({"ttl": True}, "ttl to be a positive number of seconds"),
        ({"grace": 0}, "grace to be a positive number"),
        ({"grace": 1.0, "ttl": 3.0}, r"grace to be less than a third of ttl \(1 s\)"),
        ({"schema": "Robert'); drop"}, "schema to be a name"),
        ({"node": ""}, "node to be a printable text"),
        ({"url": "db.example"}, "url to be a URL such as"),
        ({"name": ""}, "name to be a non-empty string"),
    ],
)
def test_an_engine_is_refused_what_makes_no_sense(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SPEC(options.pop("url", URL), **{"name": "shared", **options})


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"engine": "nope"}, "the name of an engine that was started before, got: 'nope'"),
        ({"engine": URL}, "got a URL .postgresql://....; declare it"),
        ({"engine": "shared", "adaptive": "aimd"}, "without adaptive, as it has an engine"),
        ({"engine": "shared", "on_lost": "ignore"}, "on_lost to be 'exit' or 'tell'"),
        ({"engine": "shared", "on_unreachable": "x"}, "on_unreachable to be 'wait' or 'raise'"),
        ({"engine": ""}, "engine to be the name of an engine, or None"),
        ({"engine": "shared", "name": "x" * 201}, "at most 200 characters"),
        ({"engine": "shared", "name": "a\0b"}, "printable"),
        (
            {"on_lost": "tell"},
            "expected on_lost to be left out where there is no engine, got: 'tell'",
        ),
        ({"on_unreachable": "raise"}, "expected on_unreachable to be left out where there is no engine"),
        ({"engine": "shared", "num_slots": 2**31}, "num_slots to be at most 2147483647 with an engine, got:"),
        ({"engine": "shared", "max_waiting": 10**30}, "max_waiting to be at most 2147483647 with an engine"),
        ({"engine": "shared", "rate": f"9/s burst {2**31}"}, "the burst of rate to be at most 2147483647"),
        ({"engine": "shared", "rate": 1e300}, "the burst of rate to be at most 2147483647"),
        ({"engine": "shared", "rate": Rate(1e300)}, "rate to be between 1e-09 and 1e.09 grants a second"),
        ({"engine": "shared", "rate": 1e-300}, "rate to be between 1e-09 and 1e.09 grants a second"),
    ],
)
def test_a_lock_with_an_engine_is_refused_what_is_not_there(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        throttle.new(**{"name": "lock", "num_slots": 1, **options})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("option", [{"on_lost": "tell"}, {"on_unreachable": "raise"}])
def test_a_registry_without_an_engine_is_refused_what_only_one_with_an_engine_has(option: Any) -> None:
    with pytest.raises(ValueError, match="to be left out where there is no engine"):
        Registry.start_link(keys="unique", name="syncs", **option)
    with pytest.raises(ValueError, match="to be left out where there is no engine"):
        Registry.child_spec(keys="unique", name="syncs", **option)
    Registry.child_spec(keys="unique", name="syncs", on_lost="exit", on_unreachable="wait")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://db/0", "begin with postgres://, postgresql://, redis://, rediss://, .*got: mysql://"),
    ],
)
def test_a_scheme_that_no_engine_has_is_refused(url: str, why: str) -> None:
    with pytest.raises(cluster.EngineRefused, match=why):
        cluster.Engine.start_link(url, name="shared")


@pytest.mark.parametrize(
    ("scheme", "extra", "library"),
    [("postgresql", "postgres", "psycopg"), ("redis", "redis", "redis"), ("rediss", "redis", "hiredis")],
)
def test_a_scheme_without_its_extra_says_what_to_install(
    scheme: str, extra: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for name in list(sys.modules):
        if name.startswith(f"resprout.cluster.{extra}"):
            monkeypatch.delitem(sys.modules, name)
    assert importlib.metadata.entry_points(group="resprout.engines")
    with pytest.raises(cluster.EngineRefused, match=rf"pip install 'resprout\[{extra}\]'"):
        cluster.Engine.start_link(URL.replace("postgresql", scheme), name="shared")


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgresql://app:hunter2%2Fx@db/app",
        "postgresql://db/app?user=app&password=hunter2",
        "postgresql://app:hunter2:hunter2@db/app",
        "postgresql://app:hunter2@[db/app",
        "postgresql://app:#hunter2@db/app",
        "postgresql://app:hunter2?x@db/app",
        "postgresql://app:hunter2/x@db/app",
        "postgresql://app:x@hunter2@db/app?user=x@y",
        "postgresql://app:\n\\hunter2@db/app",
        "postgresql://db/app?user=app&password=a+hunter2",
        "postgresql://db/app?user=app&password=a&amp;hunter2",
        "postgresql://db/app?user=app&p%61ssword=a&hunter2&x=y",
        "postgresql://app:x@db/app?password=y@hunter2",
        "postgresql://db/app?oauth_client_secret=hunter2",
        "redis://:#hunter2@db:6379/0",
        "redis://:x?hunter2@db:6379/0",
        "redis://:1/hunter2@db:6379/0",
        "rediss://:hunter2@db:6379/0",
        "rediss://db/0?password=hunter2",
        "rediss://db/0?ssl_password=hunter2",
    ],
)
def test_nobody_sees_a_password(url: str) -> None:
    assert "hunter2" not in shown(url)
    try:
        said = repr(SPEC(url, name="shared"))
    except ValueError as error:
        said = str(error)
    assert "hunter2" not in said
    assert "hunter2" not in without_secrets(f"no way to {url}", url)


@pytest.mark.parametrize("mark", ["#", "?", "/", "@", ":", ",", "[", "]"])
def test_nobody_sees_what_was_taken_for_a_host_or_a_port(mark: str) -> None:
    for url in (f"redis://:hunter2{mark}x@db/0", f"redis://:x{mark}hunter2@db/0"):
        assert without_secrets("no port: 'hunter2'", url) == "no port: '***'"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("postgresql://app@db:5432/app?sslmode=require", "postgresql://app@db:5432/app?sslmode=require"),
        ("postgresql://postgres:postgres@db/app", "postgresql://***:***@db/app"),
        ("postgresql://a:hunter2@db1:1,db2:2/app?x=y", "postgresql://a:***@db1:1,db2:2/app?x=y"),
        (
            "postgresql://a:hun#ter2@db/app?password=hun+ter2&x=y",
            "postgresql://a:***@db/app?password=***&x=y",
        ),
        ("redis://db:6379/0?ssl_password=&db=1", "redis://db:6379/0?ssl_password=&db=1"),
    ],
)
def test_what_is_no_password_stays_in_a_url_that_is_shown(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:hunter2/x@db/app",
        "postgresql://app:hun@ter2@db/app",
        "postgresql://app:hunter2/app",
        "redis://:hunter2/x@db:6379/0",
        "redis://:hunter2?x@db:6379/0",
        "redis://:hunter2#x@db:6379/0",
        # What is behind its @ looks like a host, with a port, and a database that has an @ in its name.
        "postgresql://app:x@hunter2:5/y@db:5432/app",
        "postgresql://app:x@hunter2:/y@db/app",
        "postgresql://app:x@hunter2#y@db/app",
        "postgresql://app:x@hunter2?y@db/app",
        "redis://:x@hunter2:5/y@db:6379/0",
        "redis://:x@hunter2?y@db:6379/0?a=b@c",
        "redis://:6379#hunter2@db/0",
    ],
)
def test_a_password_that_would_be_taken_for_something_else_is_refused_with_how_to_write_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"percent-encode what the password has of / \? # @") as raised:
        SPEC(url, name="shared")
    assert "hunter2" not in str(raised.value)
    assert "ter2" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///app?host=/tmp",
        "postgresql://db:5432?user=app",
        "postgresql://app@db:5432/app?options=-c%20search_path=a@b",
        "postgresql://app:x@db/a%40b?options=-c%20search_path=a/b?c@d",
        "redis://:x@db:6379?client_name=a@b",
        "postgresql://a:b@db1:1,[::1]:2,db3/app",
        "postgresql+psycopg://app:hun#t?er2@%2Ftmp/app?application_name=a@b",
        "redis://:hun@ter2@[::1]:6379",
        "redis://db",
        "rediss://user@db:/0?x=a:b",
    ],
)
def test_a_url_that_its_library_can_read_is_taken(url: str) -> None:
    SPEC(url, name="shared")


def tree(tmp_path: Path, *children: str) -> Path:
    file = tmp_path / "tree.yaml"
    file.write_text(
        "name: small\nchildren:\n" + "".join(f"  - {child}\n" for child in children), encoding="utf-8"
    )
    return file


ENGINE = f'{{engine: shared, url: "{URL}", ttl: 10s}}'
LOCK = "{throttle: db, num_slots: 2, engine: shared, on_lost: tell}"
KEYS = "{registry: syncs, keys: unique, engine: shared, on_lost: tell}"


def test_a_tree_file_has_engines_in_front_of_the_locks_that_use_them(tmp_path: Path) -> None:
    Application.load(tree(tmp_path, ENGINE, LOCK, KEYS))


@pytest.mark.parametrize(
    ("children", "why"),
    [
        ([ENGINE, LOCK.replace("shared", "shred")], "did you mean 'shared'"),
        ([LOCK, ENGINE], "'shared' starts after this child; put it in front of it"),
        ([LOCK], "starts no process named 'shared'"),
        ([ENGINE, LOCK.replace("shared", "'postgresql://x'")], "declare it"),
        ([ENGINE.replace("10s", "500ms")], "ttl to be at least 1 s"),
        ([ENGINE, ENGINE], "shared"),
        ([ENGINE.replace("postgresql", "mysql")], "got: mysql://"),
        ([ENGINE, LOCK.replace("tell", "cry")], "on_lost"),
        ([LOCK.replace("engine: shared, ", "")], r"children\[0\].on_lost: expected on_lost to be left out"),
        ([KEYS.replace("engine: shared, ", "")], r"children\[0\].on_lost: expected on_lost to be left out"),
        (["{registry: shared, keys: unique}", LOCK], r"\[1\].engine: expected an engine, .* is registry"),
        (["{throttle: shared, num_slots: 1}", KEYS], r"\[1\].engine: expected an engine, .* is throttle"),
        (["{supervisor: s, name: shared, children: []}", LOCK], "expected an engine, .* is supervisor"),
        ([ENGINE, KEYS.replace("shared", "shred")], "did you mean 'shared'"),
        ([KEYS, ENGINE], "'shared' starts after this child; put it in front of it"),
        ([KEYS], "starts no process named 'shared'"),
        ([ENGINE, KEYS.replace("shared", "'postgresql://x'")], "declare it"),
        ([ENGINE, KEYS.replace("unique", "duplicate")], "keys 'unique', as the registry has an engine"),
        ([ENGINE, KEYS.replace("tell", "cry")], "on_lost"),
    ],
)
def test_what_a_tree_file_says_of_engines_is_checked(tmp_path: Path, children: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        Application.load(tree(tmp_path, *children))
    assert "hunter2" not in str(raised.value)


def test_the_command_shows_no_password_and_fails_with_two() -> None:
    status, text = administer(ClusterOptions("status", "postgresql://app:hunter2@127.0.0.1:1/app"))
    assert status == 2
    assert "hunter2" not in text
    printed = administer(ClusterOptions("install", URL, only_print=True))[1]
    assert "create schema resprout;" in printed
    assert "grant usage" not in printed
    assert administer(ClusterOptions("install", "nowhere"))[0] == 2
    assert "with install" in administer(ClusterOptions("status", URL, grant="app"))[1]


# On a server


def start(url: str, **options: Any) -> StartError:
    with pytest.raises(StartError) as raised:
        cluster.Engine.start_link(url, name="shared", **options)
    assert process.whereis("shared") is None
    return raised.value


def refused(engine: str) -> None:
    """Who comes is, and nothing of it is there."""
    for use in (
        lambda: throttle.new("late", 1, engine=engine),
        lambda: Supervisor.start_link(
            [throttle.child_spec("late", 1, engine=engine)], strategy="one_for_one", max_restarts=0
        ),
        lambda: Registry.start_link(keys="unique", name="late", engine=engine),
    ):
        with pytest.raises((ValueError, StartError), match=f"{engine!r}, which has ended, and which nobody"):
            use()
    assert "late" not in throttle.locks()
    assert process.whereis("late") is None


@pytest.mark.postgres
def test_an_engine_that_was_stopped_is_refused_until_it_is_started_again(url: str) -> None:
    process.trap_exit(True)
    GenServer.stop(cluster.Engine.start_link(url, name="shared"))
    refused("shared")
    assert "unreachable" in str(start("postgresql://unreachable:1/x?connect_timeout=2"))
    refused("shared")
    pid = cluster.Engine.start_link(url, name="shared")
    throttle.new("late", 1, engine="shared")
    assert throttle.run("late", int) == 0
    throttle.stop_lock("late")
    GenServer.stop(pid)
    process.trap_exit(False)


@pytest.mark.postgres
@pytest.mark.parametrize("restart", ["temporary", "permanent"])
def test_an_engine_that_is_about_to_be_started_again_is_not_refused(url: str, restart: Any) -> None:
    process.trap_exit(True)
    backoff = Backoff(initial=60.0)
    spec = SPEC(url, name="shared", restart=restart, backoff=None if restart == "temporary" else backoff)
    top = Supervisor.start_link([spec], strategy="one_for_one", max_restarts=3)
    pid = process.whereis("shared")
    assert pid is not None
    process.exit(pid, "kill")
    # Its supervisor knows of it.
    until(lambda: all(child.pid is not pid for child in Supervisor.which_children(top)))
    if restart == "temporary":
        refused("shared")
    else:
        throttle.new("late", 1, engine="shared")
        throttle.stop_lock("late")
    GenServer.stop(top)
    refused("shared")
    process.trap_exit(False)


@pytest.mark.postgres
def test_the_command_installs_shows_and_removes(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "resprout", "cluster", *words, url],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    assert run("status")[0] == 2
    assert f"version {VERSION} is installed" in run("install")[1]
    assert "it is there already" in run("install")[1]
    assert f"version {VERSION}" in run("status")[1]
    assert run("remove")[0] == 0
    assert run("status")[0] == 2


@pytest.mark.postgres
def test_a_schema_that_is_newer_is_refused(url: str) -> None:
    administer(ClusterOptions("install", url))
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("update resprout.server set version = 99")
    assert f"version {VERSION}, got: 99; update resprout here" in str(start(url))


@pytest.mark.postgres
def test_a_role_that_may_not_make_the_schema_is_told_what_to_run(url: str, server: PostgresServer) -> None:
    with closing(server.connect()) as connection:
        connection.execute("create role poor login")
    error = start(url.replace("resprout@", "poor@"))
    assert "role 'poor' may not do that (permission denied for database" in str(error)
    assert "run `resprout cluster install URL --grant poor`, or this:" in str(error)
    # What it says is enough.
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(statements_in(error))
    use(url.replace("resprout@", "poor@"))


def statements_in(error: StartError) -> bytes:
    """The SQL that an error says."""
    reason = error.reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, cluster.EngineRefused)
    return reason.exception.why.partition(":\n")[2].encode()


def use(url: str, **options: Any) -> None:
    """Have a lock and a key there, and begin a session anew."""
    with Peer(url, **options) as peer:
        peer.do("throttle.new('db', 1, engine='shared') and None")
        assert peer.do("throttle.run('db', int)") == 0
        peer.do("Registry.start_link(keys='unique', name='syncs', engine='shared') and None")
        peer.do("Registry.register('syncs', 1) and None")
        peer.do("grants.append(throttle.acquire('db'))")
        assert peer.do("len(throttle.holders('db', everywhere=True))") == 1
        assert peer.do("cluster.info('shared').connected")


@pytest.mark.postgres
def test_a_role_that_may_not_use_the_schema_is_told_what_to_grant(url: str, server: PostgresServer) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute('create role "o\'app" login')
        there = url.replace("resprout@", "o%27app@")
        administer(ClusterOptions("install", url))
        for some in (
            "usage on schema resprout",
            "select, insert, update, delete on all tables in schema resprout",
        ):
            error = start(there)
            assert statements_in(error)
            assert "may not use all that is in the schema 'resprout' (permission denied for" in str(error)
            connection.execute(f'grant {some} to "o\'app"'.encode())
        # Now the sequences.
        error = start(there)
        assert """install URL --grant 'o'"'"'app'`, or this:""" in str(error)
        connection.execute(statements_in(error))
    use(there)


@pytest.mark.postgres
def test_install_grants_what_a_role_needs(url: str, server: PostgresServer) -> None:
    with closing(server.connect()) as admin:
        admin.execute("create role granted login")
    status, text = administer(ClusterOptions("install", url, grant="granted"))
    said = f"version {VERSION} is installed, and is granted to granted"
    assert (status, text.rpartition(": ")[2]) == (0, said)
    use(url.replace("resprout@", "granted@"))
    status, text = administer(ClusterOptions("install", url, grant="nobody"))
    assert status == 2
    assert 'role "nobody" does not exist' in text
    assert (
        'schema resprout to "granted";'
        in administer(ClusterOptions("install", url, grant="granted", only_print=True))[1]
    )


@pytest.mark.postgres
def test_a_right_that_is_taken_away_is_told_of_with_what_to_grant(url: str, server: PostgresServer) -> None:
    with closing(server.connect()) as admin, closing(psycopg.connect(url, autocommit=True)) as owner:
        admin.execute("create role once login")
        administer(ClusterOptions("install", url, grant="once"))
        session = Session(url.replace("resprout@", "once@"))
        owner.execute("revoke insert on resprout.claims from once")
        with pytest.raises(cluster.EngineRefused, match=r"permission denied for table claims.*--grant once`"):
            session.do(join(1))
        owner.execute("grant insert on resprout.claims to once")
        assert token_of(session.do(join(1)))
        session.connection.close()


@pytest.mark.postgres
def test_an_empty_schema_of_its_own_is_enough_for_a_role(url: str, server: PostgresServer) -> None:
    with closing(server.connect()) as admin, closing(psycopg.connect(url, autocommit=True)) as owner:
        admin.execute("create role owner login")
        owner.execute("create schema resprout authorization owner")
    use(url.replace("resprout@", "owner@"))


@pytest.mark.postgres
def test_a_role_that_asserts_needs_the_schema_alone(engine: str, url: str, server: PostgresServer) -> None:
    throttle.new("db", 1, engine=engine)
    grant = throttle.acquire("db")
    with closing(server.connect()) as admin, closing(psycopg.connect(url, autocommit=True)) as owner:
        admin.execute("create role asserts login")
        with closing(psycopg.connect(url.replace("resprout@", "asserts@"))) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="for schema resprout"):
                cluster.assert_held(connection, grant)
            connection.rollback()
            owner.execute("grant usage on schema resprout to asserts")
            cluster.assert_held(connection, grant)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="for table claims"):
                connection.execute("delete from resprout.claims")
            connection.rollback()
            cluster.assert_held(connection, grant)
            # It keeps the slot until it ends.
            grant.release()
            until(lambda: not throttle.holders("db"))
            assert throttle.attempt("db") is None
            connection.commit()
    throttle.acquire("db", timeout=10).release()


@pytest.mark.postgres
def test_a_role_whose_transactions_only_read_is_refused(url: str, server: PostgresServer) -> None:
    administer(ClusterOptions("install", url))
    with closing(server.connect()) as connection:
        connection.execute("create role reader login")
        connection.execute("alter role reader set default_transaction_read_only = on")
    assert "read-only" in str(start(url.replace("resprout@", "reader@")))


@pytest.mark.postgres
def test_a_database_that_is_not_there_is_told_of_without_the_password(url: str) -> None:
    error = start(url.replace("resprout@", "resprout:hunter2@") + "_none")
    assert "does not exist" in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.postgres
def test_two_engines_of_one_name_are_refused(engine: str, url: str) -> None:
    with pytest.raises(AlreadyStarted):
        cluster.Engine.start_link(url, name=engine)


@pytest.mark.postgres
def test_a_url_of_sqlalchemy_is_understood_and_info_shows_no_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        given = url.replace("postgresql://resprout@", "postgresql+psycopg://resprout:hunter2@")
        pid = cluster.Engine.start_link(given, name="shared", ttl=3.0)
        info = cluster.info("shared")
        assert info.connected
        assert "hunter2" not in f"{info} {process.info(pid)}"
        GenServer.stop(pid)
    assert "hunter2" not in caplog.text


@pytest.mark.postgres
def test_a_transaction_that_holds_the_horizon_back_is_warned_about(
    engine: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resprout.cluster.postgres_warnings.OLD_TRANSACTION", 0.0)
    with closing(psycopg.connect(url)) as connection:
        connection.execute("select txid_current(), pg_sleep(0.01)")
        connection.execute("declare c cursor for select 1")
        (warning,) = cluster.info(engine).warnings
        assert str(connection.info.backend_pid) in warning


@pytest.mark.postgres
def test_sessions_that_this_role_can_not_see_are_told_of_once_with_what_to_grant(
    url: str, server: PostgresServer
) -> None:
    with closing(server.connect()) as admin:
        admin.execute("create role watcher login")
        admin.execute(f"grant create on database {url.rpartition('/')[2]} to watcher")
        session = Session(url.replace("resprout@", "watcher@"))
        with closing(psycopg.connect(url)), closing(psycopg.connect(url)):
            (warning,) = session.connection.warnings(5.0)
            assert warning.startswith("2 sessions of other roles can't be seen")
            assert warning.endswith("grant pg_read_all_stats to watcher")
            admin.execute("grant pg_read_all_stats to watcher")
            assert session.connection.warnings(5.0) == []
        session.connection.close()


@pytest.mark.postgres
@pytest.mark.slow
def test_prepared_transactions_and_replication_slots_hold_the_horizon_back_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("resprout.cluster.postgres_warnings.OLD_TRANSACTION", 0.0)
    folder = bin_folder()
    assert folder is not None
    prepares = "max_prepared_transactions=1"
    primary = PostgresServer(folder, prepares)
    try:
        with sessions(primary.url, 1, ttl=60.0) as (here,), closing(psycopg.connect(primary.url)) as somebody:
            assert here.connection.warnings(5.0) == []
            somebody.execute("create table t as select 1")
            somebody.execute("prepare transaction 'left behind'")
            (warning,) = here.connection.warnings(5.0)
            assert warning.startswith("the prepared transaction 'left behind' is open for")
            with primary.connect() as admin:
                admin.execute("rollback prepared 'left behind'")
                admin.execute("select pg_create_physical_replication_slot('gone')")
                options = ("primary_slot_name=gone", "hot_standby_feedback=on", prepares)
                standby = PostgresServer(folder, *options, of=primary)
                seen = "select 1 from pg_replication_slots where xmin is not null"
                until(lambda: admin.execute(seen).fetchone())
                assert here.connection.warnings(5.0) == []
                standby.remove()
                until(lambda: here.connection.warnings(5.0))
            (warning,) = here.connection.warnings(5.0)
            assert warning.startswith("the replication slot 'gone' is")
    finally:
        primary.remove()
