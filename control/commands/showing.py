"""What the system answers, as lines for people. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...actors.engine import printable
from ..processes import STATES
from .doctor import Finding

__all__ = [
    "HEADS",
    "crashes",
    "info",
    "lock",
    "locks",
    "ps",
    "records",
    "registries",
    "registry",
    "reloaded",
    "status",
    "table",
    "tree",
]

Row = Mapping[str, Any]
HEADS = ("PATH", "STATE", "PID", "CLASS", "UPTIME", "RESTARTS", "MAILBOX")
"""Of the columns that a list of processes has."""


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Columns as wide as they must be; those of numbers to the right."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    numbers = [all(_is_number(row[column]) for row in cells) for column in range(len(heads))]
    widths = [max(len(row[column]) for row in [list(heads), *cells]) for column in range(len(heads))]
    for row in [list(heads), *cells]:
        yield "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else printable(str(value))


def _is_number(text: str) -> bool:
    return text == "-" or text[:1].isdigit()


def duration(seconds: float | None) -> str | None:
    """A time as people say it: `8.3s`, `5m12s`, `3h04m`, `2d03h`."""
    if seconds is None:
        return None
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02}h"


def when(at: float) -> str:
    """A time of the clock, as it is here."""
    return datetime.datetime.fromtimestamp(at).isoformat(sep=" ", timespec="milliseconds")


def status(told: Row) -> Iterator[str]:
    """What the system is."""
    counts = told["counts"]
    what = f"{printable(told['name'])} {told['state']}"
    yield f"{what}, program {told['os_pid']}, for {duration(told['seconds'])}"
    others = [f"{counts[state]} {state}" for state in STATES[1:] if counts[state]]
    running = f"{counts['running']} of {counts['children']} children running"
    yield "; ".join(
        [", ".join([running, *others]), f"{counts['restarts']} restarts", f"{told['crashes']} crashes"]
    )
    for path in told["starting"]:
        yield f"waits for the start of {printable(path)}"
    yield f"resprout {told['version']}, Python {told['python']}, {printable(told['program'])}"


def ps(rows: Iterable[Row]) -> Iterator[str]:
    """A line for each process."""
    return table(
        HEADS,
        (
            (
                row["path"],
                row["state"],
                _bare(row["pid"]),
                row["module"] or row["kind"],
                duration(row["uptime"]),
                row["restarts"],
                row["mailbox"],
            )
            for row in rows
        ),
    )


def _bare(pid: str | None) -> str | None:
    """A Pid without its label, which stands beside it."""
    return None if pid is None else pid.strip("<>").partition(" ")[0]


def tree(rows: Iterable[Row]) -> Iterator[str]:
    """The same, indented by what is below whom."""
    for row in rows:
        name = row["path"] if not row["depth"] else row["path"].split("/")[-1]
        if row["depth"] and len(row["path"].split("/")) > row["depth"]:
            name = "/".join(row["path"].split("/")[row["depth"] - 1 :])
        about = [row["kind"] if row["strategy"] is None else f"{row['kind']}, {row['strategy']}"]
        if row["state"] is not None:
            about.append(row["state"])
        if row["restarts"]:
            about.append(f"{row['restarts']} restarts")
        yield f"{'  ' * row['depth']}{printable(name)} ({', '.join(about)})"


def info(told: Row) -> Iterator[str]:
    """All that is known of a process, a fact a line."""
    spec = told["spec"]
    facts: dict[str, object] = {
        "path": told["path"],
        "pid": told["pid"],
        "name": told["name"],
        "class": told["module"],
        "kind": told["kind"],
        "state": told["state"],
        "status": told.get("status"),
        "uptime": duration(told["uptime"]),
        "restarts": told["restarts"],
        "mailbox": told["mailbox"],
    }
    if spec is not None:
        facts |= {"restart": spec["restart"], "shutdown": spec["shutdown"], "start": spec["start"]}
    for key in ("parent", "links", "monitors", "monitored_by", "owned"):
        value = told.get(key)
        facts[key] = ", ".join(value) if isinstance(value, list) else value
    facts["function"] = told.get("function")
    if "server_state" in told:
        why = told["server_state_error"]
        facts["server state"] = told["server_state"] if why is None else f"not known: {why}"
    width = max(map(len, facts)) + 1
    for key, value in facts.items():
        if value not in (None, ""):
            yield f"{key + ':':{width}} {printable(str(value))}"
    if told.get("stack"):
        yield "stack (most recent call last):"
        yield from (printable(line) for line in told["stack"])
    if told["last_crash"] is not None:
        yield "last crash:"
        yield from (f"  {line}" for line in crashes([told["last_crash"]]))


def locks(found: Iterable[Row]) -> Iterator[str]:
    """A line for each lock."""
    heads = ("LOCK", "SLOTS", "USED", "WAITING", "PAUSED", "LONGEST HELD", "LONGEST WAIT")
    rows = (
        (
            each["name"],
            each["num_slots"],
            each["used"],
            each["waiting"],
            "paused" if each["paused"] else None,
            duration(max((one["seconds"] for one in each["holders"]), default=None)),
            duration(max((one["seconds"] for one in each["waiters"]), default=None)),
        )
        for each in found
    )
    return table(heads, rows)


def lock(told: Row) -> Iterator[str]:
    """One lock, with who holds it and who waits."""
    paused = ", paused" if told["paused"] else ""
    used = f"{told['used']} of {told['num_slots']} slots used"
    yield f"{printable(told['name'])}: {used}, {told['waiting']} waiting, {told['fairness']}{paused}"
    heads = ("WHO", "PID", "SINCE", "WEIGHT", "PRIORITY", "TOKEN")
    rows = [
        (
            "straggles" if each.get("straggler") else state,
            each["path"] or each["pid"],
            _bare(each["pid"]),
            duration(each["seconds"]),
            each["weight"],
            each.get("priority"),
            each.get("token"),
        )
        for state, people in (("holds", told["holders"]), ("waits", told["waiters"]))
        for each in people
    ]
    if rows:
        yield from table(("", *heads), rows)


def registries(found: Iterable[Row]) -> Iterator[str]:
    """A line for each registry."""
    heads = ("REGISTRY", "KEYS", "ENTRIES", "OWNERS", "LOCKED", "RESTARTS")
    return table(
        heads,
        (
            (each["name"], each["keys"], each["entries"], each["owners"], each["locked"], each["restarts"])
            for each in found
        ),
    )


def registry(rows: Iterable[Row]) -> Iterator[str]:
    """A line for each entry."""
    return table(("KEY", "PID", "VALUE"), ((row["key"], row["pid"], row["value"]) for row in rows))


def crashes(found: Sequence[Row]) -> Iterator[str]:
    """Each kind of crash with its trace, the last one last, so that it stands above the prompt."""
    for each in reversed(found):
        often = "once" if each["count"] == 1 else f"{each['count']} times, first {when(each['first'])}, last"
        who = each["path"] or each["pid"]
        first = printable(each["reason"].partition("\n")[0])
        yield f"{when(each['last'])} {printable(who)} ({each['module']}) {first} ({often})".replace(
            ", last)", ")"
        )
        if each["last_message"]:
            yield f"  last message: {printable(each['last_message'])}"
        if each["state"]:
            yield f"  state: {printable(each['state'])}"
        yield from (printable(line) for line in each["trace"])


def records(found: Iterable[Row]) -> Iterator[str]:
    """A line for each record, and its lines further."""
    for each in found:
        if "left_out" in each:
            yield f"({each['left_out']} records were left out, as they were not read in time)"
            continue
        who = f" [{printable(each['path'])}]" if each["path"] else ""
        first, *rest = [printable(line) for line in (each["message"].splitlines() or [""])]
        yield f"{when(each['time'])} {each['level']} {printable(each['logger'])}{who}: {first}"
        yield from rest
        if each["exception"]:
            yield from (printable(line) for line in each["exception"].splitlines())


def reloaded(told: Row) -> Iterator[str]:
    """A line for each child that is dealt with."""
    would = "would be " if told["dry_run"] else ""
    done = [(what, path) for what in ("stopped", "restarted", "started") for path in told[what]]
    yield from (f"{printable(path)}: {would}{what}" for what, path in done)
    yield from (f"{printable(each['path'])}: failed: {printable(each['reason'])}" for each in told["failed"])
    if not done and not told["failed"]:
        yield "nothing has changed"


def findings(found: Iterable[Finding]) -> Iterator[str]:
    """A line for each thing that was looked at."""
    for each in found:
        advice = f": {each.advice}" if each.advice else ""
        yield f"{'ok ' if each.ok else 'BAD'} {printable(each.what + advice)}"
