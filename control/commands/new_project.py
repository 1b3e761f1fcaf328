"""Makes a project that runs: a tree file, a module with a server, and a test of it."""

from __future__ import annotations

import keyword
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from ..errors import Refusal

__all__ = ["make_project"]

_TREE = """\
# What runs, and who starts whom again. `resprout check tree.yaml` says what is wrong with it,
# `resprout run tree.yaml` runs it, and then `resprout ps` shows it from another terminal.
name: {name}
strategy: one_for_one
max_restarts: 3
max_seconds: 5

children:
  - {{worker: counter, start: "{package}.counter:Counter", args: {{first: 0}}, name: counter}}
"""

_COUNTER = '''\
"""A server that counts."""

from __future__ import annotations

from typing import Any

from resprout import GenServer, NoReply, Ok, Reply


class Counter(GenServer):
    """Counts what it is told to, from the number `first` on.

    Messages: `"read"` and `{"add": number}` as calls, `"forget"` as a cast.
    """

    def init(self, arg: dict[str, int]) -> Ok:
        return Ok(arg["first"])

    def handle_call(self, message: Any, from_: Any, state: int) -> Reply:
        match message:
            case "read":
                return Reply(state, state)
            case {"add": int(number)}:
                return Reply(state + number, state + number)
        return super().handle_call(message, from_, state)

    def handle_cast(self, message: Any, state: int) -> NoReply:
        match message:
            case "forget":
                return NoReply(0)
        return super().handle_cast(message, state)
'''

_TEST = '''\
"""The tree runs, and what is killed in it is started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from resprout import Application, GenServer, process
from resprout.testing import await_restart

TREE = Path(__file__).parent.parent / "tree.yaml"


@pytest.fixture(autouse=True)
def tree() -> Iterator[Application]:
    application = Application.load(TREE, socket=False)
    application.start()
    yield application
    application.stop()


def test_it_counts() -> None:
    assert GenServer.call("counter", {"add": 2}) == 2
    GenServer.cast("counter", "forget")
    assert GenServer.call("counter", "read") == 0


def test_a_counter_that_was_killed_begins_anew() -> None:
    GenServer.call("counter", {"add": 2})
    killed = process.whereis("counter")
    assert killed is not None
    process.exit(killed, "kill")
    await_restart(killed)
    assert GenServer.call("counter", "read") == 0
'''

_README = """\
# {name}

    pip install resprout pytest
    resprout run tree.yaml       # runs it; Ctrl-C stops it
    pytest                       # tests it

While it runs, from another terminal:

    resprout ps                  # what runs
    resprout call counter '{{"add": 2}}'
    resprout restart counter
"""


def make_project(folder: Path) -> list[Path]:
    """Writes a new project.

    Args:
        folder: Where; its name is the project's.

    Returns:
        The files that were made.

    Raises:
        Refusal: There is something in that folder, or its name is one that Python knows otherwise.
        OSError: It cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refusal("not_empty", f"expected {folder} not to exist, or to be an empty folder")
    name = folder.absolute().name or "project"
    package = _module(name)
    if keyword.iskeyword(package) or _is_taken(package):
        raise Refusal(
            "name_taken",
            f"expected a name that Python does not know, as that of a package in the project, got: {name!r}, "
            f"which {'is a word of its own' if keyword.iskeyword(package) else 'is that of a module'}; "
            f"choose another one, such as {package}_app",
        )
    files = {
        "README.md": _README.format(name=name),
        "tree.yaml": _TREE.format(name=_word(name), package=package),
        f"{package}/__init__.py": f'"""What runs in the tree of {package}."""\n',
        f"{package}/counter.py": _COUNTER,
        "tests/test_tree.py": _TEST,
    }
    made = []
    for file, text in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        made.append(path)
    return made


def _module(name: str) -> str:
    """A name that Python takes for a package, and that is nobody else's."""
    plain = "".join(char if char.isascii() and char.isalnum() else "_" for char in name.lower()).strip("_")
    if not plain or plain[0].isdigit():
        plain = f"app_{plain}".strip("_")
    return f"{plain}_app" if plain in ("resprout", "tests", "test") else plain


def _is_taken(module: str) -> bool:
    """Whether a module of that name, Python's own or an installed one, would be hidden by another."""
    if module in sys.stdlib_module_names:
        return True
    here = Path.cwd()
    elsewhere = [path for path in sys.path if path and Path(path).absolute() != here]
    found = PathFinder.find_spec(module, elsewhere)
    return found is not None and found.loader is not None


def _word(name: str) -> str:
    """A name in YAML, as a text whatever it looks like."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
