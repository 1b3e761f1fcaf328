"""One form of options for all supervisors, where they are children of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resprout.actors import Agent, ChildSpec, MaxChildren, Pid, process
from resprout.registry import Registry
from resprout.supervision import (
    INFINITY,
    Counts,
    DynamicSupervisor,
    PartitionSupervisor,
    SpecError,
    Supervisor,
    TaskSupervisor,
    child_spec,
)

from ...scripted import Quiet
from ...waiting import down_of

REQUIRED: dict[Any, dict[str, Any]] = {
    Supervisor: {},
    DynamicSupervisor: {},
    TaskSupervisor: {},
    PartitionSupervisor: {"child_spec": Quiet, "partitions": 1},
    Registry: {"keys": "unique"},
}
KINDS = pytest.mark.parametrize("kind", REQUIRED, ids=lambda kind: kind.__name__)


@pytest.fixture
def start() -> Iterator[Any]:
    started: list[Pid] = []

    def start_link(*children: Any) -> Pid:
        started.append(Supervisor.start_link(list(children)))
        return started[-1]

    yield start_link
    for pid in started:
        Supervisor.stop(pid)


def fill(supervisor: Any) -> None:
    """Starts children until there are too many, and no more than three."""
    for _ in range(3):
        DynamicSupervisor.start_child(supervisor, Quiet)


@KINDS
def test_options_in_the_tuple_form_name_the_process_and_the_child(start: Any, kind: Any) -> None:
    top = start((kind, {**REQUIRED[kind], "name": "one"}), (kind, {**REQUIRED[kind], "name": "two"}))
    infos = Supervisor.which_children(top)
    assert [info.id for info in infos] == ["one", "two"]
    assert [info.pid for info in infos] == [process.whereis("one"), process.whereis("two")]


@KINDS
def test_options_as_keyword_arguments_are_the_same(start: Any, kind: Any) -> None:
    specs = [kind.child_spec(**REQUIRED[kind], name=name) for name in ("one", "two")]
    assert specs == [kind.child_spec({**REQUIRED[kind], "name": name}) for name in ("one", "two")]
    assert [info.id for info in Supervisor.which_children(start(*specs))] == ["one", "two"]


@KINDS
def test_keyword_arguments_count_more_than_the_mapping(kind: Any) -> None:
    assert kind.child_spec({**REQUIRED[kind], "name": "one"}, name="two").id == "two"


@KINDS
def test_an_unknown_option_is_named_with_the_one_that_was_meant(kind: Any) -> None:
    options = {**REQUIRED[kind], "name": "x", "shutdwon": 3.0, "nmae": "y"}
    for wrong in ("shutdwon", "nmae"):
        given = {name: value for name, value in options.items() if name not in {"shutdwon", "nmae"} - {wrong}}
        near = {"shutdwon": "shutdown", "nmae": "name"}[wrong]
        for make in (
            lambda given=given: kind.child_spec(given),
            lambda given=given: kind.child_spec(**given),
        ):
            with pytest.raises((SpecError, TypeError), match=f"{wrong}.*did you mean '{near}'"):
                make()


@KINDS
def test_fields_of_the_spec_stand_beside_the_options(kind: Any) -> None:
    spec = kind.child_spec({**REQUIRED[kind], "name": "x", "id": "i"}, restart="transient", shutdown=INFINITY)
    assert (spec.id, spec.restart, spec.shutdown) == ("i", "transient", INFINITY)
    assert "id" not in spec.start[2]


@pytest.mark.parametrize(
    "kind", [kind for kind in REQUIRED if kind is not Registry], ids=lambda kind: kind.__name__
)
def test_the_intensity_is_that_of_the_supervisor(kind: Any) -> None:
    spec = kind.child_spec({**REQUIRED[kind], "name": "x", "max_restarts": 7}, max_seconds=2.0)
    assert (spec.max_restarts, spec.max_seconds) == (None, None)
    assert (spec.start[2]["max_restarts"], spec.start[2]["max_seconds"]) == (7, 2.0)
    with pytest.raises(SpecError, match="max_restarts"):
        kind.child_spec(**REQUIRED[kind], name="x", max_restarts=-1)
    own = child_spec(spec, max_restarts=1)
    assert (own.max_restarts, own.start) == (1, spec.start)


@pytest.mark.parametrize("options", [{"name": "s", "max_children": 2}, {"max_children": 2}])
def test_no_option_of_a_dynamic_supervisor_is_dropped(start: Any, options: dict[str, Any]) -> None:
    (info,) = Supervisor.which_children(start((DynamicSupervisor, options)))
    with pytest.raises(MaxChildren, match="2 children"):
        fill(info.pid)
    (info,) = Supervisor.which_children(
        start((DynamicSupervisor, DynamicSupervisor.init_spec(max_children=2)))
    )
    with pytest.raises(MaxChildren, match="2 children"):
        fill(info.pid)


def test_no_option_of_a_task_supervisor_is_dropped(start: Any) -> None:
    start((TaskSupervisor, {"name": "tasks", "max_children": 1}), (TaskSupervisor, "others"))
    TaskSupervisor.start_child("tasks", process.sleep, 30)
    with pytest.raises(MaxChildren):
        TaskSupervisor.start_child("tasks", process.sleep, 30)
    assert TaskSupervisor.children("others") == []


def test_no_option_of_a_supervisor_is_dropped(start: Any) -> None:
    inner = {"children": [(Quiet, 1), Agent.child_spec(dict)], "strategy": "one_for_all", "name": "in"}
    start((Supervisor, inner), Supervisor.child_spec(children=[Quiet], name="other"), (Supervisor, [Quiet]))
    assert Supervisor.count_children("in") == Counts(2, 2, 0, 2)
    before = [info.pid for info in Supervisor.which_children("in")]
    refs = [process.monitor(pid) for pid in before]
    process.exit(before[0], "kill")
    for ref in refs:
        down_of(ref)
    assert not set(before) & {info.pid for info in Supervisor.which_children("in")}
    assert Supervisor.count_children("other").active == 1


class Sessions(DynamicSupervisor):
    def init(self, arg: Any) -> Any:
        return DynamicSupervisor.init_spec(max_children=arg["most"])


class Services(Supervisor):
    def init(self, arg: Any) -> Any:
        return Supervisor.init_spec([(Quiet, arg["most"])])


@pytest.mark.parametrize("module", [Sessions, Services])
def test_an_init_of_its_own_gets_its_argument_as_it_is(start: Any, module: Any) -> None:
    argument = {"most": 1, "name": "not a name"}
    top = start(
        module.child_spec(argument, name="a"), module.child_spec(argument, name="b"), (module, argument)
    )
    assert [info.id for info in Supervisor.which_children(top)] == ["a", "b", module.__name__]
    assert process.whereis("not a name") is None
    base = module.__mro__[1].__name__
    with pytest.raises(TypeError, match=f"give 'max_restarts' to {base}.init_spec there"):
        module.child_spec(argument, max_restarts=1)
    with pytest.raises(SpecError, match=r"'nmae'.*did you mean 'name'"):
        module.child_spec(argument, nmae="a")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: DynamicSupervisor.child_spec([("name", "x")]), "expected a mapping of options"),
        (lambda: PartitionSupervisor.child_spec("x"), "expected a mapping of options"),
        (lambda: Registry.child_spec("x"), "to be a mapping, got: 'x'"),
        (lambda: DynamicSupervisor.start_link({"max_children": 2}), "as keyword arguments"),
        (
            lambda: DynamicSupervisor.start_link(DynamicSupervisor.init_spec(), max_children=2),
            "'max_children'",
        ),
        (lambda: DynamicSupervisor.child_spec(DynamicSupervisor.init_spec(), max_children=2), "got both"),
        (lambda: Supervisor.start_link(Supervisor.init_spec([]), strategy="one_for_all"), "'strategy'"),
        (lambda: Supervisor.child_spec(Supervisor.init_spec([]), strategy="one_for_all"), "got both"),
        (lambda: Supervisor.child_spec([Quiet], children=[]), "'children'.*expected them once"),
        (lambda: Supervisor.child_spec({"strategy": "one_for_al"}), "did you mean 'one_for_all'"),
        (lambda: DynamicSupervisor.child_spec(max_children=-1), "'max_children'"),
        (lambda: TaskSupervisor.child_spec({"max_children": "2"}), "'max_children'"),
        (lambda: PartitionSupervisor.child_spec(child_spec=Quiet), "'name'"),
        (lambda: PartitionSupervisor.child_spec(name="x"), "'child_spec'"),
        (lambda: PartitionSupervisor.child_spec(name="x", child_spec=Quiet, partitions=0), "'partitions'"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_said(make: Any, named: str) -> None:
    with pytest.raises((SpecError, TypeError), match=named):
        make()


def test_a_spec_in_the_long_form_needs_no_options() -> None:
    spec = ChildSpec("d", (DynamicSupervisor.start_link, (), {"max_children": 2}), type="supervisor")
    assert child_spec(spec) is spec
