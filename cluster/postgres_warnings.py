"""What of a PostgreSQL server makes locks slower: whatever keeps it from removing rows that are dead."""

from __future__ import annotations

from .postgres_wire import Wire

OLD_TRANSACTION = 60.0
"""Seconds after which a transaction that is open elsewhere is warned about."""
OLD_SLOT = 100_000
"""So many transactions behind, a replication slot is warned about that somebody uses; any other at once."""

# The oldest of each kind. Of a session of another role one sees nothing but that it is there.
_FOUND = b"""\
(select 'hidden', quote_ident(current_user), count(*) from pg_stat_activity
    where datname = current_database() and query = '<insufficient privilege>' having count(*) > 0)
union all (select 'open', pid::text, extract(epoch from now() - xact_start)::bigint from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_xmin is not null
        and xact_start < now() - make_interval(secs => $1::float8)
    order by age(backend_xmin) desc limit 1)
union all (select 'prepared', gid, extract(epoch from now() - prepared)::bigint from pg_prepared_xacts
    where database = current_database() and prepared < now() - make_interval(secs => $1::float8)
    order by age(transaction) desc limit 1)
union all (select 'slot', slot_name, age(xmin) from pg_replication_slots
    where xmin is not null and (not active or age(xmin) > $2::bigint) order by age(xmin) desc limit 1)"""

_SLOWER = "keeps PostgreSQL from removing dead rows of locks, which makes them slower the longer it lasts"
_TEXTS = {
    "hidden": f"{{number}} sessions of other roles can't be seen, of which one with an old transaction "
    f"{_SLOWER}; to have it named here: grant pg_read_all_stats to {{name}}",
    "open": f"a transaction of the server process {{name}} is open for {{number}} s, and {_SLOWER}",
    "prepared": f"the prepared transaction {{name!r}} is open for {{number}} s, and {_SLOWER}: commit it, or "
    f"roll it back",
    "slot": f"the replication slot {{name!r}} is {{number}} transactions behind, and {_SLOWER}: have its "
    f"standby catch up, or drop it",
}


def found_in(wire: Wire, timeout: float) -> list[str]:
    """Say what there is of that.

    Raises:
        ConnectionLost: there is no answer.
    """
    rows = wire.ask(_FOUND, [str(OLD_TRANSACTION), str(OLD_SLOT)], timeout)
    return [_TEXTS[kind or ""].format(name=name, number=number) for kind, name, number in rows]
