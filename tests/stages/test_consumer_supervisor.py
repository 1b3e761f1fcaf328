"""A child for each event, and not too many at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout import (
    IGNORE,
    ChildSpec,
    Counts,
    Crash,
    Down,
    GenServer,
    NoReply,
    NotFound,
    Ok,
    Pid,
    SpecError,
    StartError,
    Supervisor,
    Task,
    process,
    stages,
    sys,
)
from resprout.stages import ConsumerSupervisor, Producer, consumer_server, from_iterable, subscribe

PATIENCE = 20.0
Keep = Callable[[Any], Pid]


class Pushed(Producer):
    """Sends what it is cast, and tells what it is asked for."""

    blocking = False

    def init(self, told: Any) -> Any:
        return Ok(told)

    def handle_demand(self, demand: int, told: Any) -> Any:
        told.put(demand)
        return NoReply(told)

    def handle_cast(self, events: list[Any], told: Any) -> Any:
        return NoReply(told, events=events)


class Work:
    """Jobs that announce themselves and end when they are told to."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.gates: dict[Any, threading.Semaphore] = {}
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.crash: set[Any] = set()

    def spec(self, restart: str = "temporary") -> ChildSpec:
        return ChildSpec("job", (Task.start_link, (self.job,), {}), restart=restart)  # type: ignore[arg-type]

    def job(self, event: Any) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            gate = self.gates.setdefault(event, threading.Semaphore(0))
        self.begun.put(event)
        try:
            assert gate.acquire(timeout=PATIENCE)
            if event in self.crash:
                self.crash.discard(event)
                raise OSError(event)
        finally:
            with self.lock:
                self.running -= 1

    def await_begun(self, count: int) -> list[Any]:
        return sorted(self.begun.get(timeout=PATIENCE) for _ in range(count))

    def let(self, *events: Any) -> None:
        for event in events:
            with self.lock:
                gate = self.gates.setdefault(event, threading.Semaphore(0))
            gate.release()


@pytest.fixture
def work() -> Iterator[Work]:
    made = Work()
    yield made
    made.let(*made.gates)


def stop(supervisor: Pid, work: Work) -> None:
    work.let(*work.gates)
    ConsumerSupervisor.stop(supervisor)


def await_down(ref: Any) -> Any:
    down = process.receive(lambda message: isinstance(message, Down) and message.ref is ref, timeout=PATIENCE)
    return down.reason


def test_a_child_for_each_event_at_most_the_maximum_at_once(started: Keep, work: Work) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    supervisor = ConsumerSupervisor.start_link(
        work.spec(), subscribe_to=[(a, {"max_demand": 4, "min_demand": 2})]
    )
    assert told.get(timeout=PATIENCE) == 4
    a.cast(["a", "b", "c", "d", "e", "f"])
    assert work.await_begun(4) == ["a", "b", "c", "d"]
    assert ConsumerSupervisor.count_children(supervisor) == Counts(4, 4, 0, 4)
    assert stages.estimate_buffered_count(a) == 2
    work.let("a")
    work.let("b")
    assert work.await_begun(2) == ["e", "f"]
    assert work.most <= 4
    stop(supervisor, work)


def test_all_of_an_iterable_is_worked_on(started: Keep) -> None:
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    spec = ChildSpec("job", (Task.start_link, (done.put,), {}), restart="temporary")
    source = started(from_iterable(range(300), link=False))
    supervisor = ConsumerSupervisor.start_link(
        spec, subscribe_to=[(source, {"max_demand": 10, "cancel": "transient"})]
    )
    assert sorted(done.get(timeout=PATIENCE) for _ in range(300)) == list(range(300))
    ConsumerSupervisor.stop(supervisor)


