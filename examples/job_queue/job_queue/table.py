"""The jobs in SQLite: each step of a job's life is one statement, so it happens as a whole or not at all.

Any thread of any program may take such a step at any time; the database lets one after the other write. Who
tells what came of a job says which attempt that was, and it counts only while the job is executing in that
attempt: somebody who was believed dead, and comes late, changes nothing.

When a job is due is a time of day, as it outlives the machine's next start. Who is alive goes by the seconds
since that start, which all programs share and which nobody sets forward or back.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from typing import Any

from .job import Cancel, Discard, Job, Snooze, Unique, Worker

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, worker TEXT, args TEXT, counting TEXT, state TEXT, attempt INTEGER DEFAULT 0,
    max_attempts INTEGER, errors TEXT DEFAULT '[]', inserted_at REAL, scheduled_at REAL,
    attempted_by TEXT, begun INTEGER);
CREATE INDEX IF NOT EXISTS due ON jobs (state, scheduled_at);
CREATE INDEX IF NOT EXISTS same ON jobs (worker, counting);
CREATE TABLE IF NOT EXISTS nodes (node TEXT PRIMARY KEY, seen_at REAL);
"""
NOW = "((julianday('now') - 2440587.5) * 86400.0)"  # seconds since 1970, by the clock on the wall
ALIVE = "seen_at > uptime() - :silence AND seen_at <= uptime()"  # not what was seen before the last start
SAME = f"""worker = :worker AND counting = :counting AND inserted_at > {NOW} - :period
    AND state IN (SELECT value FROM json_each(:states))"""
NOTE = "errors = json_insert(errors, '$[#]', :error)"
FAIL = f"""state = CASE WHEN attempt < max_attempts THEN :state ELSE 'discarded' END,
    scheduled_at = {NOW} + :seconds, {NOTE}"""
LOST = "its node was lost"


class Table:
    """The jobs of a database file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def create(self) -> None:
        """Make the tables, if they are not there."""
        with closing(self._connect()) as db:
            db.executescript(SCHEMA)

    # Jobs come

    def insert(self, worker: type[Worker], args: dict[str, Any], schedule_in: float = 0.0) -> Job:
        """Insert a job; if it is unique and there is one already, that one is the answer, as a `conflict`."""
        unique = worker.unique or Unique(states=())
        values = {
            "worker": worker.__name__,
            "args": json.dumps(args),
            "counting": json.dumps(unique.what_counts(args), sort_keys=True),
            "state": "scheduled" if schedule_in else "available",
            "max_attempts": worker.max_attempts,
            "schedule_in": schedule_in,
            "period": unique.period,
            "states": json.dumps(unique.states),
        }
        new = self._jobs(
            f"""INSERT INTO jobs (worker, args, counting, state, max_attempts, inserted_at, scheduled_at)
            SELECT :worker, :args, :counting, :state, :max_attempts, {NOW}, {NOW} + :schedule_in
            WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE {SAME}) RETURNING *, 0 AS conflict""",
            **values,
        )
        found = new or self._jobs(f"SELECT *, 1 AS conflict FROM jobs WHERE {SAME}", **values)
        return found[0] if found else self.insert(worker, args, schedule_in)  # it has just left its states

    # Jobs are taken

    def stage(self) -> None:
        """Make those available whose time has come."""
        self._write(
            f"""UPDATE jobs SET state = 'available'
            WHERE state IN ('scheduled', 'retryable') AND scheduled_at <= {NOW}"""
        )

    def fetch(self, limit: int, node: str) -> list[Job]:
        """Take at most so many for a node; nobody else gets them."""
        return self._jobs(
            """UPDATE jobs SET state = 'executing', attempt = attempt + 1, attempted_by = :node, begun = 0
            WHERE id IN (SELECT id FROM jobs WHERE state = 'available' ORDER BY scheduled_at, id LIMIT :limit)
            RETURNING *, 0 AS conflict""",
            limit=limit,
            node=node,
        )

    def begin(self, job: Job) -> bool:
        """Whether nobody has begun with that attempt before."""
        return self._change(job, "begun = begun + 1", "AND begun = 0")

    # Something comes of them. True if it counts

    def complete(self, job: Job) -> bool:
        """It is done."""
        return self._change(job, "state = 'completed'")

    def snooze(self, job: Job, how: Snooze) -> bool:
        """It is to come again later, and this attempt does not count."""
        later = f"state = 'scheduled', scheduled_at = {NOW} + :seconds, max_attempts = max_attempts + 1"
        return self._change(job, later, seconds=how.seconds)

    def give_up(self, job: Job, how: Cancel | Discard) -> bool:
        """It is not to come again."""
        state = "cancelled" if isinstance(how, Cancel) else "discarded"
        return self._change(job, f"state = :state, {NOTE}", state=state, error=how.reason)

    def fail(self, job: Job, error: str, backoff: float) -> bool:
        """This attempt has failed; the next comes later, if there is one."""
        return self._change(job, FAIL, state="retryable", error=error, seconds=backoff)

    # Nothing comes of them any more

    def rescue(self, silence: float) -> int:
        """Make available again what silent nodes had taken, those without a sign of life for so many seconds.

        Returns:
            How many jobs that are.
        """
        alive = f"SELECT node FROM nodes WHERE {ALIVE}"
        rescued = self._write(
            f"UPDATE jobs SET {FAIL} WHERE state = 'executing' AND attempted_by NOT IN ({alive})",
            state="available",
            seconds=0.0,
            error=LOST,
            silence=silence,
        )
        self._write(f"DELETE FROM nodes WHERE NOT ({ALIVE})", silence=silence)
        return rescued

    def give_sign_of_life(self, node: str) -> None:
        """Say that this node is there, and at work on what it has taken."""
        self._write("INSERT OR REPLACE INTO nodes VALUES (:node, uptime())", node=node)

    # What there is

    def jobs(self) -> list[Job]:
        """All jobs."""
        return self._jobs("SELECT *, 0 AS conflict FROM jobs ORDER BY id")

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return dict(self._read("SELECT state, count(*) FROM jobs GROUP BY state"))

    def _change(self, job: Job, change: str, condition: str = "", **values: object) -> bool:
        still = f"id = :id AND attempt = :attempt AND state = 'executing' {condition}"
        ours = {"id": job.id, "attempt": job.attempt}
        return self._write(f"UPDATE jobs SET {change} WHERE {still}", **ours, **values) == 1

    def _jobs(self, statement: str, **values: object) -> list[Job]:
        return [
            Job(
                id=row["id"],
                worker=row["worker"],
                args=json.loads(row["args"]),
                state=row["state"],
                attempt=row["attempt"],
                max_attempts=row["max_attempts"],
                errors=tuple(json.loads(row["errors"])),
                conflict=bool(row["conflict"]),
            )
            for row in self._read(statement, **values)
        ]

    def _read(self, statement: str, **values: object) -> list[Any]:
        with closing(self._connect()) as db:
            return db.execute(statement, values).fetchall()

    def _write(self, statement: str, **values: object) -> int:
        with closing(self._connect()) as db:
            return db.execute(statement, values).rowcount

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=20.0, isolation_level=None)  # each statement by itself
        db.row_factory = sqlite3.Row
        db.create_function("uptime", 0, time.monotonic)  # asked when a statement has the right to write
        db.execute("PRAGMA synchronous = OFF")  # outlives a killed program, not a power cut
        return db
