"""Metrics for OpenTelemetry, with the same names. It needs the extra `otel`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Final

from opentelemetry import metrics

from ..actors.engine import check_alive, lock
from .catalogue import BY_NAME, METRICS, SECONDS, Labels, Metric
from .counting import Distribution, books
from .reading import Series, read

_FRESH: Final = 0.25
"""Seconds for which a look at everything serves: a collection asks for one metric after the other."""


def opentelemetry(meter: Any = None) -> Callable[[], None]:
    """Have all metrics with OpenTelemetry.

    Gauges and counters are read when somebody collects; histograms are recorded as things happen.

    Args:
        meter: An `opentelemetry.metrics.Meter`; by default one of the global provider, named `resprout`.

    Returns:
        What ends it (instruments stay registered, as OpenTelemetry has it, and report nothing more).

    Raises:
        ImportError: opentelemetry-api is not installed.
    """
    check_alive()
    made: metrics.Meter = meter if meter is not None else metrics.get_meter("resprout")
    look = _Look()
    histograms: dict[str, metrics.Histogram] = {}
    for metric in METRICS:
        if metric.kind == "histogram":
            histograms[metric.name] = _histogram(made, metric)
            continue
        create = made.create_observable_gauge
        if metric.kind == "counter":
            create = made.create_observable_counter  # type: ignore[assignment]  # it takes the same
        callback = look.observer(metric)
        create(metric.name, callbacks=[callback], unit=metric.unit, description=metric.about)

    def record(name: str, labels: Labels, value: float) -> None:
        histogram = histograms.get(name)
        if histogram is not None:
            histogram.record(value, _attributes(BY_NAME[name], labels))

    close = books.open(record)

    def end() -> None:
        look.over = True
        close()

    return end


class _Look:
    """One look at everything for all the metrics of a collection.

    Attributes:
        over: Whether nothing is to be reported any more.
    """

    def __init__(self) -> None:
        self.over = False
        self._at = -_FRESH
        self._found: Mapping[str, Series] = {}
        self._looking = lock()

    def observer(self, metric: Metric) -> Callable[[Any], Iterable[metrics.Observation]]:
        """The callback of a metric."""

        def observe(_options: Any) -> Iterable[metrics.Observation]:
            if self.over:
                return []
            return [
                metrics.Observation(value, _attributes(metric, labels))
                for labels, value in self._read()[metric.name].items()
                if not isinstance(value, Distribution)
            ]

        return observe

    def _read(self) -> Mapping[str, Series]:
        with self._looking:
            if monotonic() - self._at >= _FRESH:
                self._found = {metric.name: series for metric, series in read()}
                self._at = monotonic()
            return self._found


def _histogram(meter: metrics.Meter, metric: Metric) -> metrics.Histogram:
    options: dict[str, Any] = {"unit": metric.unit, "description": metric.about}
    advice = "explicit_bucket_boundaries_advisory"
    if advice in inspect.signature(meter.create_histogram).parameters:  # since opentelemetry-api 1.30
        options[advice] = SECONDS
    return meter.create_histogram(metric.name, **options)


def _attributes(metric: Metric, labels: Labels) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))
