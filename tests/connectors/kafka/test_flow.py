"""How many messages of a partition may be in memory."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as some

from resprout.connectors.kafka.flow import Flow


@attrs.define
class Partition:
    backlog: int
    paused: bool = False


@pytest.mark.parametrize("prefetch", [1, 2, 3, 4, 5, 10, 100, 1000])
def test_a_batch_fits_wherever_a_partition_is_not_crowded(prefetch: int) -> None:
    flow = Flow(prefetch)
    assert 1 <= flow.batch <= prefetch
    assert flow.full + flow.batch == prefetch
    assert 0 <= flow.low <= flow.full


def test_only_what_has_too_much_is_crowded_and_only_what_is_paused_is_drained() -> None:
    flow = Flow(100)
    full, low = flow.full, flow.low
    some_partitions = [
        Partition(backlog, paused) for backlog in (0, low, low + 1, full, full + 1) for paused in (0, 1)
    ]
    assert flow.crowded(some_partitions) == [Partition(full + 1, False)]
    assert flow.drained(some_partitions) == [Partition(0, True), Partition(low, True)]


@given(prefetch=some.integers(1, 50), seed=some.randoms(use_true_random=False))
def test_whatever_comes_no_partition_has_more_than_prefetch_in_memory(prefetch: int, seed: object) -> None:
    """Batches of any mix, handlers of any speed."""
    flow = Flow(prefetch)
    partitions = [Partition(0) for _ in range(3)]
    for _ in range(60):
        for each in partitions:
            each.backlog -= seed.randint(0, each.backlog)  # type: ignore[attr-defined]
        for each in flow.crowded(partitions):
            each.paused = True
        for each in flow.drained(partitions):
            each.paused = False
        open_ones = [each for each in partitions if not each.paused]
        for _ in range(flow.batch if open_ones else 0):
            seed.choice(open_ones).backlog += 1  # type: ignore[attr-defined]
        assert max(each.backlog for each in partitions) <= prefetch
