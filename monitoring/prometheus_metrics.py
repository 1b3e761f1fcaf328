"""Prometheus: all metrics in a registry of prometheus_client, and as the text that a server scrapes.

It needs the extra `prometheus`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder

from ..actors.engine import check_alive
from .catalogue import METRICS, SECONDS, Metric
from .counting import Distribution, books
from .reading import Series, read


def prometheus(registry: Any = None, *, port: int | None = None) -> Callable[[], None]:
    """Have all metrics in a registry of prometheus_client, for a program that has an endpoint already.

    Gauges are read when somebody collects; counters and histograms begin at zero now. Two of a program show
    the same.

    Args:
        registry: A `prometheus_client.CollectorRegistry`; by default the global one.
        port: Serve that registry there, on 127.0.0.1, by a thread of prometheus_client's; 0 lets the system
            choose. By default nothing is served.

    Returns:
        What ends it.

    Raises:
        ImportError: prometheus-client is not installed.
        ValueError: They are in that registry already.
        OSError: The port cannot be listened at.
    """
    check_alive()
    into: CollectorRegistry = REGISTRY if registry is None else registry
    collector = Collector()
    into.register(collector)
    try:
        served = None if port is None else start_http_server(port, "127.0.0.1", into)
    except BaseException:
        into.unregister(collector)
        raise
    close = books.open()

    def end() -> None:
        try:
            into.unregister(collector)
        except KeyError:
            # It was ended before.
            return
        close()
        if served is not None:
            server, thread = served
            server.shutdown()
            server.server_close()
            thread.join()

    return end


class Collector:
    """What prometheus_client asks for the metrics."""

    def describe(self) -> Iterable[Any]:
        """The names, without a look at anything."""
        return [_family(metric, {}) for metric in METRICS]

    def collect(self) -> Iterable[Any]:
        """Everything as it is now."""
        return [_family(metric, series) for metric, series in read()]


def exposition(accepted: str) -> tuple[bytes, str]:
    """All metrics in the format that whoever asks accepts best.

    Args:
        accepted: The header `Accept` of the request.

    Returns:
        The text, and its content type.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    encode, content_type = choose_encoder(accepted)
    return encode(registry), content_type


def _family(metric: Metric, series: Series) -> Any:
    name, about, labels = metric.prometheus, metric.about, metric.labels
    match metric.kind:
        case "gauge":
            family: Any = GaugeMetricFamily(name, about, labels=labels)
        case "counter":
            family = CounterMetricFamily(name, about, labels=labels)
        case _:
            family = HistogramMetricFamily(name, about, labels=labels)
    for values, value in series.items():
        if isinstance(value, Distribution):
            family.add_metric(values, buckets=_buckets(value), sum_value=value.total)
        else:
            family.add_metric(values, value)
    return family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    """Prometheus' buckets, each of which counts those below it, too."""
    bounds = [*(str(bound) for bound in SECONDS), "+Inf"]
    total, found = 0, []
    for bound, count in zip(bounds, distribution.counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
