"""Traces for OpenTelemetry: spans for what servers and jobs of `execute` do, below those of who asked.

It needs the extra `otel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode

from ..actors import Pid
from ..actors.engine import check_alive
from .labels import label_of
from .traced_processes import tracing as processes

_KINDS: Final = {"call": SpanKind.SERVER, "cast": SpanKind.CONSUMER, "events": SpanKind.CONSUMER}


def tracing(tracer: Any = None) -> Callable[[], None]:
    """Trace what processes do for each other, from now on.

    A span begins when a server's `handle_call`, `handle_cast` or, of a stage, `handle_events` does, or a job
    of `throttle.execute`, and ends when that returns. Its parent is the span in which the call was made,
    wherever that was: another process, thread, task or event loop. Tasks and spawned functions begin in a
    copy of their starter's context, so what they do is a part of the same trace.

    Args:
        tracer: An `opentelemetry.trace.Tracer`; by default one of the global provider, named `resprout`.

    Returns:
        What ends it. Messages on their way are handled as ever.

    Raises:
        ImportError: opentelemetry-api is not installed.
        RuntimeError: Somebody traces already.
    """
    check_alive()
    spans = _Spans(tracer if tracer is not None else trace.get_tracer("resprout"))
    processes.begin(spans)

    def end() -> None:
        processes.end(spans)

    return end


class _Spans:
    """What `traced_processes` asks for contexts and spans."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer
        self._about: WeakKeyDictionary[Pid, dict[str, str]] = WeakKeyDictionary()

    def carry(self) -> Context:
        """The context of the code that asks."""
        return contexts.get_current()

    @contextmanager
    def working(self, what: str, pid: Pid, carried: object, message: object) -> Iterator[None]:
        """A span for what a server does."""
        about = self._about.get(pid)
        if about is None:
            about = {"resprout.process": str(pid), "resprout.child": label_of(pid)}
            self._about[pid] = about
        attributes: dict[str, Any] = dict(about)
        if what == "events":
            attributes["resprout.events"] = len(message)  # type: ignore[arg-type]  # a list
        else:
            attributes["resprout.message"] = type(message).__name__
        name = f"{what} {type(pid.actor).__name__}"
        with self._span(name, _KINDS[what], carried, attributes):
            yield

    @contextmanager
    def executing(self, lock: str, carried: object) -> Iterator[None]:
        """A span for a job."""
        with self._span(f"execute {lock}", SpanKind.INTERNAL, carried, {"resprout.lock": lock}):
            yield

    @contextmanager
    def taking(self, carried: object) -> Iterator[None]:
        """No span, only the context."""
        before = contexts.get_current()
        contexts.attach(_context(carried))
        try:
            yield
        finally:
            contexts.attach(before)

    @contextmanager
    def _span(self, name: str, kind: SpanKind, carried: object, about: dict[str, Any]) -> Iterator[None]:
        parent = _context(carried)
        span = self._tracer.start_span(name, context=parent, kind=kind, attributes=about)
        before = contexts.get_current()
        # Not detached by a token: a coroutine's steps may be taken in several copies of one context.
        contexts.attach(trace.set_span_in_context(span, parent))
        try:
            yield
        except BaseException as error:
            if span.is_recording():
                if isinstance(error, Exception):
                    span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
            raise
        finally:
            contexts.attach(before)
            span.end()


def _context(carried: object) -> Context:
    return carried if isinstance(carried, Context) else Context()
