from __future__ import annotations

import pytest

from orders.measure import Gauge, Latencies, LatencyStatistics


def test_the_gauge_remembers_the_most_that_were_inside_at_once() -> None:
    gauge = Gauge()

    with gauge:
        with gauge:
            pass
        with gauge:
            pass

    assert gauge.most == 2


def test_whoever_leaves_by_an_exception_is_outside() -> None:
    gauge = Gauge()

    with pytest.raises(KeyboardInterrupt), gauge:
        raise KeyboardInterrupt
    with gauge:
        pass

    assert gauge.most == 1


def test_percentiles_are_those_of_the_answers_and_errors_count_as_requests() -> None:
    latencies = Latencies()
    for milliseconds in range(100, 0, -1):
        latencies.answered(milliseconds / 1000)
    latencies.failed()

    assert latencies.statistics() == LatencyStatistics(requests=101, errors=1, p50_ms=50.0, p99_ms=99.0)


def test_nothing_asked_has_no_latency() -> None:
    assert Latencies().statistics() == LatencyStatistics(requests=0, errors=0, p50_ms=None, p99_ms=None)
