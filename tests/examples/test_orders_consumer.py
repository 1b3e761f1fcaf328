from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from orders import measure, store
from orders.check import expected
from orders.consumer import THROTTLE, PartitionConsumer
from orders.database import NAME, Pool, engine
from orders.topic import read_topic
from resprout import ChildSpec, GenServer, Pid, Registry, Supervisor, Via, process, telemetry, throttle

from ..waiting import down_of

EVENTS = (
    '{"event": "created", "order": "ORDER", "customer": "c"}',
    '{"event": "item_added", "order": "ORDER", "sku": "mug", "quantity": 2, "price_cents": 100}',
    '{"event": "paid", "order": "ORDER", "amount_cents": 200}',
    "broken",
)
PARTITIONS = 4


@pytest.fixture
def topic(tmp_path: Path) -> Path:
    folder = tmp_path / "topic"
    folder.mkdir()
    for partition in range(PARTITIONS):
        lines = [line.replace("ORDER", f"o-{partition}-{n}") for n in range(6) for line in EVENTS]
        (folder / f"partition-{partition:02d}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Pid]:
    options = {"url": f"sqlite:///{tmp_path}/orders.db", "size": 10}
    children = [
        Registry.child_spec(keys="unique", name="partitions"),
        throttle.child_spec(THROTTLE, 2),
        ChildSpec("database", start=(Pool.start_link, (options,), {"name": NAME})),
    ]
    tree = Supervisor.start_link(children, strategy="one_for_one", max_restarts=1000)
    yield tree
    Supervisor.stop(tree)


def start_consumers(topic: Path) -> Pid:
    children = [
        ChildSpec(
            f"consumer-{partition}",
            start=(
                PartitionConsumer.start_link,
                ({"partition": str(partition), "topic": str(topic)},),
                {"name": Via("partitions", str(partition))},
            ),
            restart="transient",
            significant=True,
        )
        for partition in range(PARTITIONS)
    ]
    return Supervisor.start_link(
        children, strategy="one_for_one", max_restarts=1000, auto_shutdown="all_significant"
    )


def await_end(supervisor: Pid) -> object:
    """Waits until the supervisor has ended by itself, and tells its reason."""
    ref = process.monitor(supervisor)
    return down_of(ref).reason


@pytest.fixture(autouse=True)
def _trapping() -> Iterator[None]:
    """A supervisor that ends takes whoever started it along, unless they trap exits."""
    before = process.trap_exit(True)
    yield
    process.trap_exit(bool(before))


def assert_exact(topic: Path) -> None:
    offsets, effects = store.everything(engine())
    assert offsets == dict.fromkeys(range(PARTITIONS), 24)
    assert len(effects.orders) == 24
    assert len(effects.dead_letters) == 24
    assert effects.mismatches(expected(read_topic(topic), offsets)) == 0
    assert 1 <= measure.running.most <= 2
    assert 1 <= measure.to_consumers.out.most <= 2


@pytest.mark.usefixtures("services")
def test_consumers_handle_their_partitions_and_end_when_there_is_nothing_left(topic: Path) -> None:
    assert await_end(start_consumers(topic)) == "shutdown"

    assert_exact(topic)
    assert measure.num_slots == 2


@pytest.mark.usefixtures("services")
def test_consumers_that_find_nothing_to_do_end_at_once(topic: Path) -> None:
    await_end(start_consumers(topic))
    handled = measure.handled.value

    await_end(start_consumers(topic))

    assert measure.handled.value == handled
    assert_exact(topic)


@pytest.fixture
def grants() -> Iterator[SimpleQueue[None]]:
    """Gets an item for each handler that the lock lets in."""
    queue: SimpleQueue[None] = SimpleQueue()
    telemetry.attach("grants", ("resprout", "throttle", "lock_acquired"), lambda *_: queue.put(None))
    yield queue
    telemetry.detach("grants")


@pytest.mark.usefixtures("services")
def test_consumers_that_are_killed_again_and_again_lose_nothing_and_repeat_nothing(
    topic: Path, grants: SimpleQueue[None]
) -> None:
    before = measure.handled.value
    consumers = start_consumers(topic)

    for number in range(30):
        # The next kill waits until three more handlers were let in, so the consumers get on.
        for _ in range(3):
            grants.get(timeout=60)
        victim = Registry.whereis("partitions", str(number % PARTITIONS))
        if victim is not None:
            process.exit(victim, "kill")

    assert await_end(consumers) == "shutdown"
    assert measure.handled.value - before == PARTITIONS * 24
    assert_exact(topic)


def test_consumers_go_on_with_the_engine_of_a_restarted_pool(services: Pid, topic: Path) -> None:
    consumers = start_consumers(topic)
    first = engine()

    GenServer.stop(NAME, "crash")
    Supervisor.which_children(services)  # answered when the restart is done

    assert await_end(consumers) == "shutdown"
    assert engine() is not first
    assert_exact(topic)
