"""The kinds `task_supervisor`, `partition_supervisor`, `agent`; dynamic children that are there at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resprout import (
    Agent,
    DynamicSupervisor,
    GenServer,
    MaxChildren,
    PartitionSupervisor,
    TaskSupervisor,
    Via,
    process,
)
from resprout.actors import StartError
from resprout.observer import CheckOptions, check_tree
from resprout.observer.chaos import Rules
from resprout.observer.specs import unknown_names
from resprout.supervision import Application
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.testing import await_restart

MODULE = """
from resprout import GenServer, Ok, Reply

class Server(GenServer):
    def init(self, arg):
        return Ok(arg)

    def handle_call(self, message, from_, state):
        return Reply(state, state)

class Failing(GenServer):
    def init(self, arg):
        raise RuntimeError("no room")

def first(size: int, name="x"):
    return [name] * size

async def later(): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "kindmod.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("kindmod", None)


def load(text: str, **settings: str) -> Application:
    Path("tree.yaml").write_text(text)
    return Application.load("tree.yaml", settings)


@pytest.fixture
def start(folder: Path) -> Iterator[object]:
    """Starts a tree, and stops it in the end."""
    started: list[Application] = []

    def start(text: str, **settings: str) -> Application:
        started.append(load(text, **settings))
        started[-1].start()
        return started[-1]

    yield start
    for application in started:
        application.stop(timeout=10.0)


def mistake(text: str) -> str:
    with pytest.raises(InvalidTree) as raised:
        load(text)
    return str(raised.value)


class TestTaskSupervisor:
    def test_it_is_found_under_its_id_and_has_its_options(self, start) -> None:
        start("children: [{task_supervisor: tasks, max_children: 0}, {task_supervisor: t, name: others}]")
        with pytest.raises(MaxChildren):
            TaskSupervisor.start_child("tasks", print)
        assert TaskSupervisor.children("others") == []


class TestDynamicChildren:
    TEXT = (
        "children:\n- dynamic_supervisor: pool\n  max_children: 3\n  children:\n"
        "  - {worker: w, replicas: 2, start: 'kindmod:Server', args: {n: '{index}'}, name: 'w{index}'}\n"
    )

    def test_they_are_there_from_the_start(self, start) -> None:
        start(self.TEXT)
        assert [GenServer.call(name, "state") for name in ("w0", "w1")] == [{"n": "0"}, {"n": "1"}]
        more = DynamicSupervisor.start_child("pool", (Agent, dict))
        assert [info.pid for info in DynamicSupervisor.which_children("pool")][-1] is more

    def test_they_are_there_again_when_their_supervisor_was_started_again(self, start) -> None:
        start(self.TEXT)
        pool = process.whereis("pool")
        process.exit(pool, "kill")
        await_restart(pool)
        assert GenServer.call("w1", "state") == {"n": "1"}

    def test_one_that_does_not_start_is_told_with_its_place(self) -> None:
        application = load(
            "children:\n- dynamic_supervisor: pool\n  children:\n  - {agent: a, value: 1}\n"
            "  - {worker: w, start: 'kindmod:Failing'}\n"
        )
        with pytest.raises(StartError, match="child 'pool': child 'w': RuntimeError: no room"):
            application.start()
        assert application.tree.place(("pool", "w")) == "tree.yaml:5:5"
        assert process.whereis("a") is None

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (
                "max_children: 1, children: [{agent: a, value: 1}, {agent: b, value: 1}]",
                "tree.yaml:1:66: children[0].children: expected at most 1, which is its max_children, got: 2",
            ),
            (
                "children: [{agent: a, value: 1, id: x}, {agent: b, id: x, value: 1}]",
                "the id 'x' is taken by",
            ),
            (
                "children: [{worker: w}]",
                "tree.yaml:1:50: children[0].children[0].start: expected either start",
            ),
        ],
    )
    def test_mistakes_are_told_with_their_places(self, options: str, expected: str) -> None:
        told = mistake(f"children: [{{dynamic_supervisor: pool, {options}}}]")
        assert expected in told

    def test_chaos_may_name_children_that_the_program_starts(self) -> None:
        specs = load(self.TEXT).tree.children
        assert unknown_names(Rules(frozenset({"anybody"}), frozenset()), specs) == []


