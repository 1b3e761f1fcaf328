from __future__ import annotations

import pytest

from orders import measure
from orders.measure import Gauge, Latencies, LatencyStatistics, Lent


def test_the_gauge_remembers_the_most_that_were_inside_at_once() -> None:
    gauge = Gauge()

    with gauge:
        with gauge:
            assert gauge.inside == 2
        with gauge:
            pass

    assert gauge.most == 2
    assert gauge.inside == 0


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

    assert latencies.statistics() == LatencyStatistics(
        requests=101, errors=1, p50_ms=50.0, p95_ms=95.0, p99_ms=99.0, max_ms=100.0
    )


def test_nothing_asked_has_no_latency() -> None:
    assert Latencies().statistics() == LatencyStatistics(0, 0, None, None, None, None)


def test_no_connection_is_free_when_api_and_consumers_have_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("to_api", "to_consumers"):
        monkeypatch.setattr(measure, name, Lent())
    monkeypatch.setattr(measure, "pool_size", 2)

    with measure.to_consumers.out:
        assert not measure.all_are_out()
        with measure.to_api.out:
            assert measure.all_are_out()
    assert not measure.all_are_out()
