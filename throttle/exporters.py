"""Locks in the monitoring that you have: OpenTelemetry metrics, a Prometheus endpoint (extras, both).

::

    detach = exporters.opentelemetry()           # pip install resprout[otel]
    detach = exporters.prometheus(port=9100)     # pip install resprout[prometheus]

Counters and histograms follow the events (see ``events``), so each costs a little per acquire; gauges are
read when somebody collects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..actors import LockNotFound, telemetry
from ..actors.engine import check_alive
from . import admin
from .lock import events

if TYPE_CHECKING:
    from .ledger.values import LockInfo, LockState

Detach = Callable[[], None]
SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Upper bounds of the histograms' buckets."""
_EVENTS = (events.WAIT, events.HOLD, events.SHED, events.TIMEOUT)


def _attach(id: object, handle: Callable[[str, Mapping[str, Any], str], None]) -> Detach:
    """Listen to the events that are counted: handle(kind, measurements, lock)."""

    def hear(event: telemetry.Event, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        handle(event[-1], measurements, metadata["name"])

    ids = [(id, event) for event in _EVENTS]
    for each in ids:
        telemetry.attach(each, each[1], hear)

    def detach() -> None:
        for each in ids:
            telemetry.detach(each)

    return detach


def _states() -> Iterable[tuple[LockInfo, LockState]]:
    for name in admin.locks():
        try:
            yield admin.lock_info(name), admin.lock_state(name)
        except LockNotFound:
            # Stopped since it was listed.
            continue


def opentelemetry(meter: Any = None) -> Detach:
    """Export to OpenTelemetry.

    Args:
        meter: an ``opentelemetry.metrics.Meter``; by default that of the global provider, named
            ``resprout.throttle``.

    Returns:
        What ends it (instruments stay registered, as OpenTelemetry has it, and report nothing more).

    Raises:
        ImportError: opentelemetry-api is not installed.
    """
    check_alive()
    from opentelemetry import metrics

    meter = meter if meter is not None else metrics.get_meter("resprout.throttle")
    wait = meter.create_histogram(
        "resprout.throttle.lock.waiting", unit="s", description="How long slots are waited for."
    )
    hold = meter.create_histogram("resprout.throttle.hold", unit="s", description="How long slots are held.")
    shed = meter.create_counter(
        "resprout.throttle.shed", description="Requests refused since the line was full."
    )
    timeout = meter.create_counter("resprout.throttle.timeouts", description="Requests that gave up waiting.")
    live = [True]

    def gauge(read: Callable[[LockInfo, LockState], int]) -> Callable[[Any], Iterable[metrics.Observation]]:
        def observe(_options: Any) -> Iterable[metrics.Observation]:
            if live:
                for info, state in _states():
                    yield metrics.Observation(read(info, state), {"lock": info.name})

        return observe

    for name, read in _GAUGES.items():
        meter.create_observable_gauge(f"resprout.throttle.{name}", callbacks=[gauge(read)])

    def handle(kind: str, measurements: Mapping[str, Any], lock: str) -> None:
        attributes = {"lock": lock}
        match kind:
            case "wait":
                wait.record(measurements["seconds"], attributes)
            case "hold":
                hold.record(measurements["seconds"], attributes)
            case "shed":
                shed.add(1, attributes)
            case _:
                timeout.add(1, attributes)

    detach = _attach(("resprout.throttle", "opentelemetry", id(meter)), handle)

    def end() -> None:
        live.clear()
        detach()

    return end


def prometheus(registry: Any = None, *, port: int | None = None) -> Detach:
    """Export to Prometheus.

    Args:
        registry: a ``prometheus_client.CollectorRegistry``; by default the global one.
        port: serve ``/metrics`` there, on 127.0.0.1; by default nothing is served, since most programs have
            an endpoint already.

    Returns:
        What ends it.

    Raises:
        ImportError: prometheus-client is not installed.
    """
    check_alive()
    import prometheus_client
    from prometheus_client.core import GaugeMetricFamily

    registry = registry if registry is not None else prometheus_client.REGISTRY
    common: dict[str, Any] = {"labelnames": ["lock"], "registry": registry}
    buckets: dict[str, Any] = {"buckets": SECONDS, **common}
    wait = prometheus_client.Histogram(
        "resprout_throttle_wait_seconds", "How long slots are waited for.", **buckets
    )
    hold = prometheus_client.Histogram(
        "resprout_throttle_hold_seconds", "How long slots are held.", **buckets
    )
    shed = prometheus_client.Counter(
        "resprout_throttle_shed", "Requests refused since the line was full.", **common
    )
    timeout = prometheus_client.Counter(
        "resprout_throttle_timeouts", "Requests that gave up waiting.", **common
    )

    class Gauges:
        """Reads all locks when somebody collects."""

        def collect(self) -> Iterable[Any]:
            found = list(_states())
            for name, read in _GAUGES.items():
                family = GaugeMetricFamily(
                    f"resprout_throttle_{name}", f"The locks' {name}.", labels=["lock"]
                )
                for info, state in found:
                    family.add_metric([info.name], read(info, state))
                yield family

    gauges = Gauges()
    registry.register(gauges)

    def handle(kind: str, measurements: Mapping[str, Any], lock: str) -> None:
        match kind:
            case "wait":
                wait.labels(lock).observe(measurements["seconds"])
            case "hold":
                hold.labels(lock).observe(measurements["seconds"])
            case "shed":
                shed.labels(lock).inc()
            case _:
                timeout.labels(lock).inc()

    detach = _attach(("resprout.throttle", "prometheus", id(registry)), handle)
    server, thread = (
        prometheus_client.start_http_server(port, "127.0.0.1", registry) if port is not None else (None, None)
    )

    def end() -> None:
        detach()
        for collector in (gauges, wait, hold, shed, timeout):
            registry.unregister(collector)
        if server is not None and thread is not None:
            server.shutdown()
            server.server_close()
            thread.join()

    return end


_GAUGES: dict[str, Callable[[Any, Any], int]] = {
    "running": lambda info, state: state.running,
    "waiting": lambda info, state: state.waiting,
    "used": lambda info, state: state.used,
    "num_slots": lambda info, state: info.num_slots,
}
