"""What check accepts can start, and what it refuses has a place in the file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resprout.supervision import Application, InvalidTree

MODULE = """
import functools
from resprout import GenServer, Ok, Supervisor, process

class Plain(GenServer): pass
class Keyed(GenServer):
    def init(self, arg): return Ok(arg.get("size") if arg else None)
class Uninformed(GenServer):
    def init(self): return Ok(None)
class Narrow(GenServer):
    @classmethod
    def start_link(cls): return super().start_link()
class NarrowLink:
    @classmethod
    def start_link(cls): return Plain.start_link()
class Instance:
    def start_link(self): return Plain.start_link()
class NamedLink:
    @classmethod
    def start_link(cls, arg=None, *, name=None): return Plain.start_link(arg, name=name)
class Spelled:
    @classmethod
    def child_spec(cls, arg=None): return {"id": "s", "start": (NarrowLink.start_link, (arg,))}
class Above(Supervisor):
    def init(self, arg): return Supervisor.init_spec([])

def start(size=1): return Plain.start_link(size)
def start_named(*, size=1, name=None): return Plain.start_link(size, name=name)
def start_generator(): yield
async def start_later(): return None

def wait(): process.receive()
def sized(size): process.receive()
def anything(**rest): process.receive()
def positional(size, /): process.receive()
async def later(size=1): await process.areceive() if hasattr(process, "areceive") else None
def generator(): yield
async def async_generator(): yield
class Called:
    def __call__(self, size=1): process.receive()
class Starter:
    def __call__(self, size=1): return start(size)
class CalledLater:
    async def __call__(self, size=1): pass
class CalledGenerator:
    def __call__(self): yield
called, called_later, called_generator = Called(), CalledLater(), CalledGenerator()
starter = Starter()
partial = functools.partial(sized, size=3)
"""
STARTS = [
    "Plain", "Keyed", "Uninformed", "Narrow", "NarrowLink", "Instance", "NamedLink", "Spelled", "Above",
    "start", "start_named", "start_generator", "start_later", "starter",
]  # fmt: skip
RUNS = [
    "wait", "sized", "anything", "positional", "later", "generator", "async_generator", "called",
    "called_later", "called_generator", "partial", "Plain",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = list(sys.path)
    folder = tmp_path_factory.mktemp("agreement")
    (folder / "agreemod.py").write_text(MODULE)
    yield folder
    sys.path[:] = before
    sys.modules.pop("agreemod", None)


@pytest.fixture
def started(folder: Path) -> Callable[[str], bool]:
    """Starts and stops what check accepts; of what it refuses, sees that each mistake has a place."""

    def started(text: str) -> bool:
        path = folder / "tree.yaml"
        path.write_text(text)
        try:
            application = Application.load(path)
        except InvalidTree as error:
            problems = error.problems
        else:
            problems = ()
        if problems:
            assert all(problem.line > 0 and problem.reason for problem in problems), problems
            return False
        try:
            application.start()
            application.stop(timeout=20.0)
        finally:
            application.tree.close()
        return True

    return started


ARGS = st.sampled_from(
    [None, None, {}, {"size": 2}, {"size": 2, "extra": 3}, {"extra": "{index}"}, {"name": "x"}]
)
FITTING = [
    ({"start": "agreemod:Plain"}, {"extra": "{index}"}),
    ({"start": "agreemod:Keyed"}, {"size": 2}),
    ({"start": "agreemod:NamedLink"}, None),
    ({"start": "agreemod:start_named"}, {"size": 2}),
    ({"run": "agreemod:sized"}, {"size": 2}),
    ({"run": "agreemod:wait"}, None),
    ({"run": "agreemod:anything"}, {"extra": "{index}"}),
]
CALLS = st.sampled_from(FITTING) | st.tuples(
    st.sampled_from(
        [{"start": f"agreemod:{name}"} for name in STARTS] + [{"run": f"agreemod:{name}"} for name in RUNS]
    ),
    ARGS,
)
NAMES = st.integers(0, 10**6).map("n{}".format) | st.sampled_from(["books", "", " "])
TIMES = st.sampled_from([0, 1, "5s", "1h", 1e9, "infinity", "brutal_kill", 1e300])


def options(**options: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these, and each of them seldom."""
    return st.lists(st.sampled_from(sorted(options)), max_size=2, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries({key: options[key] for key in keys})
    )


