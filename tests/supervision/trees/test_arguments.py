"""What a tree file gives to what it starts: `args` by their annotations, names; and what can be started."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

from resprout.actors import ChildSpec, SpecError, child_spec
from resprout.supervision import Application, Supervisor
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.tree_file import load_tree

MODULE = """
from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, List, Literal, NewType, Optional, Union

import pykka

from resprout.actors import GenServer, Ok

if TYPE_CHECKING:
    from nowhere import Missing

Port = NewType("Port", int)
Every = float


def typed(
    whole: int = 0, number: float = 0.0, truth: bool = False, text: str = "", maybe: Optional[float] = None,
    either: int | str = 0, old: Union[str, int, None] = None, unknown: Missing = None, plain=None,
    anything: Any = None, numbers: list[float] = (), named: dict[str, int] = {}, olds: List[int] = (),
    port: Port = 0, every: Every = 0.0, word: Literal["fast", "slow"] = "fast", note: "str | None" = None,
    **rest: float,
): ...


async def atyped(every: float): ...


partial = functools.partial(typed, whole=1)


class Job:
    def __init__(self, goal: int): ...


class Server(GenServer):
    def init(self, arg: float):
        return Ok(arg)


class Old(pykka.ThreadingActor):
    use_daemon_thread = True

    def __init__(self, greeting, times: int = 1):
        super().__init__()
        self.greeting = greeting * times

    def hi(self):
        return self.greeting


class OldWithName(pykka.ThreadingActor):
    def __init__(self, name):
        super().__init__()


class OnlyStart:
    @classmethod
    def start(cls): ...


class Nameless:
    @classmethod
    def start_link(cls, arg=None): ...


class Spelled:
    @classmethod
    def child_spec(cls, arg=None):
        return {"id": "Spelled", "start": (start, ("url",))}


def start(url): ...
def generator(): yield
async def async_generator(): yield
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "argmod.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("argmod", None)


@pytest.fixture
def load(folder: Path):
    def load(text: str, **settings: str):
        (folder / "tree.yaml").write_text(text)
        return load_tree(folder / "tree.yaml", settings, {})

    return load


@pytest.fixture
def arguments(load):
    """What a text is read as that stands in `args`, for the function of the module above."""

    def arguments(args: str, target: str = "typed", key: str = "run", **settings: str) -> dict[str, Any]:
        [spec] = load(
            f"children:\n- worker: w\n  {key}: argmod:{target}\n  args: {args}\n", **settings
        ).children
        found: dict[str, Any] = spec.start[1][1] if key == "run" else spec.start[2]
        return found

    return arguments


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("whole", "5", 5),
        ("number", "0.05", 0.05),
        ("number", "1", 1.0),
        ("truth", "yes", True),
        ("truth", "False", False),
        ("text", "0.05", "0.05"),
        ("text", "", ""),
        ("maybe", "0.05", 0.05),
        ("maybe", "", None),
        ("maybe", "null", None),
        ("either", "8080", 8080),
        ("either", "auto", "auto"),
        ("old", "8080", 8080),
        ("old", "auto", "auto"),
        ("old", "", ""),
        ("unknown", "5", "5"),
        ("plain", "5", "5"),
        ("anything", "5", "5"),
        ("port", "80", 80),
        ("every", "3", 3.0),
        ("word", "slow", "slow"),
        ("note", "2024", "2024"),
        ("further", "3", 3.0),
    ],
)
@pytest.mark.parametrize("target", ["typed", "partial"])
def test_a_quoted_variable_follows_the_annotation(
    name: str, text: str, value: object, target, arguments
) -> None:
    for args, settings in ((f'{{{name}: "${{x:-{text}}}"}}', {}), (f'{{{name}: "${{x}}"}}', {"x": text})):
        read = arguments(args, target, **settings)
        assert (read, type(read[name])) == ({name: value}, type(value))


def test_so_does_one_without_quotes(arguments) -> None:
    assert arguments(
        "\n    text: ${x:-1.10}\n    number: ${y:-2}\n    maybe: ${z:-}\n    plain: ${y:-2}"
    ) == {
        "text": "1.10",
        "number": 2.0,
        "maybe": None,
        "plain": 2,
    }


