"""A cluster for all tests, with what each starts gone at its end."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout import Pid, Supervisor, process, telemetry, throttle
from resprout.kafka import GroupSubscriber

from ...waiting import WATCHDOG

try:
    from .cluster import Cluster
except ImportError:
    # There are no wheels of confluent-kafka for this Python: what decides can be tested all the same.
    collect_ignore_glob = ["test_group*", "test_k*", "test_m*", "test_o*"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


class Seen:
    """What handlers were called with, and a wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.calls: list[tuple[int, int, bytes]] = []

    def __call__(self, message: Any) -> None:
        with self._changed:
            self.calls.append((message.partition(), message.offset(), message.value()))
            self._changed.notify_all()

    def wait(self, condition: Callable[[], object]) -> None:
        """Until something is true of the calls."""
        with self._changed:
            assert self._changed.wait_for(condition, WATCHDOG), self.calls[-20:]

    def wait_for(self, count: int) -> None:
        self.wait(lambda: len(self.calls) >= count)

    @property
    def by_partition(self) -> dict[int, list[int]]:
        """The offsets in the order of the calls."""
        found = defaultdict(list)
        for partition, offset, _ in list(self.calls):
            found[partition].append(offset)
        return dict(found)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def config(cluster: Cluster) -> dict[str, Any]:
    """With a session so short that the mock's rebalances, which wait for a second less than that, are."""
    return {
        "bootstrap.servers": cluster.servers,
        "session.timeout.ms": 2200,
        "heartbeat.interval.ms": 100,
        "fetch.wait.max.ms": 10,
        "reconnect.backoff.ms": 50,
        "topic.metadata.refresh.interval.ms": 200,
    }


@pytest.fixture
def subscribe(cluster: Cluster, config: dict[str, Any]) -> Iterator[Callable[..., Pid]]:
    """Start a subscriber, which is stopped at the end of the test."""
    started: list[Pid] = []
    before = process.trap_exit(True)

    def start(topics: Any, group: str, handler: Any, **options: Any) -> Pid:
        topics = [topics] if isinstance(topics, str) else topics
        options["config"] = {**config, **options.get("config", {})}
        pid = GroupSubscriber(topics, group, handler, **options).start_link()
        started.append(pid)
        return pid

    yield start
    for pid in reversed(started):
        if pid.alive:
            Supervisor.stop(pid)
    process.trap_exit(bool(before))


@pytest.fixture
def hold(subscribe: object) -> Iterator[threading.Event]:
    """What handlers may wait for; at the latest the end of a test lets them go."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def lock(cluster: Cluster) -> Iterator[str]:
    name = cluster.name("lock")
    throttle.new(name, 2)
    yield name
    throttle.stop_lock(name)


class Heard:
    """Events of telemetry, and a wait for one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def __call__(self, event: tuple[str, ...], measurements: Any, metadata: Any) -> None:
        with self._changed:
            self.events.append((event[-1], dict(measurements), dict(metadata)))
            self._changed.notify_all()

    def of(self, name: str) -> list[dict[str, Any]]:
        return [metadata for event, _, metadata in list(self.events) if event == name]

    def wait_for(self, name: str, count: int = 1, **wanted: Any) -> dict[str, Any]:
        """The last of the first so many events of a name whose metadata has what is wanted."""

        def found() -> list[dict[str, Any]]:
            return [
                each for each in self.of(name) if all(each.get(key) == value for key, value in wanted.items())
            ]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, WATCHDOG), self.events[-20:]
            return found()[count - 1]


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    telemetry.attach("heard", ("resprout", "kafka"), made)
    yield made
    telemetry.detach("heard")
