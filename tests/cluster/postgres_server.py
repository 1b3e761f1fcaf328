"""A PostgreSQL server of the tests' own: 127.0.0.1, a free port, stopped by its pid, fsync on."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

from ..waiting import until_elsewhere


def bin_folder() -> Path | None:
    """Where initdb is."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    for folder in reversed(folders):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def as_postgres() -> list[str]:
    """What stands in front of a command that must not be run by root."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]


class PostgresServer:
    """A cluster of databases in a temporary folder.

    Args:
        of: the server that it is to be a hot standby of.
    """

    def __init__(self, folder: Path, *options: str, of: PostgresServer | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="resprout-pg-"))
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._bin = folder
        self._data = self.folder / "data"
        self.port = free_port()
        self._options = options
        if of is None:
            self._run("initdb", "-D", str(self._data), "-U", "resprout", "-A", "trust")
        else:
            source = f"host=127.0.0.1 port={of.port} user=resprout"
            self._run("pg_basebackup", "-D", str(self._data), "-R", "-c", "fast", "-d", source)
        self.start()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str, user: str = "resprout") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*as_postgres(), str(self._bin / program), *arguments],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    def start(self) -> None:
        settings = [
            f"-p {self.port}",
            f"-k {self.folder}",
            "-c listen_addresses=127.0.0.1",
            "-c max_connections=60",
            *[f"-c {option}" for option in self._options],
        ]
        log = str(self.folder / "server.log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-o", " ".join(settings), "start")

    def promote(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "promote")

    def receive_no_more(self, primary: PostgresServer) -> None:
        """As a standby, know nothing of what happens from now on."""
        with primary.connect() as there, self.connect() as here:
            (now,) = there.execute("select pg_current_wal_flush_lsn()::text").fetchone() or ("",)
            replayed = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            until_elsewhere(lambda: here.execute(replayed, [now]).fetchone() == (True,))
            here.execute("alter system set primary_conninfo = ''")
            here.execute("select pg_reload_conf()")
            until_elsewhere(lambda: there.execute("select 1 from pg_stat_replication").fetchone() is None)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text(encoding="ascii").split()[0])

    def crash(self) -> None:
        """Have it end as in a power cut, as far as that is possible: nothing is flushed."""
        pid = self.pid
        ended = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGQUIT)
            select.select([ended], [], [])
        finally:
            os.close(ended)

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def ask_password_of(self, role: str) -> None:
        """From now on; others are trusted."""
        rules = self._data / "pg_hba.conf"
        rule = f"host all {role} 127.0.0.1/32 scram-sha-256\n"
        rules.write_text(rule + rules.read_text(encoding="utf-8"), encoding="utf-8")
        with self.connect() as connection:
            connection.execute("select pg_reload_conf()")

    def connect(
        self, database: str = "postgres", user: str = "resprout"
    ) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url_of(database, user), autocommit=True)

    def cut(self, whose: str = "resprout %") -> int:
        """End all connections of engines; how many there were."""
        with self.connect() as connection:
            rows = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                [whose],
            ).fetchall()
        return len(rows)
