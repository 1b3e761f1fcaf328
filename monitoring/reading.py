"""How everything is now, read when somebody asks: the gauges, and zeros of what was never counted.

It asks no process and takes nobody's lock for longer than a step, so it costs the program nothing in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, TypeAlias

from ..actors import LockNotFound, process
from ..actors.engine import kernel
from ..cluster.statistics import engines
from ..connectors.kafka import standings
from ..registry import Registry, UnknownRegistry
from ..stages.statistics import stages
from ..supervision.engine import rows_under, step_to, tops, unready_under
from ..throttle import lock_info, lock_state, locks
from .catalogue import METRICS, Labels, Metric
from .counting import Value, books
from .labels import label_of, path_label
from .loop_lag import loop_lag

Series: TypeAlias = "dict[Labels, Value]"
_OF_CHILDREN: Final = ("resprout.child.restarts", "resprout.child.crashes", "resprout.child.overruns")
_OF_LOCKS: Final = ("resprout.throttle.shed", "resprout.throttle.timeouts")


class Reading:
    """One look at everything.

    Attributes:
        series: The series of each metric, by its name.
    """

    def __init__(self) -> None:
        self.series: dict[str, Series] = {metric.name: {} for metric in METRICS}
        for look in (_processes, _trees, _locks, _registries, _stages, _partitions, _engines, _pool):
            look(self)
        for name, series in books.read().items():
            self.series[name].update(series)

    def set(self, name: str, value: float, *labels: str) -> None:
        """The value of one series."""
        self.series[name][labels] = value

    def add(self, name: str, value: float, *labels: str) -> None:
        """More of a series that is the sum of several things."""
        before = self.series[name].get(labels, 0.0)
        assert isinstance(before, (int, float))
        self.series[name][labels] = before + value


def read() -> Iterable[tuple[Metric, Series]]:
    """Every metric with its series as they are now."""
    reading = Reading()
    return [(metric, reading.series[metric.name]) for metric in METRICS]


def _processes(to: Reading) -> None:
    messages = longest = 0
    running: set[asyncio.AbstractEventLoop] = set()
    for pid in process.processes():
        to.add("resprout.process.count", 1, pid.kind)
        length = pid.mailbox_length()
        messages += length
        longest = max(longest, length)
        loop = getattr(pid, "loop", None)
        if loop is not None:
            running.add(loop)
    to.set("resprout.process.messages", messages)
    to.set("resprout.process.longest_mailbox", longest)
    to.set("resprout.process.stragglers", len(process.stragglers()))
    lag = loop_lag.worst(running)
    if lag is not None:
        to.set("resprout.loop.lag", lag)


def _trees(to: Reading) -> None:
    for top in tops():
        for above, child, server in rows_under(top):
            label = path_label(top, (*above, step_to(child, server)))
            pid = child.pid
            running = child.state == "running" and pid is not None and pid.alive
            to.add("resprout.child.running", int(running), label)
            to.add("resprout.child.messages", pid.mailbox_length() if running and pid else 0, label)
            to.set("resprout.child.unready", 0, label)
            for name in _OF_CHILDREN:
                to.set(name, 0, label)
        for unready in unready_under(top):
            if unready.steps:
                to.add("resprout.child.unready", 1, path_label(top, unready.steps))


def _locks(to: Reading) -> None:
    for name in locks():
        try:
            info, state = lock_info(name), lock_state(name)
        except LockNotFound:
            # Stopped since it was listed.
            continue
        to.set("resprout.throttle.running", state.running, name)
        to.set("resprout.throttle.waiting", state.waiting, name)
        to.set("resprout.throttle.used", state.used, name)
        to.set("resprout.throttle.num_slots", info.num_slots, name)
        for counter in _OF_LOCKS:
            to.set(counter, 0, name)


def _registries(to: Reading) -> None:
    for name in Registry.registries():
        try:
            to.set("resprout.registry.entries", Registry.count(name), name)
        except UnknownRegistry:
            continue


def _stages(to: Reading) -> None:
    for stage in stages():
        label = label_of(stage.pid)
        to.add("resprout.stages.buffered", stage.buffered, label)
        to.add("resprout.stages.demand", stage.demand, label)
        to.set("resprout.stages.discarded", 0, label)


def _partitions(to: Reading) -> None:
    for each in standings():
        labels = (each.group, each.topic, str(each.partition))
        to.set("resprout.kafka.in_flight", each.in_flight, *labels)
        if each.committed is not None:
            to.set("resprout.kafka.committed", each.committed, *labels)
        if each.lag is not None:
            to.set("resprout.kafka.lag", each.lag, *labels)


def _engines(to: Reading) -> None:
    for each in engines():
        to.set("resprout.cluster.connected", int(each.connected), each.name)
        to.set("resprout.cluster.locks", each.locks, each.name)
        to.set("resprout.cluster.reconnects", each.reconnects, each.name)
        to.set("resprout.cluster.lost_grants", 0, each.name)


def _pool(to: Reading) -> None:
    pool = kernel.pool
    to.set("resprout.pool.threads", len(pool.workers))
    to.set("resprout.pool.idle", len(pool.idle))
    to.set("resprout.pool.backlog", len(pool.backlog))