COMMON = options(
    id=NAMES,
    restart=st.sampled_from(["permanent", "transient", "temporary"]),
    shutdown=TIMES,
    significant=st.booleans(),
    max_restarts=st.sampled_from([0, 3, 10**12]),
    max_seconds=TIMES,
    on_exhausted=st.sampled_from(["escalate", "give_up"]),
    backoff=st.fixed_dictionaries(
        {}, optional={"initial": TIMES, "maximum": TIMES, "factor": st.sampled_from([1, 2, 1e300])}
    ),
)
WORKER = st.builds(
    lambda name, call, more, common: {
        "worker": name,
        **call[0],
        **({} if call[1] is None else {"args": call[1]}),
        **more,
        **common,
    },
    NAMES,
    CALLS,
    options(
        name=NAMES,
        via=st.tuples(
            st.sampled_from(["books", "books", "heaps", "none"]), st.sampled_from(["k", 1, "{index}", None])
        ).map(list),
        replicas=st.integers(0, 3),
        every=TIMES,
        first=TIMES,
        jitter=TIMES,
    ),
    COMMON,
)
OTHERS = st.one_of(
    st.builds(lambda name, more: {"dynamic_supervisor": name, **more}, NAMES, COMMON),
    st.builds(
        lambda name, slots: {"throttle": f"throttle {name}", "num_slots": slots}, NAMES, st.integers(0, 9)
    ),
    st.builds(lambda keys: {"registry": "heaps", "keys": keys}, st.sampled_from(["unique", "duplicate"])),
    st.builds(lambda name, more: {"task_supervisor": name, **more}, NAMES, COMMON),
    st.builds(lambda name, more: {"agent": name, "value": [1], **more}, NAMES, COMMON),
    st.builds(
        lambda name, child, more: {
            "partition_supervisor": name,
            "partitions": 2,
            "children": [child],
            **more,
        },
        NAMES,
        WORKER | st.builds(lambda name: {"dynamic_supervisor": name}, NAMES),
        COMMON,
    ),
    st.builds(
        lambda name, children, more: {"dynamic_supervisor": name, "children": children, **more},
        NAMES,
        st.lists(WORKER, max_size=2),
        COMMON,
    ),
)
CHILDREN = st.recursive(
    st.lists(WORKER | OTHERS, max_size=3),
    lambda inner: st.builds(
        lambda name, strategy, children, more, beside: [
            {"supervisor": name, "strategy": strategy, "children": children, **more},
            *beside,
        ],
        NAMES,
        st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
        inner,
        COMMON,
        st.lists(WORKER, max_size=2),
    ),
    max_leaves=3,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHILDREN, st.sampled_from(["never", "any_significant"]))
def test_what_check_accepts_starts(
    started: Callable[[str], bool], children: list[dict[str, Any]], auto_shutdown: str
) -> None:
    tree = {"auto_shutdown": auto_shutdown, "children": [{"registry": "books"}, *children]}
    started(yaml.safe_dump(tree, sort_keys=False))


@pytest.mark.parametrize(
    "child",
    [
        "{worker: w, start: 'agreemod:Keyed', args: {size: 2}, via: [books, k]}",
        "{worker: w, start: 'agreemod:NamedLink', name: w}",
        "{worker: w, start: 'agreemod:NarrowLink'}",
        "{worker: w, start: 'agreemod:start_named', args: {size: 2}, name: w}",
        "{worker: w, run: 'agreemod:called_later', args: {size: 2}, restart: temporary}",
        "{worker: w, run: 'agreemod:partial'}",
        "{worker: w, start: 'agreemod:Above'}",
        "{worker: w, run: 'agreemod:wait', backoff: {initial: 30s}, shutdown: 1.0e+9}",
        "{worker: w, run: 'agreemod:anything', args: {size: 2}, replicas: 2, via: [books, '{index}']}",
    ],
)
def test_a_right_child_starts(started: Callable[[str], bool], child: str) -> None:
    assert started(f"children: [{{registry: books}}, {child}]")


