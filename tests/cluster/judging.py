"""Whether a lock let too many in, by what its holders say; a database says it by what the engine did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

WAKING = 0.2
"""Seconds in which a program hears all that has happened while it stood still."""


@attrs.frozen
class Interval:
    """Somebody was at work.

    Attributes:
        asked: when it asked for the lock; `begin` if that is not known.
    """

    token: int
    begin: float
    end: float
    asked: float = attrs.field(default=attrs.Factory(lambda self: self.begin, takes_self=True))


@attrs.frozen
class Stop:
    """A program stood still from one time to another."""

    file: str
    begin: float
    end: float


def intervals(
    files: Iterable[Path], ended: Mapping[str, float], now: float, stops: Sequence[Stop] = ()
) -> list[Interval]:
    """Who was at work, and when.

    Args:
        files: what crowd programs have written.
        ended: when a program was killed, by the name of its file.
        now: the end of those who work still.
        stops: a hold that was under way in one of these counts until that began, since nobody was at work
            from then on; what it does when it wakes is for tokens to refuse.
    """
    found = []
    for file in files:
        begun: dict[int, tuple[float, float]] = {}
        for line in file.read_text(encoding="ascii").splitlines():
            what, number, *times = line.split()
            token, at = int(number), float(times[0])
            if what == "begin":
                begun[token] = at, float(times[-1])
                continue
            begin, asked = begun.pop(token)
            for stop in stops:
                # Nor can it know when it wakes, and hears of an older grant, what has become of that.
                if (
                    stop.file == file.name
                    and at > stop.begin
                    and asked < stop.end
                    and begin < stop.end + WAKING
                ):
                    at = min(at, stop.begin)
            found.append(Interval(token, begin, max(begin, at), asked))
        end = ended.get(file.name, now)
        found += [Interval(token, begin, end, asked) for token, (begin, asked) in begun.items()]
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


def why_not_linearizable(history: Iterable[Interval], slots: int) -> str | None:
    """Why no lock that does one thing at a time, and gives tokens that rise, can have had this history; None
    if one can.

    Each acquire takes effect at one moment between its question and its answer, in the order of the tokens;
    each release not before its holder has stopped working. The later an acquire, the fewer hold at once; so
    it is enough to try the latest moments that there are, which all can have together: an acquire comes no
    later than its own answer and those of all tokens above.
    """
    ordered = sorted(history, key=lambda each: each.token)
    latest = float("inf")
    taken: list[Interval] = []
    for index in range(len(ordered) - 1, -1, -1):
        each = ordered[index]
        if index and ordered[index - 1].token == each.token:
            return f"the token {each.token} was given twice"
        latest = min(latest, each.begin)
        if latest < each.asked:
            return f"the token {each.token} was asked for after a later one was there"
        taken.append(attrs.evolve(each, begin=latest))
    most = most_at_work(taken)
    return None if most <= slots else f"{most} held {slots} slots at once"
