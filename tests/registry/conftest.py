"""Registries and scripted owners for the tests; both are gone at the end of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout.actors import Pid, process
from resprout.registry import Registry

from ..scripted import Runs
from ..waiting import await_end

_numbers = itertools.count(1)


class Quick(Runs):
    blocking = False


@pytest.fixture
def owner() -> Iterator[Callable[..., Pid]]:
    """Start a process that runs what it is called with."""
    started: list[Pid] = []

    def start(*, blocking: bool = False, **options: Any) -> Pid:
        pid: Pid = (Runs if blocking else Quick).start(**options)
        started.append(pid)
        return pid

    yield start
    for pid in started:
        await_end(pid, "kill")


@pytest.fixture
def start_registry() -> Iterator[Callable[..., str]]:
    """Start a registry under a new name, and return that."""
    names: list[str] = []
    before = process.trap_exit(True)

    def start(**options: Any) -> str:
        name = options.pop("name", None) or f"registry-{next(_numbers)}"
        Registry.start_link(name=name, **{"keys": "unique", **options})
        names.append(name)
        return name

    yield start
    for name in names:
        if name in Registry.registries():
            Registry.stop(name)
    process.trap_exit(bool(before))
    assert not set(names) & set(Registry.registries())


@pytest.fixture
def registry(start_registry: Callable[..., str]) -> str:
    """A registry with unique keys."""
    return start_registry()


@pytest.fixture
def topics(start_registry: Callable[..., str]) -> str:
    """A registry with duplicate keys."""
    return start_registry(keys="duplicate")
