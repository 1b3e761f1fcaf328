"""What the commands take for a tree file with many children, each command in a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ..rows import Bar, Effort, Measure, Room, Row, Section
from ..timing import stopwatch

MODULE = """
import time

from resprout import GenServer, Ok


class Child(GenServer):
    def init(self, arg):
        return Ok(arg)


def tell_the_time() -> None:
    print(time.process_time(), flush=True)
"""
HEAD = "auto_shutdown: any_significant\nchildren:\n"
CHILD = "  - worker: child-{0}\n    start: crowd:Child\n    args: {{number: {0}}}\n"
LAST = "  - {worker: last, run: crowd:tell_the_time, restart: temporary, significant: true}\n"


def write_tree(folder: Path, children: int) -> None:
    """A tree whose file has each child by itself, and that ends when the last one has told the time."""
    (folder / "crowd.py").write_text(MODULE)
    listed = "".join(map(CHILD.format, range(children - 1)))
    (folder / "tree.yaml").write_text(HEAD + listed + LAST)


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A program that begins, with byte code of what it imports."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.Popen(
        [sys.executable, "-m", "resprout", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def checked(folder: Path) -> Mapping[str, float]:
    """Of `resprout check`, from the start of the program until it has ended."""
    before, elapsed = os.times(), stopwatch("s")
    with command(folder, "check", "tree.yaml") as program:
        text, _ = program.communicate()
    waited, after = elapsed(), os.times()
    assert text.startswith("ok: "), text
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"used": used, "waited": waited}


def ready(folder: Path) -> Mapping[str, float]:
    """Of `resprout run`, from the start of the program until the last child runs."""
    elapsed = stopwatch("s")
    with command(folder, "run", "tree.yaml", "--quiet", "--no-socket") as program:
        assert program.stdout is not None
        used = float(program.stdout.readline())
        waited = elapsed()
    assert program.returncode == 0
    return {"used": used, "waited": waited}


@contextmanager
def commands(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Both commands, in turns."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(folder, effort(10_000, 10))
        yield {"check": partial(checked, folder), "run": partial(ready, folder)}


ROOM = Room(
    "trees",
    "docs/command_line.md",
    [
        Section(
            "commands",
            "A file of 10,000 children, an entry for each: processor time, and how long one waits.",
            commands,
            [
                Row(
                    "`check` of 10,000 children",
                    "check: used",
                    bar=Bar(figure=2.0),
                    unit="s",
                    beside={"check: waited": "s waited"},
                ),
                Row(
                    "`run` of 10,000 children, until all of them run",
                    "run: used",
                    bar=Bar(figure=3.0),
                    unit="s",
                    beside={"run: waited": "s waited"},
                ),
            ],
            repeats=7,
            warm_up=1,
        )
    ],
)
