"""Metrics and traces, as OpenTelemetry's own SDK keeps them in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from resprout import Agent, GenServer, Task, monitoring, process, telemetry, throttle
from resprout.actors import ChildSpec, NoReply, Ok, Pid, Reply
from resprout.actors.engine import Call, RunnablePid
from resprout.monitoring.catalogue import SECONDS
from resprout.monitoring.traced_processes import Carried
from resprout.monitoring.traced_processes import tracing as processes
from resprout.stages import Consumer, Events, Producer
from resprout.throttle.engine import Job

from ..scripted import Runs
from ..waiting import WATCHDOG, down_of, until

Supervised = Callable[..., Pid]


# Metrics


@pytest.fixture
def collect() -> Iterator[Callable[[], dict[str, Any]]]:
    """Give the points of each metric as the SDK collects them."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    end = monitoring.opentelemetry(provider.get_meter("test"))

    def points() -> dict[str, Any]:
        data = reader.get_metrics_data()
        if data is None:
            return {}
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    yield points
    end()
    assert all(not metric.data.data_points for name, metric in points().items() if "throttle.num" in name)
    provider.shutdown()


def test_the_metrics_have_the_same_names_units_and_kinds(collect: Callable[[], dict[str, Any]]) -> None:
    throttle.new("till", 3)
    throttle.run("till", int)
    found = collect()
    throttle.stop_lock("till")
    for metric in monitoring.METRICS:
        if metric.name in found:
            assert found[metric.name].unit == metric.unit
            assert found[metric.name].description == metric.about
    kinds = {name: type(metric.data).__name__ for name, metric in found.items()}
    assert kinds["resprout.process.messages"] == "Gauge"
    assert kinds["resprout.throttle.shed"] == "Sum"
    assert kinds["resprout.throttle.wait"] == "Histogram"
    (slots,) = (
        each
        for each in found["resprout.throttle.num_slots"].data.data_points
        if each.attributes == {"lock": "till"}
    )
    assert slots.value == 3
    (wait,) = (
        each
        for each in found["resprout.throttle.wait"].data.data_points
        if each.attributes == {"lock": "till"}
    )
    assert (wait.count, wait.explicit_bounds) == (1, SECONDS)
    assert found["resprout.throttle.shed"].data.is_monotonic


# Traces


