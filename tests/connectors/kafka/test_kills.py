"""Consumers, their lock and their coordinator die at random: nothing is lost, nothing is done twice after its
commit.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from typing import Any

import pytest

from resprout import Supervisor, process, telemetry
from resprout.kafka import GroupSubscriber, positions

from ...waiting import WATCHDOG, until

PARTITIONS = 6
VICTIMS = ("partition", "partition", "partition", "lock")


class Count:
    """Counts by key, apart from all offsets of the subscriber; and looks at each call when it begins."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.begun: Counter[bytes] = Counter()
        self.ended: Counter[bytes] = Counter()
        self.last: dict[int, int] = {}
        self.committed: dict[int, int] = defaultdict(int)
        self.behind_commit: list[tuple[int, int, int]] = []
        self.at_once = self.most = 0

    def note_commit(self, event: object, measurements: object, metadata: Any) -> None:
        with self._changed:
            for (_, partition), offset in metadata["offsets"].items():
                self.committed[partition] = max(self.committed[partition], offset)

    def handler(self, message: Any) -> None:
        partition, offset = message.partition(), message.offset()
        with self._changed:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.begun[message.key()] += 1
            if offset < self.committed[partition]:
                self.behind_commit.append((partition, offset, self.committed[partition]))
        try:
            if offset % 7 == 0:
                process.sleep(0.002)  # where a killed one ends
        except BaseException:
            with self._changed:
                self.at_once -= 1
            raise
        with self._changed:
            self.at_once -= 1
            self.ended[message.key()] += 1
            self._changed.notify_all()

    def wait_for(self, keys: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ended) >= keys, WATCHDOG), len(self.ended)


@pytest.fixture
def count() -> Any:
    made = Count()
    telemetry.attach("commits", ("resprout", "kafka", "committed"), made.note_commit)
    yield made
    telemetry.detach("commits")


def kill(victim: str, subscriber: Any, lock: str, chance: random.Random) -> None:
    children = {each.id: each.pid for each in Supervisor.which_children(subscriber)}
    if victim == "lock":
        process.exit(lock, "kill")
    elif victim == "coordinator":
        process.exit(children["coordinator"], "kill")
    else:
        running = [each.pid for each in Supervisor.which_children(children["partitions"])]
        if running:
            process.exit(chance.choice(running), "kill")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kills", "seed"), [(10, 1), pytest.param(200, 2, marks=pytest.mark.slow, id="200-kills")]
)
def test_nothing_is_lost_or_done_again_after_its_commit_whoever_is_killed(
    cluster, subscribe, lock, count, heard, kills: int, seed: int
) -> None:
    chance = random.Random(seed)
    topic, group = cluster.new_topic(PARTITIONS), cluster.name("group")
    each = 30 * kills
    for partition in range(PARTITIONS):
        cluster.fill(topic, partition, (f"{partition}-{number}" for number in range(each)))
    subscriber = subscribe(
        topic,
        group,
        count.handler,
        throttle=lock,
        commit_interval=0.0,
        prefetch=100,
        max_restarts=10**6,
    )
    for number in range(kills):
        # The next kill waits until the consumers have come on.
        count.wait_for((number + 1) * PARTITIONS * each // (kills + 1))
        kill("coordinator" if number % 10 == 5 else chance.choice(VICTIMS), subscriber, lock, chance)
    count.wait_for(PARTITIONS * each)

    keys = {f"{partition}-{number}".encode() for partition in range(PARTITIONS) for number in range(each)}
    assert set(count.ended) == keys
    assert count.behind_commit == []
    assert count.most <= 2
    assert len(heard.of("refetched")) > kills / 4
    # A message whose handler met its death was begun more than once, and hardly any was ended twice.
    assert sum(count.ended.values()) - len(keys) <= kills
    Supervisor.stop(subscriber)
    assert cluster.committed(group, topic, PARTITIONS) == [each] * PARTITIONS


@pytest.mark.slow
def test_a_subscriber_that_is_killed_as_a_whole_is_restarted_with_nothing_lost(
    cluster, config, lock, count
) -> None:
    topic, group = cluster.new_topic(2), cluster.name("group")
    for partition in range(2):
        cluster.fill(topic, partition, (f"{partition}-{number}" for number in range(300)))
    subscriber = GroupSubscriber([topic], group, count.handler, commit_interval=0.0, config=config)
    spec = subscriber.child_spec(name="subscriber", shutdown=5.0)
    above = Supervisor.start_link([spec], strategy="one_for_one", max_restarts=100)
    try:
        for number in range(2):
            count.wait_for((number + 1) * 200)
            process.exit("subscriber", "kill")
        count.wait_for(600)
        until(lambda: process.whereis("subscriber"))
        until(lambda: len(positions("subscriber")) == 2)
        assert count.behind_commit == []
    finally:
        Supervisor.stop(above)
    assert cluster.committed(group, topic, 2) == [300, 300]
