"""What an import costs: processor time, memory and modules, each in a new interpreter that has byte code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from ..rows import Bar, Effort, Measure, Room, Row, Section

ASYNCIO = "import asyncio"
FACE = "import resprout"
PROBE = """
import sys, time
from benchmarks.timing import resident
modules, memory, start = len(sys.modules), resident(), time.process_time()
{statement}
print(1e3 * (time.process_time() - start), (resident() - memory) / 1e6, len(sys.modules) - modules)
"""


def probe(statement: str) -> Mapping[str, float]:
    """Milliseconds, megabytes and modules of a statement in a new interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    milliseconds, megabytes, modules = map(float, done.stdout.split())
    return {"ms": milliseconds, "MB": megabytes, "modules": modules}


@contextmanager
def statements(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Interpreters that take turns."""
    yield {statement: partial(probe, statement) for statement in (ASYNCIO, *OURS)}


OURS = (
    FACE,
    "from resprout import GenServer",
    "from resprout import Registry",
    "from resprout import Supervisor",
    "from resprout import throttle",
    "from resprout import Application",
)


def row(statement: str, bar: Bar | None = None) -> Row:
    """What the first use of a room costs, with all that it stands on."""
    beside = {f"{statement}: MB": "MB", f"{statement}: modules": "modules"}
    against = None if statement == ASYNCIO else f"{ASYNCIO}: ms"
    return Row(statement, f"{statement}: ms", against, bar, "ms", beside)


ROOM = Room(
    "imports",
    "docs/index.md",
    [
        Section(
            "imports",
            "What an import costs, in processor time.",
            statements,
            [
                row(ASYNCIO),
                row(FACE, Bar(figure=90.0)),
                Row(f"memory of {FACE}", f"{FACE}: MB", bar=Bar(figure=20.0), unit="MB"),
                *(row(statement) for statement in OURS[1:]),
            ],
            repeats=11,
            warm_up=1,
        )
    ],
)