def test_and_those_in_lists_and_mappings_of_numbers(arguments) -> None:
    args = '{numbers: ["${a:-1}", 2], named: {x: "${b:-3}"}, olds: ["${c:-4}"], plain: ["${c:-4}"]}'
    read = arguments(args)
    assert read == {"numbers": [1.0, 2], "named": {"x": 3}, "olds": [4], "plain": ["4"]}
    assert type(read["numbers"][0]) is float


def test_what_has_no_variable_is_as_yaml_has_it(arguments) -> None:
    read = arguments('{text: 5, number: "0.05", whole: 2024-01-01, numbers: {a: b}}')
    assert (read["text"], read["number"], read["numbers"]) == (5, "0.05", {"a": "b"})


def test_a_coroutine_function_a_class_and_a_job_are_asked_like_a_function(load, arguments) -> None:
    assert arguments('{every: "${every:-0.05}"}', "atyped") == {"every": 0.05}
    assert arguments('{greeting: "${x:-5}", times: "${x:-5}"}', "Old.start", "start") == {
        "greeting": "5",
        "times": 5,
    }
    tree = load('job: {start: "argmod:Job", args: {goal: "${goal:-7}"}}\nchildren: []\n')
    assert tree.job.args == {"goal": 7}


def test_a_class_that_takes_its_args_as_one_gets_them_as_yaml_has_them(load) -> None:
    [spec] = load("children: [{worker: w, start: 'argmod:Server', args: {a: '${a:-1}'}}]").children
    assert repr({"a": "1"}) in repr(spec.start[1])


def test_the_number_of_a_replica_is_put_in_afterwards(load) -> None:
    text = "children: [{worker: w, run: 'argmod:typed', replicas: 2, args: {text: '${t:-x}-{index}'}}]"
    assert [spec.start[1][1] for spec in load(text).children] == [{"text": "x-0"}, {"text": "x-1"}]


@pytest.fixture
def mistakes(load):
    """The mistakes of a child, as `(line, column, path, reason)`."""

    def mistakes(child: str, **settings: str) -> list[tuple[int, int, str, str]]:
        with pytest.raises(InvalidTree) as raised:
            load(f"children:\n- {child}\n", **settings)
        return [(p.line, p.column, p.path, p.reason) for p in raised.value.problems]

    return mistakes


@pytest.mark.parametrize(
    ("args", "path", "reason"),
    [
        ('{number: "${x}"}', ".number", "expected a number, got: 'soon'"),
        ('{plain: 1, whole: "${x}"}', ".whole", "expected a whole number, got: 'soon'"),
        ('{truth: "${x}"}', ".truth", "expected true or false, got: 'soon'"),
        ('{maybe: "${x}"}', ".maybe", "expected a number, got: 'soon'"),
        ('{word: "${x}"}', ".word", "expected one of fast, slow, got: 'soon'"),
        ('{numbers: [1, "${x}"]}', ".numbers[1]", "expected a number, got: 'soon'"),
    ],
)
def test_what_does_not_fit_is_a_mistake_at_its_place(args: str, path: str, reason: str, mistakes) -> None:
    child = f"{{worker: w, run: 'argmod:typed', args: {args}}}"
    [(line, column, where, told)] = mistakes(child, x="soon")
    assert (where, told) == (f"children[0].args{path}", reason)
    assert (line, column) == (2, 3 + child.index('"${x}"'))


def test_all_that_does_not_fit_is_told_at_once_and_of_a_job_too(load) -> None:
    with pytest.raises(InvalidTree) as raised:
        load(
            'job: {start: "argmod:Job", args: {goal: "${x}"}}\nchildren:\n'
            '- {worker: w, run: "argmod:typed", args: {number: "${x}", whole: "${x}"}}\n',
            x="soon",
        )
    assert [(p.line, p.path) for p in raised.value.problems] == [
        (1, "job.args.goal"),
        (3, "children[0].args.number"),
        (3, "children[0].args.whole"),
    ]


