from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import process
from resprout.registry import Registry, RegistryStatistics, Row

Start = Callable[..., Any]


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_snapshot_shows_everything_once(start_registry: Start, keys: str, partitions: int) -> None:
    name = start_registry(keys=keys, partitions=partitions)
    me = process.current()
    for number in range(25):
        Registry.register(name, number, -number)
    snapshot = Registry.snapshot(name)
    pages = list(snapshot.pages(10))
    assert [len(page) for page in pages] == [10, 10, 5]
    rows = [row for page in pages for row in page]
    assert sorted(rows, key=lambda row: row.key) == [Row(number, me, -number) for number in range(25)]
    assert len(snapshot) == 25
    assert snapshot.statistics == Registry.statistics(name)
    assert snapshot.page(3, 10) == ()


def test_later_changes_do_not_shift_the_pages(registry: str, owner: Start, end: Start) -> None:
    pid = owner()
    for number in range(4):
        Registry.register(registry, number)
    pid.call(lambda: Registry.register(registry, "other"))
    snapshot = Registry.snapshot(registry)
    Registry.unregister(registry, 0)
    Registry.register(registry, "late")
    assert [row.key for row in snapshot.page(1, 2)] == [2, 3]
    end(pid)
    assert snapshot.page(2, 2) == ()


@pytest.mark.parametrize(("number", "size"), [(-1, 1), (0, 0), (0, -1)])
def test_pages_that_cannot_be_are_refused(registry: str, number: int, size: int) -> None:
    with pytest.raises(ValueError, match="expected number >= 0 and size >= 1"):
        Registry.snapshot(registry).page(number, size)


def test_statistics_count(start_registry: Start, owner: Start) -> None:
    name = start_registry(keys="duplicate", partitions=2)
    pid = owner()
    pid.call(lambda: Registry.register(name, "a"))
    pid.call(lambda: Registry.register(name, "a"))
    Registry.register(name, "b")
    assert Registry.statistics(name) == RegistryStatistics(
        name=name,
        pid=process.whereis(name),
        keys="duplicate",
        partitions=2,
        entries=3,
        owners=2,
        lingering=0,
        locked=0,
        waiting=0,
        untold=0,
        restarts=0,
    )
    assert name in Registry.registries()