@pytest.mark.parametrize(
    ("child", "at", "reason"),
    [
        (
            "{worker: w, start: 'agreemod:Uninformed'}",
            "'agreemod",
            "too many positional arguments; agreemod:Uninformed takes: none",
        ),
        (
            "{worker: w, start: 'agreemod:NarrowLink', args: {size: 1}}",
            "{size",
            "too many positional arguments",
        ),
        ("{worker: w, start: 'agreemod:Instance'}", "'agreemod", "missing a required argument: 'self'"),
        ("{worker: w, start: 'agreemod:Spelled'}", "'agreemod", "too many positional arguments"),
        ("{worker: w, start: 'agreemod:NarrowLink', name: x}", "x}", "expected no name:"),
        ("{worker: w, start: 'agreemod:start_generator'}", "'agreemod", "is a generator function"),
        ("{worker: w, start: 'agreemod:start_later'}", "'agreemod", "is a coroutine function, as run: takes"),
        (
            "{worker: w, start: 'agreemod:called_later'}",
            "'agreemod",
            "is a coroutine function, as run: takes",
        ),
        ("{worker: w, run: 'agreemod:sized'}", "'agreemod", "missing a required argument: 'size'"),
        ("{worker: w, run: 'agreemod:called_generator'}", "'agreemod", "is a generator function"),
        (
            "{worker: w, run: 'agreemod:wait', via: [heaps, k]}",
            "[heaps",
            "expected a registry with unique keys",
        ),
        (
            "{worker: w, run: 'agreemod:wait', via: [books, [k]]}",
            "[books",
            "a key that is a word or a number, got: a list",
        ),
        ("{worker: '', run: 'agreemod:wait'}", "''", "expected a text that is not empty, got: ''"),
        ("{worker: w, run: 'agreemod:wait', id: ' '}", "' '", "expected a text that is not empty, got: ' '"),
        ("{worker: w, run: 'agreemod:wait', name: ''}", "''", "expected a text that is not empty"),
        ("{dynamic_supervisor: d, name: ''}", "''", "expected a text that is not empty"),
        (
            "{worker: w, run: 'agreemod:wait', backoff: {initial: 60s}}",
            "60s",
            "expected at most the maximum of 30 s, got: 60 s",
        ),
        (
            "{worker: w, run: 'agreemod:wait', backoff: {factor: 1.0e+300}}",
            "1.0e+300",
            "expected a number from 1 to 1000",
        ),
        ("{worker: w, run: 'agreemod:wait', shutdown: 1.0e+300}", "1.0e+300", "expected a time such as 5s"),
    ],
)
def test_what_could_not_start_is_told_with_its_place(folder: Path, child: str, at: str, reason: str) -> None:
    path = folder / "tree.yaml"
    path.write_text(f"children:\n- {{registry: books}}\n- {{registry: heaps, keys: duplicate}}\n- {child}\n")
    with pytest.raises(InvalidTree) as raised:
        Application.load(path)
    [problem] = raised.value.problems
    assert (problem.line, f"- {child}"[problem.column - 1 :][: len(at)]) == (4, at)
    assert reason in problem.reason


def test_an_application_without_a_name_is_told_so(folder: Path) -> None:
    (folder / "tree.yaml").write_text("children: []\nname: ' '\n")
    with pytest.raises(
        InvalidTree, match=r"tree\.yaml:2:7: name: expected a text that is not empty, got: ' '"
    ):
        Application.load(folder / "tree.yaml")