@pytest.mark.parametrize(
    ("child", "field", "reason"),
    [
        (
            "{worker: w, start: 'argmod:start', args: {url: x}, name: wn}",
            "name",
            "expected no name:, as argmod:start starts without a parameter 'name'; it takes: url",
        ),
        (
            "{worker: w, start: 'argmod:start', args: {url: x}, via: [names, 1]}",
            "via",
            "expected no via:, as argmod:start starts without a parameter 'name'; it takes: url",
        ),
        (
            "{worker: w, start: 'argmod:Nameless', name: wn}",
            "name",
            "expected no name:, as argmod:Nameless starts without a parameter 'name'; it takes: arg",
        ),
        (
            "{worker: w, start: 'argmod:Spelled', name: wn}",
            "name",
            "expected no name:, as argmod:Spelled starts without a parameter 'name'; it takes: url",
        ),
        (
            "{worker: w, start: 'argmod:Old.start', args: {greeting: hi}, name: wn}",
            "name",
            (
                "expected no name:, as argmod:Old.start starts without a parameter 'name'; it takes: "
                "greeting, times"
            ),
        ),
        (
            "{worker: w, start: 'argmod:Old.start'}",
            "start",
            "missing a required argument: 'greeting'; argmod:Old.start takes: greeting, times",
        ),
        (
            "{worker: w, start: 'argmod:Old', args: {greeting: hi}}",
            "start",
            (
                "expected a class with start_link or child_spec, or a function that returns a Pid; "
                "argmod:Old is a class without either; did you mean 'argmod:Old.start'?"
            ),
        ),
        (
            "{worker: w, start: 'argmod:OnlyStart'}",
            "start",
            (
                "expected a class with start_link or child_spec, or a function that returns a Pid; "
                "argmod:OnlyStart is a class without either; did you mean 'argmod:OnlyStart.start'?"
            ),
        ),
        (
            "{worker: w, run: 'argmod:Server'}",
            "run",
            (
                "expected a function that does the work; argmod:Server is a class; one that starts a process "
                "goes under start:"
            ),
        ),
        (
            "{worker: w, run: 'argmod:generator'}",
            "run",
            (
                "expected a function that does the work; argmod:generator is a generator function, which "
                "does nothing until somebody iterates over it"
            ),
        ),
        (
            "{worker: w, run: 'argmod:async_generator'}",
            "run",
            (
                "expected a function that does the work; argmod:async_generator is a generator function, "
                "which does nothing until somebody iterates over it"
            ),
        ),
    ],
)
def test_what_cannot_start_so_is_a_mistake_at_its_place(
    child: str, field: str, reason: str, mistakes
) -> None:
    before = "{registry: names, keys: unique}\n- "
    [(line, column, path, told)] = mistakes(before + child)
    assert (line, path, told) == (3, f"children[1].{field}", reason)
    assert column == 3 + child.index(f"{field}: ") + len(f"{field}: ")


def test_a_name_goes_to_a_constructor_that_takes_it(load) -> None:
    [spec] = load("children: [{worker: w, start: 'argmod:OldWithName.start', name: wn}]").children
    assert spec.start[2] == {"name": "wn"}


def test_an_actor_of_pykkas_is_started_from_a_file_and_used(folder: Path) -> None:
    (folder / "tree.yaml").write_text(
        'children: [{worker: old, start: "argmod:Old.start", args: {greeting: hi, times: "${n:-2}"}}]\n'
    )
    application = Application.load(folder / "tree.yaml")
    [child] = Supervisor.which_children(application.start())
    assert child.pid.proxy().hi().get(timeout=20) == "hihi"
    application.stop()
    assert pykka.ActorRegistry.get_by_class_name("Old") == []


class PlainOld(pykka.ThreadingActor):
    """Knows nothing of supervisors."""


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        (PlainOld, "did you mean ChildSpec('PlainOld', (PlainOld.start,))?"),
        ((PlainOld, 3), "did you mean ChildSpec('PlainOld', (PlainOld.start, (3,)))?"),
    ],
)
def test_in_python_the_same_is_suggested(spec: object, hint: str) -> None:
    with pytest.raises(SpecError) as raised:
        child_spec(spec)
    assert str(raised.value).endswith(hint)
    assert child_spec(ChildSpec("PlainOld", (PlainOld.start,))).start == (PlainOld.start, (), {})
