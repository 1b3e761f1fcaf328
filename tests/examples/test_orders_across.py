"""What is counted in files, and consumers in OS processes of their own that count there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orders import across, measure, placed, store
from orders.across import SharedCounter, SharedGauge
from orders.check import expected
from orders.consumer import THROTTLE
from orders.database import NAME, Pool, engine
from orders.topic import read_topic
from resprout import ChildSpec, Registry, Supervisor, process, throttle

from ..waiting import down_of

INSIDE = """
import sys
from pathlib import Path
from orders.across import SharedGauge
with SharedGauge(Path(sys.argv[1])):
    print("inside", flush=True)
    sys.stdin.read()
"""


def test_a_counter_is_what_all_have_counted_together(tmp_path: Path) -> None:
    mine, theirs = SharedCounter(tmp_path / "handled"), SharedCounter(tmp_path / "handled")
    mine.up()
    theirs.up()
    assert (mine.value, theirs.value) == (2, 2)


def test_a_gauge_remembers_the_most_that_were_inside_at_once_whoever_they_were(tmp_path: Path) -> None:
    mine, theirs = SharedGauge(tmp_path / "running"), SharedGauge(tmp_path / "running")
    with mine:
        with theirs:
            assert (mine.inside, theirs.inside) == (2, 2)
        with mine:
            pass
    assert (mine.inside, mine.most, theirs.most) == (0, 2, 2)


def test_who_is_killed_inside_counts_no_longer(tmp_path: Path) -> None:
    gauge = SharedGauge(tmp_path / "running")
    command = [sys.executable, "-c", INSIDE, str(tmp_path / "running")]
    folder = Path(across.__file__).parents[1]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "inside\n"
        assert gauge.inside == 1
        program.kill()
    assert gauge.inside == 0
    with gauge:
        assert gauge.most == 1


@pytest.fixture
def by_itself(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves what others count as it is, and outlives those that it has started."""
    process.trap_exit(True)
    for name in ("running", "handled"):
        monkeypatch.setattr(measure, name, getattr(measure, name))
    across.share.cache_clear()
    yield
    across.share.cache_clear()
    process.trap_exit(False)


@pytest.mark.usefixtures("by_itself")
def test_consumers_in_processes_of_their_own_are_exact_and_no_more_at_work_than_the_lock_has_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = tmp_path / "topic"
    topic.mkdir()
    lengths = {0: 4, 1: 4, 2: 200, 3: 200}  # the last two are at work when all have been started
    monkeypatch.setattr(placed, "PARTITIONS", len(lengths))
    for partition, length in lengths.items():
        lines = ["broken", f'{{"event": "created", "order": "o-{partition}", "customer": "c"}}'] * (
            length // 2
        )
        (topic / f"partition-{partition:02d}.jsonl").write_text("\n".join(lines) + "\n")
    services = Supervisor.start_link(
        [
            Registry.child_spec(keys="unique", name="partitions"),
            throttle.child_spec(THROTTLE, 2),
            ChildSpec(
                "database",
                (Pool.start_link, ({"url": f"sqlite:///{tmp_path}/orders.db", "size": 2},), {"name": NAME}),
            ),
        ]
    )
    consumers = placed.Consumers.start_link({"topic": str(topic)})
    ref = process.monitor(consumers)
    victim = Registry.whereis("partitions", "3")
    assert victim is not None
    process.exit(victim, "kill")
    assert down_of(ref).reason == "shutdown"
    offsets, effects = store.everything(engine())
    Supervisor.stop(services)
    assert offsets == lengths
    assert effects.mismatches(expected(read_topic(topic), offsets)) == 0
    assert sum(lengths.values()) - 1 <= measure.handled.value <= sum(lengths.values())
    assert measure.running.most == 2
