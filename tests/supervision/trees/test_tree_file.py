"""A tree file as a whole: what a right one becomes, and every mistake of a wrong one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs
import pytest

from resprout.actors import BRUTAL_KILL, INFINITY, Backoff, ChildSpec
from resprout.actors.vocabulary.errors import ConfigError
from resprout.supervision.trees.kinds import Common, DynamicSupervisorChild, SupervisorChild, WorkerChild
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.tree_file import load_tree

MODULE = """
class Server:
    @classmethod
    def start_link(cls, arg=None, *, name=None): ...

class Spelled:
    def __init__(self, arg, x, name=None): ...
    @classmethod
    def child_spec(cls, arg=None):
        return {"id": "Spelled", "start": (cls, (arg,), {"x": 1}), "restart": "transient"}

class Plain: ...

def start(url, size=1, name=None): ...
def work(url="x"): ...
async def awork(): ...
number = 3

class Job:
    def __init__(self, goal, pace=1): ...
"""


@attrs.frozen
class Book:
    """Stands for a registry: its name is a name table for others."""

    book: str
    keys: Literal["unique", "duplicate"] = "unique"

    @staticmethod
    def via_name(registry: str, key: object) -> object:
        return ("via", registry, key)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        return [ChildSpec(common.id or self.book, (print, (), {}))]


@attrs.frozen
class Lock:
    """Stands for a throttle: validators, and errors in the words of the house."""

    lock: str
    num_slots: int = attrs.field()
    max_waiting: int | None = None
    worker: bool = False

    @num_slots.validator
    def _positive(self, attribute: object, value: int) -> None:
        if value < 1:
            raise ValueError(f"expected num_slots to be a positive integer, got: {value}")

    def __attrs_post_init__(self) -> None:
        if self.max_waiting == 13:
            raise ValueError("expected max_waiting to be lucky, got: 13")

    def child_specs(self, common: object) -> list[ChildSpec]:
        if self.max_waiting == 14:
            raise KeyError("a bug of this kind")
        return [ChildSpec(self.lock, (print, (), {}))]


def broken_kind() -> type:
    raise ImportError("half installed")


KINDS: dict[str, Callable[[], type]] = {
    "worker": lambda: WorkerChild,
    "supervisor": lambda: SupervisorChild,
    "dynamic_supervisor": lambda: DynamicSupervisorChild,
    "book": lambda: Book,
    "lock": lambda: Lock,
    "broken": broken_kind,
}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Loads a text as the tree file of a folder that has the module `treemod`."""
    (tmp_path / "treemod.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def load(text: str, **settings: str):
        path = tmp_path / "tree.yaml"
        path.write_text(text)
        return load_tree(path, settings, {}, KINDS)

    yield load
    sys.modules.pop("treemod", None)


@pytest.fixture
def mistakes(load):
    """The mistakes of a text as `(line, column, path, reason)`."""

    def mistakes(text: str, **settings: str) -> list[tuple[int, int, str, str]]:
        with pytest.raises(InvalidTree) as raised:
            load(text, **settings)
        return [(p.line, p.column, p.path, p.reason) for p in raised.value.problems]

    return mistakes


class TestRightFiles:
    def test_the_top_gives_the_options_of_the_root(self, load) -> None:
        tree = load(
            "name: orders\nstrategy: rest_for_one\nmax_restarts: 7\nmax_seconds: 1m\n"
            "auto_shutdown: any_significant\njob: {start: 'treemod:Job', args: {goal: 3}}\nchildren: []\n"
        )
        assert (tree.name, tree.strategy, tree.max_restarts, tree.max_seconds) == (
            "orders",
            "rest_for_one",
            7,
            60.0,
        )
        assert tree.auto_shutdown == "any_significant"
        assert tree.job.start.target.__name__ == "Job"
        assert tree.job.args == {"goal": 3}

    def test_what_is_not_said_is_as_in_otp_and_the_name_is_that_of_the_folder(self, load, tmp_path) -> None:
        tree = load("children: []")
        assert (tree.strategy, tree.max_restarts, tree.max_seconds) == ("one_for_one", 3, 5.0)
        assert (tree.auto_shutdown, tree.name, tree.job, tree.children) == ("never", tmp_path.name, None, ())

    def test_a_worker_with_start_link_gets_its_args_as_one_argument(self, load) -> None:
        [spec] = load("children: [{worker: w, start: 'treemod:Server', args: {a: 1}, name: boss}]").children
        server = sys.modules["treemod"].Server
        assert spec == ChildSpec("w", (server.start_link, ({"a": 1},), {"name": "boss"}))

    def test_without_args_it_gets_none(self, load) -> None:
        [spec] = load("children: [{worker: w, start: 'treemod:Server'}]").children
        assert spec.start[1:] == ((), {})

    def test_a_child_spec_of_the_class_counts_and_the_file_is_laid_over_it(self, load) -> None:
        [plain, said] = load(
            "children:\n- {worker: a, start: 'treemod:Spelled'}\n"
            "- {worker: b, start: 'treemod:Spelled', args: {k: v}, name: n, restart: temporary}\n"
        ).children
        spelled = sys.modules["treemod"].Spelled
        assert plain == ChildSpec("a", (spelled, (None,), {"x": 1}), restart="transient")
        assert said == ChildSpec("b", (spelled, ({"k": "v"},), {"x": 1, "name": "n"}), restart="temporary")

    def test_a_function_gets_its_args_as_keywords(self, load) -> None:
        [spec] = load("children: [{worker: w, start: 'treemod:start', args: {url: u}, name: n}]").children
        assert spec.start == (sys.modules["treemod"].start, (), {"url": "u", "name": "n"})

    @pytest.mark.parametrize("name", ["work", "awork"])
    def test_run_takes_a_function_that_does_the_work(self, load, name: str) -> None:
        [spec] = load(f"children: [{{worker: w, run: 'treemod:{name}', name: n}}]").children
        assert spec.start[1:] == ((getattr(sys.modules["treemod"], name), {}), {"name": "n"})

    def test_every_option_of_a_child_can_be_said(self, load) -> None:
        [spec] = load(
            "auto_shutdown: all_significant\n"
            "children:\n- {worker: w, id: x, start: 'treemod:Server', restart: transient, shutdown: 500ms,\n"
            "   significant: true, max_restarts: 2, max_seconds: 1m,\n"
            "   on_exhausted: give_up, ready_timeout: 3s,\n"
            "   backoff: {initial: 100ms, factor: 3, maximum: 1m, jitter: 0.5}}\n"
        ).children
        assert (spec.id, spec.restart, spec.shutdown, spec.significant) == ("x", "transient", 0.5, True)
        assert (spec.max_restarts, spec.max_seconds, spec.on_exhausted, spec.ready_timeout) == (
            2,
            60.0,
            "give_up",
            3.0,
        )
        assert spec.backoff == Backoff(0.1, 3.0, 60.0, 0.5)

    @pytest.mark.parametrize(
        ("text", "shutdown"),
        [("infinity", INFINITY), ("brutal_kill", BRUTAL_KILL), ("2", 2.0), (".inf", INFINITY)],
    )
    def test_shutdown(self, load, text: str, shutdown: object) -> None:
        [spec] = load(f"children: [{{worker: w, start: 'treemod:Server', shutdown: {text}}}]").children
        assert spec.shutdown == shutdown

    def test_supervisors_hold_children_to_any_depth(self, load) -> None:
        [outer] = load(
            "children:\n- supervisor: outer\n  strategy: one_for_all\n  max_restarts: 200\n  children:\n"
            "  - supervisor: inner\n    name: boss\n"
            "    children:\n    - {worker: w, start: 'treemod:Server'}\n"
        ).children
        [[inner]] = outer.start[1]
        [[worker]] = inner.start[1]
        assert (outer.id, outer.type, outer.shutdown, inner.id, worker.id) == (
            "outer",
            "supervisor",
            INFINITY,
            "inner",
            "w",
        )
        assert outer.start[2] == {
            "strategy": "one_for_all",
            "max_restarts": 200,
            "max_seconds": 5.0,
            "auto_shutdown": "never",
            "name": None,
        }
        assert outer.max_restarts is None
        assert inner.start[2]["name"] == "boss"

    def test_a_dynamic_supervisor_is_found_under_its_id(self, load) -> None:
        [spec] = load("children: [{dynamic_supervisor: pool, max_children: 3}]").children
        assert (spec.start[2]["name"], spec.start[2]["max_children"], spec.type) == ("pool", 3, "supervisor")

    def test_replicas_are_numbered_in_id_args_name_and_via(self, load) -> None:
        specs = load(
            "children:\n- {book: parts}\n"
            "- {worker: c, replicas: 2, start: 'treemod:Server', via: [parts, '{index}'],\n"
            "   args: {file: 'part-{index}.json', deep: [{x: '{index}'}], size: 4}}\n"
            "- {worker: 'd{index}x', replicas: 2, run: 'treemod:work', args: {url: '{index}'},\n"
            "   name: 'n{index}'}\n"
        ).children
        assert [spec.id for spec in specs] == ["parts", "c-0", "c-1", "d0x", "d1x"]
        assert specs[2].start[1] == ({"file": "part-1.json", "deep": [{"x": "1"}], "size": 4},)
        assert specs[2].start[2] == {"name": ("via", "parts", "1")}
        assert (specs[4].start[1][1:], specs[4].start[2]) == (({"url": "1"},), {"name": "n1"})

    def test_no_replicas_is_no_child(self, load) -> None:
        assert (
            load("children: [{worker: c, replicas: '${n}', start: 'treemod:Server'}]", n="0").children == ()
        )

    def test_variables_take_the_type_of_their_option_even_if_quoted(self, load) -> None:
        tree = load(
            "name: ${name}\nmax_restarts: '${n}'\nmax_seconds: \"${t}\"\n"
            "auto_shutdown: '${auto:-any_significant}'\nchildren:\n"
            "- {worker: w, start: '${m}:Server', significant: '${yes}', restart: '${r:-transient}'}\n",
            name="8",
            n="4",
            t="2m",
            m="treemod",
            yes="yes",
        )
        assert (tree.name, tree.max_restarts, tree.max_seconds) == ("8", 4, 120.0)
        assert tree.children[0].significant is True

    def test_variables_in_args_are_what_yaml_makes_of_them_unless_quoted(self, load) -> None:
        [spec] = load(
            "children:\n- worker: w\n  start: treemod:Server\n  args: {x: '${n}', y: ['${n}']}\n"
            "- worker: v\n  start: treemod:Server\n  args:\n    x: ${n}\n    here: ${here}\n",
            n="4",
        ).children[:1]
        assert spec.start[1] == ({"x": "4", "y": ["4"]},)

    def test_the_environment_stands_in_for_settings(self, tmp_path) -> None:
        (tmp_path / "tree.yaml").write_text("name: ${RESPROUT_TEST_NAME}\nchildren: []\n")
        assert load_tree(tmp_path / "tree.yaml", {}, {"RESPROUT_TEST_NAME": "x"}, KINDS).name == "x"

    def test_the_folder_of_the_file_is_in_front_of_the_path_once(self, load, tmp_path) -> None:
        load("children: []")
        load("children: []")
        assert sys.path[0] == str(tmp_path)
        assert sys.path.count(str(tmp_path)) == 1

    def test_anchors_and_merge_keys_spare_repetition(self, load) -> None:
        specs = load(
            "children:\n- &base {worker: a, start: 'treemod:Server', shutdown: 1s}\n"
            "- {<<: *base, worker: b}\n"
        ).children
        assert [(spec.id, spec.shutdown) for spec in specs] == [("a", 1.0), ("b", 1.0)]

    def test_an_option_may_be_named_like_another_kind(self, load) -> None:
        assert load("children: [{lock: l, num_slots: 2, worker: true}]").children[0].id == "l"


GOOD = "{worker: good, start: 'treemod:Server'}"


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "line", "column", "path", "reason"),
        [
            ("[]", 1, 1, "", "expected a mapping with children:, got: a list"),
            ("hello", 1, 1, "", "expected a mapping with children:, got: 'hello'"),
            ("null", 1, 1, "", "expected a mapping with children:, got: nothing"),
            ("name: x", 1, 1, "children", "it is missing"),
            ("children:", 1, 10, "children", "expected a list, got: nothing"),
            ("children: {a: 1}", 1, 11, "children", "expected a list, got: a mapping"),
            ("children: x", 1, 11, "children", "expected a list, got: 'x'"),
            ("children: [x]", 1, 12, "children[0]", "expected a child such as {worker: name"),
            ("children: [[]]", 1, 12, "children[0]", "got: a list"),
            (
                "children: []\nchilderen: 1",
                2,
                1,
                "childeren",
                "unknown key 'childeren'; expected one of: name,",
            ),
            ("children: []\n3: 1", 2, 1, "[3]", "unknown key 3"),
            ("children: []\nname: 3", 2, 7, "name", "expected text, got: 3; quote it if it is meant as text"),
            ("children: []\nname: on", 2, 7, "name", "expected text, got: true; quote it"),
            ("children: []\nname: []", 2, 7, "name", "expected text, got: a list"),
            (
                "children: []\nstrategy: one_for_al",
                2,
                11,
                "strategy",
                "got: 'one_for_al'; did you mean 'one_for_all'?",
            ),
            (
                "children: []\nmax_restarts: -1",
                2,
                15,
                "max_restarts",
                "expected a whole number >= 0, got: -1",
            ),
            ("children: []\nmax_restarts: 1.5", 2, 15, "max_restarts", "expected a whole number, got: 1.5"),
            ("children: []\nmax_restarts: true", 2, 15, "max_restarts", "expected a whole number, got: true"),
            ("children: []\nmax_restarts: '3'", 2, 15, "max_restarts", "expected a whole number, got: '3'"),
            ("children: []\nmax_seconds: 0", 2, 14, "max_seconds", "expected a time > 0, got: 0"),
            ("children: []\nmax_seconds: 5 x", 2, 14, "max_seconds", "expected a time such as 5s"),
            ("children: []\nmax_seconds: .nan", 2, 14, "max_seconds", "expected a time such as 5s"),
            (
                "children: []\njob: treemod:Job",
                2,
                6,
                "job",
                "expected a mapping with start, args, got: 'treemod:Job'",
            ),
            ("children: []\njob: {}", 2, 6, "job.start", "it is missing"),
            ("children: []\njob: {start: 'treemod:Job', arg: 1}", 2, 29, "job.arg", "did you mean 'args'?"),
            (
                "children: []\njob: {start: 'treemod:Job'}",
                2,
                14,
                "job.start",
                "missing a required argument: 'goal'",
            ),
            (
                "children: []\njob: {start: 'treemod:Job', args: {x: 1}}",
                2,
                35,
                "job.args",
                "treemod:Job takes: goal, pace",
            ),
        ],
    )
    def test_at_the_top(self, mistakes, text: str, line: int, column: int, path: str, reason: str) -> None:
        [(at_line, at_column, at_path, told)] = mistakes(text)
        assert (at_line, at_column, at_path) == (line, column, path)
        assert reason in told

    @pytest.mark.parametrize(
        ("child", "path", "reason"),
        [
            (
                "{}",
                "",
                "expected a key that names the kind of child (book, broken, dynamic_supervisor, lock, ",
            ),
            ("{wroker: a}", "", "got the keys: wroker; did you mean 'worker'?"),
            ("{worker: a, book: b}", "", "expected one kind, got: worker and book"),
            ("{broken: a}", ".broken", "the kind 'broken' cannot be loaded: ImportError: half installed"),
            ("{worker: a}", ".start", "expected either start: or run:, got neither"),
            ("{worker: a, start: 'treemod:start', run: 'treemod:work'}", ".start", "got both"),
            ("{worker: 3, start: 'treemod:Server'}", ".worker", "expected text, got: 3; quote it"),
            ("{worker: a, start: 'treemod:Server', id: 3}", ".id", "expected text, got: 3"),
            ("{worker: a, start: treemod.Server}", ".start", "did you mean 'treemod:Server'?"),
            (
                "{worker: a, start: 'treemdo:Server'}",
                ".start",
                "no module named 'treemdo'; did you mean 'treemod'?",
            ),
            ("{worker: a, start: 'treemod:Srever'}", ".start", "has no 'Srever'; did you mean 'Server'?"),
            ("{worker: a, start: 'treemod:number'}", ".start", "treemod:number is not callable"),
            ("{worker: a, start: 'treemod:Plain'}", ".start", "treemod:Plain is a class without either"),
            (
                "{worker: a, start: 'treemod:awork'}",
                ".start",
                "treemod:awork is a coroutine function, as run: takes",
            ),
            ("{worker: a, start: 'treemod:start'}", ".start", "missing a required argument: 'url'"),
            (
                "{worker: a, start: 'treemod:start', args: {ulr: 1}}",
                ".args",
                "treemod:start takes: url, size, name",
            ),
            ("{worker: a, run: 'treemod:work', args: {x: 1}}", ".args", "unexpected keyword argument 'x'"),
            ("{worker: a, run: 'treemod:work', args: {1: 1}}", ".args", "expected names as keys"),
            ("{worker: a, start: 'treemod:Server', args: [1]}", ".args", "expected a mapping, got: a list"),
            (
                "{worker: a, start: 'treemod:Server', replicas: -1}",
                ".replicas",
                "expected a whole number >= 0",
            ),
            (
                "{worker: a, start: 'treemod:Server', replicas: 2, name: x}",
                "",
                "the same for all replicas; add {index}",
            ),
            ("{worker: a, start: 'treemod:Server', via: x}", ".via", "expected a list, got: 'x'"),
            (
                "{worker: a, start: 'treemod:Server', via: [x]}",
                ".via",
                "expected a list of 2 values, got one of 1",
            ),
            (
                "{worker: a, start: 'treemod:Server', via: [books, [x]]}",
                ".via",
                "a key that is a word or a number",
            ),
            (
                "{worker: a, start: 'treemod:Server', via: [boks, x]}",
                ".via",
                "no registry named 'boks'; it has: books, later; did",
            ),
            (
                "{worker: a, start: 'treemod:Server', via: [later, x]}",
                ".via",
                "'later' starts after this child",
            ),
            (
                "{worker: a, start: 'treemod:Server', via: [books, x], name: x}",
                ".via",
                "either name: or via:, got both",
            ),
            (
                "{worker: a, start: 'treemod:Server', restart: never}",
                ".restart",
                "expected one of permanent, transient, temp",
            ),
            (
                "{worker: a, start: 'treemod:Server', shutdown: 5x}",
                ".shutdown",
                "or infinity, or brutal_kill, got: '5x'",
            ),
            ("{worker: a, start: 'treemod:Server', shutdown: -1}", ".shutdown", "expected a time"),
            (
                "{worker: a, start: 'treemod:Server', significant: 1}",
                ".significant",
                "expected true or false, got: 1",
            ),
            (
                "{worker: a, start: 'treemod:Server', significant: true}",
                ".significant",
                "give the supervisor any_significant or all_significant",
            ),
            (
                "{worker: a, start: 'treemod:Server', significant: true, restart: transient}",
                ".significant",
                "give the supervisor any_significant or all_significant",
            ),
            (
                "{worker: a, start: 'treemod:Server', max_seconds: 1}",
                ".max_seconds",
                "only together with max_restarts",
            ),
            (
                "{worker: a, start: 'treemod:Server', backoff: {fator: 1}}",
                ".backoff.fator",
                "did you mean 'factor'?",
            ),
            (
                "{worker: a, start: 'treemod:Server', backoff: {factor: 0}}",
                ".backoff.factor",
                "expected a number >= 1",
            ),
            (
                "{worker: a, start: 'treemod:Server', backoff: {jitter: x}}",
                ".backoff.jitter",
                "expected a number, got: 'x'",
            ),
            ("{worker: a, start: 'treemod:Server', shutdwon: 1}", ".shutdwon", "did you mean 'shutdown'?"),
            (
                "{worker: good2, id: good, start: 'treemod:Server'}",
                ".id",
                "the id 'good' is taken by children[0] in line 2",
            ),
            (
                "{worker: good, start: 'treemod:Server'}",
                "",
                "the id 'good' is taken by children[0] in line 2",
            ),
            (
                "{worker: a, start: 'treemod:Server', name: books}",
                "",
                "the name 'books' is taken by children[1]",
            ),
            ("{book: books, id: b}", "", "the name 'books' is taken by children[1] in line 3"),
            (
                "{book: x, keys: uniqe}",
                ".keys",
                "expected one of unique, duplicate, got: 'uniqe'; did you mean 'unique'?",
            ),
            ("{lock: l}", ".num_slots", "it is missing"),
            ("{lock: l, num_slots: 0}", ".num_slots", "expected num_slots to be a positive integer, got: 0"),
            ("{lock: l, num_slots: '2'}", ".num_slots", "expected a whole number, got: '2'"),
            ("{lock: l, num_slots: 2, max_waiting: 13}", ".max_waiting", "to be lucky"),
            ("{lock: l, num_slots: 2, max_waiting: 14}", "", "KeyError: 'a bug of this kind'"),
            ("{supervisor: s}", ".children", "it is missing"),
            ("{supervisor: s, children: [{worker: x}]}", ".children[0].start", "got neither"),
            (
                "{supervisor: s, children: [], strategy: simple}",
                ".strategy",
                "expected one of one_for_one, one_for_all",
            ),
            ("{supervisor: s, children: [], max_seconds: 0s}", ".max_seconds", "expected a time > 0"),
            ("{dynamic_supervisor: d, strategy: one_for_all}", ".strategy", "expected one of one_for_one"),
            (
                "{worker: a, start: 'treemod:Server', args: {x: !mine 3}}",
                ".args.x",
                "the tag !mine is not allowed",
            ),
        ],
    )
    def test_of_a_child(self, mistakes, child: str, path: str, reason: str) -> None:
        text = f"children:\n- {GOOD}\n- {{book: books}}\n- {child}\n- {{book: later}}\n"
        [(line, _, at_path, told)] = mistakes(text)
        assert (line, at_path) == (4, f"children[2]{path}")
        assert reason in told

    def test_a_permanent_child_cannot_be_significant(self, mistakes) -> None:
        child = "{worker: a, start: 'treemod:Server', significant: true}"
        text = f"auto_shutdown: any_significant\nchildren:\n- {child}\n"
        [(line, column, path, reason)] = mistakes(text)
        assert (line, column, path) == (3, 53, "children[0].significant")
        assert "a permanent child never ends" in reason

    def test_all_of_them_are_found_in_one_go(self, mistakes) -> None:
        found = mistakes(
            "stratgy: one_for_all\n"  # 1
            "children:\n"
            "- supervisor: services\n"
            "  max_restarts: x\n"  # 4
            "  children:\n"
            "  - {worker: a, start: 'treemod:Sever', restart: permanant, shutdown: 5x}\n"  # 6, three of them
            "  - {worker: b, start: 'treemod:Server', args: {url: '${url}'}}\n"  # 7
            "  - {worker: b, start: 'treemod:Server'}\n"  # 8: the id of the one before, which is broken
            "- wroker: c\n"  # 9
            "  children: [{worker: d}]\n"  # 10
            "- {lock: l, num_slots: 0, max_wating: 3}\n"  # 11, two
            "- {worker: e, start: 'treemod:Server', via: [nobody, 1], restart: never}\n",  # 12, two
            urll="x",
        )
        assert [line for line, *_ in found] == [0, 1, 4, 6, 6, 6, 7, 8, 9, 10, 11, 11, 12, 12]

    def test_what_an_alias_repeats_is_told_once(self, mistakes) -> None:
        text = "children:\n- &a {lock: l, num_slots: 0}\n- {<<: *a, lock: m}\n- {<<: *a, lock: n}\n"
        assert len(mistakes(text)) == 1

    def test_a_syntax_error_is_told_alone(self, mistakes) -> None:
        [(line, column, path, reason)] = mistakes("children: [\n", unused="x")
        assert (line, column, path) == (2, 1, "")
        assert reason.startswith("not YAML: ")

    def test_each_mistake_is_a_line_of_the_text(self, load, tmp_path) -> None:
        with pytest.raises(InvalidTree) as raised:
            load("strategy: x\nchildren: y\n")
        first, second = str(raised.value).splitlines()
        reason = "expected one of one_for_one, one_for_all, rest_for_one, got: 'x'"
        assert first == f"{tmp_path}/tree.yaml:1:11: strategy: {reason}"
        assert second == f"{tmp_path}/tree.yaml:2:11: children: expected a list, got: 'y'"
        assert isinstance(raised.value, ConfigError)
        assert (raised.value.line, raised.value.path) == (1, "strategy")

    def test_a_file_that_is_not_there_is_told_with_the_nearest(self, tmp_path) -> None:
        (tmp_path / "tree.yaml").write_text("")
        with pytest.raises(
            InvalidTree, match=r"tre\.yaml:0:0: .*No such file or directory; did you mean 'tree\.yaml'"
        ):
            load_tree(tmp_path / "tre.yaml", {}, {}, KINDS)

    @pytest.mark.parametrize("name", ["nowhere/tree.yaml", ".", "nul\0"])
    def test_what_cannot_be_read_is_told(self, tmp_path, name: str) -> None:
        with pytest.raises(InvalidTree, match="it cannot be read"):
            load_tree(tmp_path / name, {}, {}, KINDS)

    def test_a_file_that_is_not_utf_8_is_told_with_the_place(self, tmp_path) -> None:
        (tmp_path / "tree.yaml").write_bytes(b"name: x\nchildren: [\xff]\n")
        with pytest.raises(InvalidTree, match=r"tree\.yaml:2:12: it is not UTF-8: byte 0xff"):
            load_tree(tmp_path / "tree.yaml", {}, {}, KINDS)

    def test_supervisors_nested_beyond_reason_are_a_mistake_and_no_crash(self, mistakes) -> None:
        depth = 600
        text = "{children: [" + "{supervisor: s, children: [" * depth + "]}" * depth + "]}"
        [(_, _, _, reason)] = mistakes(text)
        assert "nested too deeply" in reason


def test_a_clone_that_is_not_installed_has_no_kinds_and_says_why(tmp_path: Path) -> None:
    file = tmp_path / "tree.yaml"
    file.write_text("children: [{worker: a, run: 'treemod:work'}]")
    with pytest.raises(InvalidTree, match=r"expected resprout to be installed.*clone: pip install -e \."):
        load_tree(file, kinds={})
