"""One conversation with a PostgreSQL server, in which no wait is longer than it may be.

A driver's own calls wait for as long as the network likes, and a grant is good for less than that.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from time import monotonic

import psycopg
from psycopg import pq

from .driver import ConnectionLost

OK = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.SINGLE_TUPLE)


class SqlError(ConnectionLost):
    """The server refused a statement.

    Attributes:
        sqlstate: which kind of error it is.
    """

    def __init__(self, message: str, sqlstate: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        # Not where it ends connections (57P, 08), or a session of ours is over (RS).
        self.by_request = not sqlstate.startswith(("57P", "08", "RS"))


class Wire:
    """See the module.

    Args:
        connection: of libpq, connected.
    """

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._connection = connection
        connection.nonblocking = 1
        self._prepared: dict[bytes, bytes] = {}

    def fileno(self) -> int:
        """Its socket."""
        return self._connection.socket

    def run(self, statement: str, timeout: float) -> list[list[str | None]]:
        """Run statements without parameters, one after the other; the rows of the last.

        Raises:
            SqlError: the server says no.
            ConnectionLost: there is no answer in time.
        """
        until = monotonic() + timeout
        try:
            self._connection.send_query(statement.encode())
        except psycopg.Error as error:
            raise ConnectionLost(str(error)) from None
        return self._rows(until)

    def ask(self, statement: bytes, values: Sequence[str | None], timeout: float) -> list[list[str | None]]:
        """Run one statement with parameters, prepared on first use; as run."""
        until = monotonic() + timeout
        connection = self._connection
        name = self._prepared.get(statement)
        try:
            if name is None:
                name = b"s%d" % len(self._prepared)
                connection.send_prepare(name, statement)
                self._rows(until)
                self._prepared[statement] = name
            given = [None if value is None else value.encode() for value in values]
            connection.send_query_prepared(name, given)
        except psycopg.Error as error:
            raise ConnectionLost(str(error)) from None
        return self._rows(until)

    def _rows(self, until: float) -> list[list[str | None]]:
        connection = self._connection
        rows: list[list[str | None]] = []
        problem: SqlError | None = None
        try:
            while True:
                if not connection.flush():
                    break
                self._wait(until, writing=True)
                connection.consume_input()
            while True:
                if connection.is_busy():
                    self._wait(until)
                    connection.consume_input()
                    continue
                result = connection.get_result()
                if result is None:
                    break
                if result.status not in OK:
                    problem = problem or _problem_of(result)
                rows = [
                    [
                        None if (value := result.get_value(row, column)) is None else value.decode()
                        for column in range(result.nfields)
                    ]
                    for row in range(result.ntuples)
                ]
        except psycopg.Error as error:
            raise ConnectionLost(str(error).strip()) from None
        if problem is not None:
            raise problem
        return rows

    def _wait(self, until: float, writing: bool = False) -> None:
        left = until - monotonic()
        if left <= 0 or not _ready(self._connection.socket, left, writing):
            raise ConnectionLost("the server did not answer in time")

    def notified(self) -> list[str]:
        """What has been said to the channels that are listened to. Never blocks.

        Raises:
            ConnectionLost: nothing will come any more.
        """
        connection = self._connection
        said = []
        try:
            connection.consume_input()
            while True:
                notify = connection.notifies()
                if notify is None:
                    break
                said.append(notify.extra.decode())
        except psycopg.Error as error:
            raise ConnectionLost(str(error).strip()) from None
        return said


def _ready(fd: int, seconds: float, writing: bool) -> bool:
    """Wait until a socket can be read, or written if that is wanted, too."""
    if not hasattr(select, "poll"):
        # Windows
        return any(select.select([fd], [fd] if writing else [], [], seconds))
    poller = select.poll()
    poller.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))
    return bool(poller.poll(seconds * 1000))


def _problem_of(result: pq.abc.PGresult) -> SqlError:
    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
    text = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message or b"unknown"
    return SqlError(text.decode(errors="replace").strip(), state.decode())
