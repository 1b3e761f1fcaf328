"""Makes, looks at and ends what engines keep in PostgreSQL."""

from __future__ import annotations

from contextlib import closing

from .errors import EngineRefused
from .postgres import connected, install
from .postgres_schema import VERSION, grant_sql, install_sql, remove_sql, status_sql
from .postgres_wire import SqlError, Wire
from .settings import EngineSettings, shown

SECONDS = 10.0


def statements(settings: EngineSettings, action: str, role: str | None = None) -> str:
    """What would be run (see driver.Administrator)."""
    make = {"install": install_sql, "remove": remove_sql, "status": status_sql}[action]
    return make(settings.schema) + ("" if role is None else grant_sql(settings.schema, role))


def perform(settings: EngineSettings, action: str, role: str | None = None) -> str:
    """Do it (see driver.Administrator)."""
    connection, server = connected(settings, SECONDS)
    with closing(connection):
        wire = Wire(connection.pgconn)
        what = f"schema {settings.schema!r}, {server}"
        try:
            if action == "install":
                before = install(wire, settings.schema)
                if role is None or before is None:
                    return f"{what}: {_installed(before)}"
                wire.run(grant_sql(settings.schema, role), SECONDS)
                return f"{what}: {_installed(before)}, and is granted to {role}"
            if action == "remove":
                wire.run(remove_sql(settings.schema), SECONDS)
                return f"{what}: it is removed, if it was there"
            return f"{what}\n{_status(wire, settings.schema)}"
        except SqlError as error:
            raise EngineRefused(settings.name, f"{shown(settings.url)} says: {error}") from None


def _installed(before: int | None) -> str:
    match before:
        case None:
            return f"it is of another version than {VERSION}, and was left as it is; remove it first"
        case 0:
            return f"version {VERSION} is installed"
        case _ if before == VERSION:
            return "it is there already"
        case _:
            return f"version {before} is upgraded to {VERSION}"


def _status(wire: Wire, schema: str) -> str:
    rows = wire.run(status_sql(schema), SECONDS)
    return "\n".join("  ".join(value or "" for value in row) for row in rows)