class Traces:
    """The spans that have ended, and a tracer for spans of the test's own."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    def spans(self) -> list[Any]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> Any:
        """The one span of a name, once it has ended."""
        until(lambda: [each for each in self.spans() if each.name == name])
        (found,) = (each for each in self.spans() if each.name == name)
        return found

    def parent_of(self, name: str) -> str | None:
        """Who began it, once that one has ended as well: a span may end before the one that it stands in."""
        parent = self.named(name).parent
        if parent is None:
            return None
        until(lambda: parent.span_id in [each.context.span_id for each in self.spans()])
        return next(each.name for each in self.spans() if each.context.span_id == parent.span_id)


@pytest.fixture
def traces() -> Iterator[Traces]:
    made = Traces()
    end = monitoring.tracing(made.tracer)
    yield made
    end()


class Clerk(GenServer):
    """Passes on, on a thread of the pool."""

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "crash":
            raise ValueError("as told")
        if state is not None:
            return Reply(GenServer.call(state, message), state)
        return Reply(message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        if state is not None:
            GenServer.cast(state, message)
        elif isinstance(message, threading.Event):
            message.set()
        return NoReply(state)


class Quick(Clerk):
    """The same on the thread of the sender."""

    blocking = False


class Calm(GenServer):
    """The same on an event loop."""

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        await asyncio.sleep(0)
        return Reply(message if state is None else await GenServer.acall(state, message), state)

    async def handle_cast(self, message: Any, state: Any) -> Any:
        await asyncio.sleep(0)
        if state is not None:
            GenServer.cast(state, message)
        elif isinstance(message, threading.Event):
            message.set()
        return NoReply(state)


class Last(Clerk):
    pass


@pytest.mark.parametrize("middle", [Clerk, Quick, Calm])
def test_a_call_is_a_span_below_that_of_its_caller(traces: Traces, middle: Any) -> None:
    last = Last.start()
    first = middle.start(last)
    with traces.tracer.start_as_current_span("request"):
        assert GenServer.call(first, 3) == 3
    assert traces.parent_of("call Last") == f"call {middle.__name__}"
    assert traces.parent_of(f"call {middle.__name__}") == "request"
    span = traces.named("call Last")
    assert (span.kind, span.attributes["resprout.message"]) == (SpanKind.SERVER, "int")
    assert span.attributes["resprout.process"] == str(last)
    for each in (first, last):
        GenServer.stop(each)


@pytest.mark.parametrize("middle", [Clerk, Quick, Calm])
def test_a_cast_is_a_span_below_that_of_its_sender(traces: Traces, middle: Any) -> None:
    last, done = Last.start(), threading.Event()
    first = middle.start(last)
    with traces.tracer.start_as_current_span("request"):
        GenServer.cast(first, done)
    assert done.wait(WATCHDOG)
    assert traces.named("cast Last").kind is SpanKind.CONSUMER
    assert traces.parent_of("cast Last") == f"cast {middle.__name__}"
    assert traces.parent_of(f"cast {middle.__name__}") == "request"
    for each in (first, last):
        GenServer.stop(each)


def test_a_coroutine_that_calls_is_the_caller(traces: Traces) -> None:
    async def main() -> None:
        calm = await Calm.astart()
        with traces.tracer.start_as_current_span("request"):
            assert await GenServer.acall(calm, 1) == 1
            GenServer.acast(calm, 1)
            assert await GenServer.acall(calm, 2) == 2
        await GenServer.astop(calm)

    asyncio.run(main())
    assert [each.name for each in traces.spans()] == ["call Calm", "cast Calm", "call Calm", "request"]
    (request,) = (each for each in traces.spans() if each.name == "request")
    below = [each.parent.span_id for each in traces.spans() if each.parent is not None]
    assert below == [request.context.span_id] * 3


def test_what_a_server_does_later_is_no_part_of_an_earlier_call(traces: Traces) -> None:
    pid = Runs.start()
    with traces.tracer.start_as_current_span("request"):
        GenServer.call(pid, int)
    assert GenServer.call(pid, trace.get_current_span) is not None
    first, second = (each for each in traces.spans() if each.name == "call Runs")
    assert first.parent is not None
    assert second.parent is None
    GenServer.stop(pid)


def test_a_server_that_was_started_in_a_span_is_no_part_of_it_for_ever(traces: Traces) -> None:
    with traces.tracer.start_as_current_span("request"):
        pid = Runs.start()
    GenServer.call(pid, int)
    assert traces.parent_of("call Runs") is None
    GenServer.stop(pid)


def test_tasks_are_a_part_of_what_has_started_them(traces: Traces) -> None:
    pid = Last.start()
    with traces.tracer.start_as_current_span("request"):
        Task.await_(Task.async_(GenServer.call, pid, 1))
    assert traces.parent_of("call Last") == "request"
    GenServer.stop(pid)


def test_an_agent_is_a_server_as_well(traces: Traces) -> None:
    agent = Agent.start(lambda: 3)
    with traces.tracer.start_as_current_span("request"):
        assert Agent.get(agent, lambda state: state) == 3
    assert any(each.parent is not None for each in traces.spans() if each.name.startswith("call"))
    Agent.stop(agent)


def test_a_span_tells_the_child_and_the_crash(traces: Traces, supervised: Supervised) -> None:
    supervised(ChildSpec("clerk", (Last.start_link, (), {"name": "clerk"})))
    pid = process.whereis("clerk")
    assert pid is not None
    ref = process.monitor(pid)
    with pytest.raises(Exception, match="as told"):
        GenServer.call(pid, "crash")
    down_of(ref)
    span = traces.named("call Last")
    assert span.attributes["resprout.child"] == "clerk"
    assert span.status.status_code is StatusCode.ERROR
    assert [event.attributes["exception.message"] for event in span.events] == ["as told"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_job_of_execute_is_a_span_below_that_of_who_asked(traces: Traces, asynchronous: bool) -> None:
    throttle.new("till", 1)

    def work() -> str:
        with traces.tracer.start_as_current_span("work"):
            return "done"

    async def awork() -> str:
        await asyncio.sleep(0)
        return work()

    try:
        with traces.tracer.start_as_current_span("request"):
            job = throttle.execute("till", awork) if asynchronous else throttle.execute("till", work)
        assert job.result(WATCHDOG) == "done"
        assert traces.parent_of("execute till") == "request"
        assert traces.parent_of("work") == "execute till"
        assert traces.named("execute till").attributes["resprout.lock"] == "till"
    finally:
        throttle.stop_lock("till")


class Numbers(Producer):
    def init(self, arg: Any) -> Any:
        return Ok(None)

    def handle_demand(self, demand: int, state: Any) -> Any:
        return NoReply(state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return NoReply(state, events=message)


class Sink(Consumer):
    def init(self, arg: Any) -> Any:
        return Ok(None, subscribe_to=[arg])

    def handle_events(self, events: Any, from_: Any, state: Any) -> Any:
        for each in events:
            each.set()
        return NoReply(state)


class CalmSink(Sink):
    async def handle_events(self, events: Any, from_: Any, state: Any) -> Any:
        await asyncio.sleep(0)
        return super().handle_events(events, from_, state)


@pytest.mark.parametrize("kind", [Sink, CalmSink])
def test_a_batch_of_events_is_a_span_below_that_of_its_producer(traces: Traces, kind: Any) -> None:
    source = Numbers.start()
    sink = kind.start(source)
    done = [threading.Event(), threading.Event()]
    until(lambda: source.actor._core.requested)
    with traces.tracer.start_as_current_span("request"):
        GenServer.cast(source, done)
    assert all(each.wait(WATCHDOG) for each in done)
    span = traces.named(f"events {kind.__name__}")
    assert span.attributes["resprout.events"] == 2
    assert traces.parent_of(f"events {kind.__name__}") == "cast Numbers"
    assert traces.parent_of("cast Numbers") == "request"
    for each in (sink, source):
        GenServer.stop(each)


def test_servers_from_before_are_traced_and_after_the_end_nobody_is() -> None:
    made, pid = Traces(), Last.start()
    originals = (Call.__init__, RunnablePid.cast, RunnablePid.cast_at_once, Job.__init__, Events.__init__)
    end = monitoring.tracing(made.tracer)
    with pytest.raises(RuntimeError, match="end the tracing that there is first"):
        monitoring.tracing(made.tracer)
    GenServer.call(pid, 1)
    end()
    end()
    now = (Call.__init__, RunnablePid.cast, RunnablePid.cast_at_once, Job.__init__, Events.__init__)
    assert now == originals
    assert not telemetry.enabled(("resprout", "process", "started"))
    assert GenServer.call(pid, 2) == 2
    assert [each.name for each in made.spans()] == ["call Last"]
    GenServer.stop(pid)


def test_a_message_on_its_way_when_the_tracing_ends_is_handled_as_ever() -> None:
    gate, here, done = threading.Event(), threading.Event(), threading.Event()
    pid, made = Runs.start(), Traces()
    end = monitoring.tracing(made.tracer)

    def wait() -> None:
        here.set()
        gate.wait(WATCHDOG)

    GenServer.cast(pid, wait)
    GenServer.cast(pid, done.set)
    assert here.wait(WATCHDOG)
    end()
    gate.set()
    assert done.wait(WATCHDOG)
    assert [each.name for each in made.spans()] in ([], ["cast Runs"])
    GenServer.stop(pid)


def test_a_message_is_shown_as_it_is() -> None:
    assert repr(Carried({"a": 1}, None)) == "{'a': 1}"


def test_what_is_not_traced_makes_what_it_always_makes() -> None:
    """The hot path: nothing is added to a call, a cast or a batch of events while nobody traces."""
    assert processes.tracer is None
    pid = Last.start()
    call = pid.request(1)
    assert call.__dict__ == {}
    assert vars(pid.actor).keys() <= {"pid"} | vars(Last()).keys()
    GenServer.stop(pid)
