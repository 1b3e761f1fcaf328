"""What a temporary child was started with is forgotten when it runs, as it is never started again."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from resprout import supervision, throttle
from resprout.actors import ChildSpec, GenServer, LockNotFound, NoReply, Ok, Pid, Stop, process
from resprout.supervision import (
    UNDEFINED,
    DynamicSupervisor,
    SpecError,
    Supervisor,
    TaskSupervisor,
    child_spec,
    quiesce,
)


class Big:
    """What one would not like to keep."""


class Forgetful(GenServer):
    """Drops what it was started with."""

    blocking = False

    def init(self, arg: Any) -> Any:
        return Ok(None)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return NoReply(state) if message == "go on" else Stop(message, state)

    @classmethod
    def begin(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.start_link()


class Maker:
    """Its bound method is a start function that holds something."""

    def __init__(self, big: Big) -> None:
        self.big = big

    def __call__(self) -> Any:
        return Forgetful.start_link()

    start = __call__


def plain(*args: Any) -> Any:
    return Forgetful.start_link()


STARTS = {
    "arguments": lambda big: (Forgetful.start_link, (big,)),
    "keyword arguments": lambda big: (Forgetful.begin, (), {"big": big}),
    "a closure": lambda big: lambda: (Forgetful.start_link(), big)[0],
    "a partial": lambda big: functools.partial(plain, big),
    "a bound method": lambda big: Maker(big).start,
    "an object": Maker,
}


@pytest.fixture(params=[Supervisor, DynamicSupervisor])
def supervisor(request: pytest.FixtureRequest) -> Iterator[Pid]:
    pid = request.param.start_link()
    yield pid
    Supervisor.stop(pid)


def begin(supervisor: Pid, make: Any, **fields: Any) -> tuple[Any, weakref.ref[Big]]:
    """Starts a child with something big; the child and whether that is still there."""
    big = Big()
    spec = ChildSpec("c", make(big), **fields)
    return Supervisor.start_child(supervisor, spec), weakref.ref(big)


def spec_of(supervisor: Pid, child: Any) -> ChildSpec:
    (info,) = Supervisor.which_children(supervisor)
    assert info.pid is child
    if info.id is None:
        return DynamicSupervisor.get_child_spec(supervisor, child)
    return Supervisor.get_child_spec(supervisor, info.id)


def terminate(supervisor: Pid, child: Any) -> None:
    (info,) = Supervisor.which_children(supervisor)
    if info.id is None:
        DynamicSupervisor.terminate_child(supervisor, child)
    else:
        Supervisor.terminate_child(supervisor, info.id)


@pytest.mark.parametrize("make", STARTS.values(), ids=STARTS)
def test_what_a_temporary_child_was_started_with_is_not_kept(supervisor: Pid, make: Any) -> None:
    child, big = begin(supervisor, make, restart="temporary")
    gc.collect()
    assert child.alive
    assert big() is None
    assert spec_of(supervisor, child).start[1:] == (UNDEFINED, {})


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_what_others_were_started_with_is_kept(supervisor: Pid, restart: Any) -> None:
    child, big = begin(supervisor, STARTS["arguments"], restart=restart)
    gc.collect()
    assert spec_of(supervisor, child).start[1] == (big(),)
    assert big() is not None
    process.exit(child, "kill")
    quiesce()
    assert Supervisor.count_children(supervisor).active == 1


def test_a_task_of_a_task_supervisor_is_the_only_one_that_holds_its_arguments() -> None:
    supervisor = TaskSupervisor.start_link()
    big = Big()
    seen = weakref.ref(big)

    def work() -> None:
        # Not handed on to another function: until 3.11 a caller keeps what it calls with.
        arguments.pop()
        process.receive(lambda message: message == "end")

    arguments = [big]
    child = TaskSupervisor.start_child(supervisor, work)
    nolink = TaskSupervisor.async_nolink(supervisor, process.sleep, 30)
    del big
    quiesce()
    gc.collect()
    assert seen() is None
    for pid in (child, nolink.pid):
        assert DynamicSupervisor.get_child_spec(supervisor, pid).start[1] is UNDEFINED
    TaskSupervisor.stop(supervisor)


def test_the_rest_of_the_spec_stays(supervisor: Pid) -> None:
    child, _ = begin(supervisor, STARTS["arguments"], restart="temporary", shutdown=1.5)
    spec = spec_of(supervisor, child)
    assert (spec.id, spec.restart, spec.shutdown, spec.start[0]) == (
        "c",
        "temporary",
        1.5,
        Forgetful.start_link,
    )
    (node,) = supervision.tree(supervisor).children
    assert (node.id, node.pid, node.restart, node.module) == ("c", child, "temporary", "Forgetful")
    terminate(supervisor, child)
    assert Supervisor.count_children(supervisor).specs == 0


def test_the_given_spec_is_left_alone_and_starts_another(supervisor: Pid) -> None:
    big = Big()
    spec = ChildSpec("c", (Forgetful.start_link, (big,)), restart="temporary")
    child: Any = Supervisor.start_child(supervisor, spec)
    assert spec.start[1] == (big,)
    GenServer.cast(child, "normal")
    quiesce()
    assert Supervisor.start_child(supervisor, spec) is not child


@pytest.mark.parametrize("make", ["arguments", "a closure"])
def test_a_spec_without_arguments_starts_nothing_and_says_why(supervisor: Pid, make: str) -> None:
    child, _ = begin(supervisor, STARTS[make], restart="temporary")
    spec = spec_of(supervisor, child)
    for use in (
        lambda: Supervisor.start_child(supervisor, spec),
        lambda: child_spec(spec, id="other"),
        lambda: ChildSpec("other", spec.start),
    ):
        with pytest.raises(SpecError, match="those of a temporary child are not kept"):
            use()
    assert Supervisor.count_children(supervisor).specs == 1


def test_a_start_that_wants_to_know_of_the_end_keeps_its_arguments(supervisor: Pid) -> None:
    told = []

    def start(*args: Any) -> Any:
        return Forgetful.start_link()

    start.given_up = lambda *args: told.append(args)  # type: ignore[attr-defined]
    child: Any = Supervisor.start_child(supervisor, ChildSpec("c", (start, (1, 2)), restart="temporary"))
    GenServer.cast(child, "boom")
    quiesce()
    assert told == [(1, 2)]


def test_a_start_with_a_drain_is_drained_without_its_arguments(supervisor: Pid) -> None:
    drained = []
    big = Big()
    seen = weakref.ref(big)

    def start(*args: Any) -> Any:
        return Forgetful.start_link()

    start.drain = lambda pid, seconds: drained.append((pid, seconds))  # type: ignore[attr-defined]
    child = Supervisor.start_child(supervisor, ChildSpec("c", (start, (big,)), restart="temporary"))
    del big
    gc.collect()
    assert seen() is None
    terminate(supervisor, child)
    assert drained == [(child, 5.0)]


def test_a_temporary_lock_is_stopped_by_its_name(supervisor: Pid) -> None:
    Supervisor.start_child(supervisor, throttle.child_spec("temporary", 1, restart="temporary"))
    with throttle.slot("temporary"):
        pass
    throttle.stop_lock("temporary")
    assert Supervisor.count_children(supervisor).specs == 0
    with pytest.raises(LockNotFound):
        throttle.acquire("temporary")


def test_undefined_is_one_value_however_it_travels() -> None:
    assert pickle.loads(pickle.dumps(UNDEFINED)) is UNDEFINED
    assert copy.deepcopy(UNDEFINED) is UNDEFINED
    assert repr(UNDEFINED) == "UNDEFINED"
