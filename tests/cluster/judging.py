"""Whether a lock let too many in: by what its holders say, and by what the engine has done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import attrs
import psycopg

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


def keep_history(url: str) -> None:
    """Have the engine note each grant and each end of one, in the order in which they happen."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(HISTORY)


def most_by_history(url: str) -> int:
    """How many slots were taken at once; no token is given twice, and they rise."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        rows = connection.execute("select grants, token from history order by number").fetchall()
    tokens = [token for grants, token in rows if grants > 0]
    assert tokens == sorted(set(tokens))
    used = most = 0
    for grants, _ in rows:
        used += grants
        most = max(most, used)
    return most


@attrs.frozen
class Interval:
    """Somebody was at work."""

    token: int
    begin: float
    end: float


def intervals(files: Iterable[Path], ended: Mapping[str, float], now: float) -> list[Interval]:
    """Who was at work, and when.

    Args:
        files: what crowd programs have written.
        ended: when a program was killed, by the name of its file.
        now: the end of those who work still.
    """
    found = []
    for file in files:
        begun: dict[int, float] = {}
        for line in file.read_text(encoding="ascii").splitlines():
            what, token, at = line.split()
            if what == "begin":
                begun[int(token)] = float(at)
            else:
                found.append(Interval(int(token), begun.pop(int(token)), float(at)))
        end = ended.get(file.name, now)
        found += [Interval(token, begin, end) for token, begin in begun.items()]
    return found


def most_at_work(found: Iterable[Interval]) -> int:
    """How many were at work at once."""
    changes = sorted(
        [(each.end, -1) for each in found] + [(each.begin, 1) for each in found],
    )
    at_work = most = 0
    for _, change in changes:
        at_work += change
        most = max(most, at_work)
    return most
