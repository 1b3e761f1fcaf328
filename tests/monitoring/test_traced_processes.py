"""What of a trace goes with messages, whoever traces; with OpenTelemetry it is `test_opentelemetry`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from resprout import throttle
from resprout.actors import Pid
from resprout.monitoring.traced_processes import tracing

from ..waiting import WATCHDOG


class Tracer:
    """Notes for what there were spans."""

    def __init__(self) -> None:
        self.spans: list[str] = []

    def carry(self) -> object:
        return "here"

    @contextmanager
    def working(self, what: str, pid: Pid, carried: object, message: object) -> Iterator[None]:
        self.spans.append(what)
        yield

    @contextmanager
    def executing(self, lock: str, carried: object) -> Iterator[None]:
        self.spans.append(lock)
        yield

    @contextmanager
    def taking(self, carried: object) -> Iterator[None]:
        yield


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    made = Tracer()
    tracing.begin(made)
    yield made
    tracing.end(made)


async def one() -> int:
    return 1


@pytest.mark.parametrize("job", [lambda: 1, one])
@pytest.mark.parametrize("another_begins", [False, True])
def test_a_job_that_is_in_line_when_its_tracing_ends_has_no_span(
    job: object, another_begins: bool, tracer: Tracer
) -> None:
    throttle.new("traced", 1)
    begun, gate = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return gate.wait(WATCHDOG)

    first = throttle.execute("traced", wait)
    assert begun.wait(WATCHDOG)
    second = throttle.execute("traced", job)
    tracing.end(tracer)
    another = Tracer()
    if another_begins:
        tracing.begin(another)
    try:
        gate.set()
        assert first.result(WATCHDOG) is True
        assert second.result(WATCHDOG) == 1
        assert (tracer.spans, another.spans) == (["traced"], [])
    finally:
        tracing.end(another)
        throttle.stop_lock("traced")