def test_a_transient_child_that_crashes_works_on_its_event_again_and_counts_as_running(
    started: Keep, work: Work
) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    supervisor = ConsumerSupervisor.start_link(work.spec("transient"), subscribe_to=[(a, {"max_demand": 1})])
    assert told.get(timeout=PATIENCE) == 1
    work.crash.add("a")
    a.cast(["a", "b"])
    work.await_begun(1)
    work.let("a")
    assert work.await_begun(1) == ["a"]
    sys.get_state(supervisor)
    assert stages.estimate_buffered_count(a) == 1
    work.let("a")
    assert work.await_begun(1) == ["b"]
    stop(supervisor, work)


def test_a_temporary_child_that_crashes_is_done(started: Keep, work: Work) -> None:
    a = started(Pushed.start(queue.SimpleQueue()))
    supervisor = ConsumerSupervisor.start_link(work.spec(), subscribe_to=[(a, {"max_demand": 1})])
    work.crash.add("a")
    a.cast(["a", "b"])
    work.await_begun(1)
    work.let("a")
    assert work.await_begun(1) == ["b"]
    stop(supervisor, work)


def test_a_child_that_does_not_start_is_done_and_told_of(
    started: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def start(event: Any) -> Any:
        if event == "ignored":
            return None
        if event == "fails":
            raise OSError("no")
        return Task.start_link(done.put, event)

    a = started(Pushed.start(queue.SimpleQueue()))
    spec = ChildSpec("job", (start, (), {}), restart="transient")
    supervisor = ConsumerSupervisor.start_link(spec, subscribe_to=[(a, {"max_demand": 1})])
    a.cast(["ignored", "fails", "good"])
    assert done.get(timeout=PATIENCE) == "good"
    assert "did not start" in caplog.text
    ConsumerSupervisor.stop(supervisor)


def test_too_many_crashes_end_the_supervisor(started: Keep) -> None:
    process.trap_exit(True)

    def crash(event: Any) -> None:
        raise OSError(event)

    source = started(from_iterable(range(5), link=False))
    spec = ChildSpec("job", (Task.start_link, (crash,), {}), restart="transient")
    supervisor = ConsumerSupervisor.start_link(spec, max_restarts=2)
    ref = process.monitor(supervisor)
    subscribe(supervisor, to=source, max_demand=1)
    assert await_down(ref) == "shutdown"
    process.receive(lambda message: getattr(message, "pid", None) is supervisor, timeout=PATIENCE)
    process.trap_exit(False)


def test_the_end_of_a_permanent_producer_ends_it_with_its_children(started: Keep, work: Work) -> None:
    process.trap_exit(True)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    supervisor = ConsumerSupervisor.start_link(work.spec(), subscribe_to=[a])
    ref = process.monitor(supervisor)
    a.cast(["a"])
    work.await_begun(1)
    (child,) = ConsumerSupervisor.which_children(supervisor)
    GenServer.stop(a, "shutdown")
    work.let("a")
    assert await_down(ref) == "shutdown"
    assert not child.pid.alive  # type: ignore[union-attr]  # it ran
    process.receive(lambda message: getattr(message, "pid", None) is supervisor, timeout=PATIENCE)
    process.trap_exit(False)


def test_the_children_of_a_producer_that_has_gone_go_on(started: Keep, work: Work) -> None:
    a = started(Pushed.start(queue.SimpleQueue()))
    supervisor = ConsumerSupervisor.start_link(work.spec(), subscribe_to=[(a, {"cancel": "temporary"})])
    a.cast(["a"])
    work.await_begun(1)
    GenServer.stop(a)
    assert ConsumerSupervisor.count_children(supervisor).active == 1
    stop(supervisor, work)


def test_children_may_be_started_and_stopped_by_hand(started: Keep, work: Work) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    supervisor = ConsumerSupervisor.start_link(work.spec(), subscribe_to=[(a, {"max_demand": 1})])
    assert told.get(timeout=PATIENCE) == 1
    by_hand = ConsumerSupervisor.start_child(supervisor, "by hand")
    assert work.await_begun(1) == ["by hand"]
    a.cast(["a"])
    assert work.await_begun(1) == ["a"]
    (of_event,) = [
        child.pid for child in ConsumerSupervisor.which_children(supervisor) if child.pid is not by_hand
    ]
    assert told.empty()
    work.let("a", "by hand")
    for pid in (of_event, by_hand):
        try:
            ConsumerSupervisor.terminate_child(supervisor, pid)  # type: ignore[arg-type]  # it runs
        except NotFound:
            pass  # it has ended by itself
    assert told.get(timeout=PATIENCE) == 1
    with pytest.raises(NotFound):
        ConsumerSupervisor.terminate_child(supervisor, by_hand)  # type: ignore[arg-type]  # it ran
    stop(supervisor, work)


def test_a_module_that_says_what_it_is_under_a_supervisor(started: Keep) -> None:
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Printers(ConsumerSupervisor):
        def init(self, arg: Any) -> Any:
            if arg is None:
                return IGNORE
            child = ChildSpec("printer", (Task.start_link, (arg.put,), {}), restart="temporary")
            return ConsumerSupervisor.init_spec(child, subscribe_to=[("numbers", {"cancel": "transient"})])

    children = [
        ChildSpec("numbers", (from_iterable, (range(10),), {"name": "numbers"}), restart="transient"),
        Printers.child_spec(done, name="printers"),
        Printers.child_spec(None, id="none"),
    ]
    tree = Supervisor.start_link(children, strategy="rest_for_one")
    assert sorted(done.get(timeout=PATIENCE) for _ in range(10)) == list(range(10))
    assert type(process.whereis("printers").actor).__name__ == "Printers"  # type: ignore[union-attr]  # it runs
    assert [child.type for child in Supervisor.which_children(tree)][1:] == ["supervisor", "supervisor"]
    Supervisor.stop(tree)


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"restart": "permanent"}, SpecError, "expected 'transient' or 'temporary'"),
        ({"max_restarts": -1}, SpecError, "max_restarts"),
        ({"subscribe_to": [("numbers", {"max_demand": 0})]}, ValueError, "in the subscription to 'numbers'"),
        ({"subscribe_to": "numbers"}, TypeError, "expected subscribe_to to be a list of producers"),
        ({"max_children": 3}, TypeError, "start_link has no option 'max_children'; it has: strategy"),
        ({"strategy": "one_for_all"}, SpecError, "strategy"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(
    work: Work, options: dict[str, Any], error: type[Exception], problem: str
) -> None:
    spec = work.spec(options.pop("restart", "temporary"))
    with pytest.raises(error, match=problem):
        ConsumerSupervisor.start_link(spec, **options)


def test_a_producer_that_is_not_there_is_named(work: Work) -> None:
    with pytest.raises(StartError) as raised:
        ConsumerSupervisor.start_link(work.spec(), subscribe_to=["numbrs"])
    assert isinstance(raised.value.reason, Crash)
    assert "no process: numbrs" in str(raised.value.reason.exception)


def test_what_it_does_not_know_harms_nobody(work: Work) -> None:
    supervisor = ConsumerSupervisor.start_link(work.spec())
    with pytest.raises(Exception, match="use the functions of ConsumerSupervisor"):
        supervisor.call("what?")
    supervisor.cast("what?")
    supervisor.send("what?")
    assert ConsumerSupervisor.which_children(supervisor) == []
    stop(supervisor, work)


def fails(event: Any) -> Any:
    raise ValueError(event)


@pytest.mark.parametrize("pause", [0.01, 3600.0])
def test_where_nothing_can_be_started_it_waits_before_it_asks_for_more(
    started: Keep, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr(consumer_server, "SHORTEST", pause)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    spec = ChildSpec("job", (fails, (), {}), restart="temporary")
    supervisor = ConsumerSupervisor.start_link(spec, subscribe_to=[(a, {"max_demand": 2})])
    assert told.get(timeout=PATIENCE) == 2
    a.cast([1, 2])
    sys.get_state(supervisor)
    sys.get_state(a)
    if pause < 1:
        assert told.get(timeout=PATIENCE) == 2
    else:
        assert told.empty()
    ConsumerSupervisor.stop(supervisor)
