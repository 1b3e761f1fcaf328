"""Whether a lock let too many in, by what its holders say; a database says it by what the engine did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs


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
