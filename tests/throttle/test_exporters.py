"""Metrics for OpenTelemetry and Prometheus."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import CallTimeout, QueueFull

Lock = Callable[..., str]


def use(name: str, in_thread: Callable[..., Any]) -> None:
    """Wait, hold, be shed, time out: once each."""
    with throttle.slot(name):
        with pytest.raises(QueueFull):
            in_thread(throttle.acquire, name).result(20)
    throttle.resize(name, 1)


def test_prometheus_gets_histograms_counters_and_gauges(lock: Lock, in_thread: Callable[..., Any]) -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    registry = prometheus_client.CollectorRegistry()
    name = lock(1, max_waiting=0)
    end = throttle.exporters.prometheus(registry)
    try:
        use(name, in_thread)
        text = prometheus_client.generate_latest(registry).decode()
    finally:
        end()
    labels = f'{{lock="{name}"}}'
    assert f"resprout_throttle_hold_seconds_count{labels} 1.0" in text
    assert f"resprout_throttle_wait_seconds_count{labels} 1.0" in text
    assert f"resprout_throttle_shed_total{labels} 1.0" in text
    assert f"resprout_throttle_num_slots{labels} 1.0" in text
    assert f"resprout_throttle_running{labels} 0.0" in text
    assert prometheus_client.generate_latest(registry) == b""


def test_prometheus_can_be_served(lock: Lock) -> None:
    prometheus_client = pytest.importorskip("prometheus_client")
    name = lock(3)
    registry = prometheus_client.CollectorRegistry()
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    end = throttle.exporters.prometheus(registry, port=port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            assert f'resprout_throttle_num_slots{{lock="{name}"}} 3.0' in answer.read().decode()
    finally:
        end()


class Instrument:
    def __init__(self) -> None:
        self.seen: list[tuple[float, dict[str, str]]] = []

    def record(self, value: float, attributes: dict[str, str]) -> None:
        self.seen.append((value, attributes))

    add = record


class Meter:
    """Stands for a meter of an SDK: the API alone exports nothing."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def create_histogram(self, name: str, **_: Any) -> Instrument:
        return self.made.setdefault(name, Instrument())

    create_counter = create_histogram

    def create_observable_gauge(self, name: str, callbacks: list[Any]) -> None:
        self.made[name] = callbacks[0]


def test_opentelemetry_gets_the_same(lock: Lock, in_thread: Callable[..., Any]) -> None:
    pytest.importorskip("opentelemetry")
    meter = Meter()
    name = lock(1, max_waiting=0)
    end = throttle.exporters.opentelemetry(meter)
    try:
        use(name, in_thread)
        observed = [
            each
            for each in meter.made["resprout.throttle.num_slots"](None)
            if each.attributes["lock"] == name
        ]
    finally:
        end()
    assert [each.value for each in observed] == [1]
    assert [attributes for _, attributes in meter.made["resprout.throttle.hold"].seen] == [{"lock": name}]
    assert [value for value, _ in meter.made["resprout.throttle.shed"].seen] == [1]
    assert list(meter.made["resprout.throttle.num_slots"](None)) == []


def test_timeouts_are_counted(lock: Lock, in_thread: Callable[..., Any]) -> None:
    pytest.importorskip("opentelemetry")
    meter = Meter()
    name = lock(1)
    end = throttle.exporters.opentelemetry(meter)
    try:
        with throttle.slot(name):
            with pytest.raises(CallTimeout):
                in_thread(throttle.acquire, name, timeout=0).result(20)
    finally:
        end()
    assert len(meter.made["resprout.throttle.timeouts"].seen) == 1