class TestPartitionSupervisor:
    def test_its_child_is_there_once_for_each_partition_and_knows_its_number(self, start) -> None:
        start(
            "children:\n- partition_supervisor: parts\n  partitions: 3\n"
            "  children: [{worker: w, start: 'kindmod:Server', args: {n: ['{index}']}, name: 'p{index}'}]\n"
        )
        assert PartitionSupervisor.partitions("parts") == 3
        assert GenServer.call(Via(PartitionSupervisor, ("parts", 4)), "state") == {"n": ["1"]}
        assert GenServer.call("p2", "state") == {"n": ["2"]}

    @pytest.mark.parametrize("kind", ["dynamic_supervisor", "task_supervisor"])
    def test_supervisors_in_it_take_no_name(self, start, kind: str) -> None:
        start(
            f"children:\n- {{partition_supervisor: parts, partitions: 2, children: [{{{kind}: s}}]}}\n"
            "- {agent: s, value: 1}\n"
        )
        found = [Via(PartitionSupervisor, ("parts", key)) for key in (0, 1)]
        assert [DynamicSupervisor.which_children(each) for each in found] == [[], []]
        assert Agent.get("s", lambda state: state) == 1

    def test_agents_in_it_have_states_of_their_own(self, start) -> None:
        start(
            "children: [{partition_supervisor: p, partitions: 2, children: [{agent: a, value: ['{index}']}]}]"
        )
        states = [Agent.get(Via(PartitionSupervisor, ("p", key)), lambda state: state) for key in (0, 1)]
        assert states == [["0"], ["1"]]

    def test_check_counts_every_partition(self, capsys: pytest.CaptureFixture[str]) -> None:
        load("children: [{partition_supervisor: p, partitions: 3, children: [{agent: a, value: 1}]}]")
        assert check_tree(CheckOptions(Path("tree.yaml"))) == 0
        assert capsys.readouterr().out == "ok: 2 supervisors, 4 children\n"

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ("children: []", "children[0].children: expected one child, which each partition is, got: 0"),
            (
                "partitions: 0, children: [{agent: a, value: 1}]",
                "expected a whole number from 1 to 10,000, got: 0",
            ),
            (
                "children: [{worker: w, start: 'kindmod:Server', name: n}]",
                "each partition would take the name 'n'; put {index} into it, or leave it out",
            ),
            (
                "children: [{worker: w, start: 'kindmod:Server', replicas: 2}]",
                "expected one child, which each partition is, got 2 replicas",
            ),
            (
                "children: [{throttle: t, num_slots: 1}]",
                "a throttle cannot be a partition, as each would take",
            ),
            (
                "children: [{supervisor: s, children: [{registry: r}]}]",
                "each partition would take the name 'r' once more",
            ),
            ("children: [{agent: a}]", "children[0].children[0].init: expected either init: or value:"),
        ],
    )
    def test_mistakes_are_told_with_their_places(self, options: str, expected: str) -> None:
        [line] = mistake(f"children: [{{partition_supervisor: p, {options}}}]").splitlines()
        assert expected in line


class TestAgent:
    def test_a_function_or_a_value_is_its_first_state(self, start) -> None:
        start(
            "children:\n- {agent: a, init: 'kindmod:first', args: {size: '${n}', name: y}}\n"
            "- {agent: b, name: other, value: {k: [1]}}\n- {agent: c, value: }\n",
            n="2",
        )
        assert [Agent.get(name, lambda state: state) for name in ("a", "other", "c")] == [
            ["y", "y"],
            {"k": [1]},
            None,
        ]

    def test_a_value_is_as_in_the_file_after_a_crash(self, start) -> None:
        start("children: [{agent: a, value: [1]}]")
        Agent.update("a", lambda state: state.append(2) or state)
        before = process.whereis("a")
        process.exit(before, "kill")
        await_restart(before)
        assert Agent.get("a", lambda state: state) == [1]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ("", "children[0].init: expected either init: or value:, got neither"),
            (
                "value: 1, init: 'kindmod:first'",
                "children[0].init: expected either init: or value:, got both",
            ),
            ("value: 1, args: {a: 1}", "children[0].args: expected it only together with init:"),
            (
                "init: 'kindmod:later'",
                "expected a function that returns the first state; kindmod:later makes a",
            ),
            ("init: 'kindmod:first'", "missing a required argument: 'size'; kindmod:first takes: size, name"),
            ("init: 'kindmod:first', args: {size: 1, x: 2}", "unexpected keyword argument 'x'"),
            ("init: 'kindmod:first', args: {size: '${n:-many}'}", "args.size: expected a whole number"),
            ("value: 1, name: ' '", "children[0].name: expected a text that is not empty"),
        ],
    )
    def test_mistakes_are_told_with_their_places(self, options: str, expected: str) -> None:
        [line] = mistake(f"children: [{{agent: a, {options}}}]").splitlines()
        assert expected in line
