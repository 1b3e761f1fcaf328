"""The report of a run: a value first, then JSON in a file that is whole or not there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs

__all__ = ["Chaos", "CrashReport", "Outcome", "as_json", "unwritable", "write"]


@attrs.frozen
class CrashReport:
    """One takedown as it went.

    Args:
        child: Its path in the tree.
        kind: What it is ("lock", "registry", "engine", "api", "worker").
        how: "exception" or "kill".
        at_seconds: When, since the run began.
        seconds_until_serving: From its death until that child served again, None if the run ended first.
    """

    child: str
    kind: str
    how: str
    at_seconds: float
    seconds_until_serving: float | None


@attrs.frozen
class Chaos:
    """What `--chaos` was asked for."""

    wanted: int
    seed: int


@attrs.frozen
class Outcome:
    """A whole run, when it is over.

    Args:
        name: The tree's.
        seconds: From the start of the tree to its end.
        restarts: Of all children in that time.
        exit_status: Of the command.
        reason: Why the tree ended, in words.
        crashes: What chaos took down, in that order.
        chaos: None without `--chaos`.
        fields: The job's own.
        addresses: Where each web application listened, by its name.
    """

    name: str
    seconds: float
    restarts: int
    exit_status: int
    reason: str
    crashes: tuple[CrashReport, ...] = ()
    chaos: Chaos | None = None
    fields: Mapping[str, object] = attrs.field(factory=dict)
    addresses: Mapping[str, str] = attrs.field(factory=dict)


def as_json(outcome: Outcome) -> dict[str, object]:
    """The report as JSON writes it: the job's own fields, and those of every run, which win over them."""
    return {
        **outcome.fields,
        "name": outcome.name,
        "seconds": round(outcome.seconds, 3),
        "restarts": outcome.restarts,
        "exit_status": outcome.exit_status,
        "reason": outcome.reason,
        "addresses": dict(outcome.addresses),
        "chaos": None if outcome.chaos is None else attrs.asdict(outcome.chaos),
        "crashes": [attrs.asdict(crash) for crash in outcome.crashes],
    }


def unwritable(path: Path) -> str | None:
    """Why no report could be written to `path`, or None: to be asked before a run, not after it."""
    folder = path.parent
    if path.is_dir():
        return f"{path} is a folder"
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if not os.access(folder, os.W_OK):
        return f"the folder {folder} is not writable"
    return None


def write(path: Path, report: Mapping[str, object]) -> None:
    """Puts the report there at once: whoever reads the file sees the old one or the new one, whole.

    Values that JSON does not know are written as `str` does: the rest of the report is worth having.

    Raises:
        OSError: It cannot be written; nothing is left behind then.
    """
    text = json.dumps(report, indent=2, ensure_ascii=False, default=str) + "\n"
    # In the same folder, since a rename is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private; a report is an ordinary file
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
