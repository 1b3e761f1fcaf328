"""The environment of a placed child: `env:` of a tree file, `env=` of a child spec."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout.actors import ChildSpec, GenServer, SpecError, process
from resprout.supervision import Application
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.testing import await_restart

MODULE = """
import os
from resprout import GenServer, Ok, Reply

class Environment(GenServer):
    def init(self, arg):
        return Ok({name: os.environ.get(name) for name in arg["names"]})

    def handle_call(self, message, from_, state):
        return Reply(state, state)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "envmod.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("envmod", None)


def tree(more: str) -> str:
    return f"children: [{{worker: w, start: 'envmod:Environment', args: {{names: [A, B, HOME]}}, {more}}}]"


def test_a_placed_child_has_its_variables_over_those_of_this_program(folder: Path) -> None:
    (folder / "secret").write_text("hunter2\n")
    text = tree("name: 'w{index}', placement: process, replicas: 2, env: {A: '{index}', B: '${file:secret}'}")
    Path("tree.yaml").write_text(text)
    application = Application.load("tree.yaml")
    assert "hunter2" not in repr(application.tree)
    application.start()
    try:
        expected: dict[str, Any] = {"A": "1", "B": "hunter2", "HOME": os.environ.get("HOME")}
        assert GenServer.call("w1", "state") == expected
        assert "A" not in os.environ
        before = process.whereis("w1")
        assert before is not None
        process.exit(before, "kill")
        await_restart(before)
        assert GenServer.call("w1", "state") == expected
    finally:
        application.stop(timeout=10.0)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("env: {A: x}", ':1:87: children[0].env: expected it only together with placement="process"'),
        (
            "placement: process, env: {A: 1}",
            "children[0].env.A: expected text, got: 1; quote it if it is meant",
        ),
        ("placement: process, env: {A: }", "children[0].env.A: expected text, got: nothing"),
        ("placement: process, env: [A]", "children[0].env: expected a mapping, got: a list"),
        (
            "placement: process, env: {'A=': x}",
            "children[0].env: expected the name of an environment variable",
        ),
    ],
)
def test_mistakes_are_told_with_their_places(folder: Path, more: str, expected: str) -> None:
    Path("tree.yaml").write_text(tree(more))
    with pytest.raises(InvalidTree) as raised:
        Application.load("tree.yaml")
    [line] = str(raised.value).splitlines()
    assert expected in line


@pytest.mark.parametrize("env", [["A"], {"A": 1}, {"": "x"}, {"A\0": "x"}, {"A": "x\0"}, {1: "x"}])
def test_what_is_no_environment_is_refused(env: Any) -> None:
    with pytest.raises(SpecError, match=r"env|expected"):
        ChildSpec("w", (print,), placement="process", env=env)
