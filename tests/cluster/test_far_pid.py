"""A process of another OS process, which is shown, compared and sorted here, and can be sent nothing."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import pytest

from resprout import Registry, process, throttle
from resprout.cluster import FarPid, NotHere

far: Any = FarPid("there", "<0.7 worker>")


def test_processes_of_here_come_before_those_elsewhere_which_are_sorted_by_what_is_shown() -> None:
    me = process.current()
    worker = process.spawn(process.current)
    there: list[Any] = [me, worker, far, FarPid("there", "<0.8>"), FarPid("yonder", "<0.1>")]
    mixed = random.Random(7).sample(there, len(there))
    assert sorted(mixed) == there
    assert me < far
    assert me <= far
    assert far > me
    assert far >= me
    assert far <= FarPid("there", "<0.7 worker>")


@pytest.mark.parametrize("thing", [process.current(), far])
def test_what_is_no_process_can_not_be_compared_with_one(thing: Any) -> None:
    for compare in (lambda: thing < 1, lambda: thing >= "x", lambda: sorted([thing, 1])):
        with pytest.raises(TypeError, match="not supported between"):
            compare()
    assert thing != 1


@pytest.mark.parametrize(
    "use",
    [
        lambda: far.alive,
        lambda: far.dead,
        lambda: far.exit_reason,
        lambda: far.is_alive(),
        lambda: far.request(1),
        lambda: process.alive(far),
        lambda: process.info(far),
        lambda: process.link(far),
        lambda: process.register(far, "far"),
        lambda: throttle.acquire("far").transfer(far),
        lambda: Registry.keys("users", far),
        lambda: Registry.values("users", 1, far),
    ],
)
def test_whoever_wants_something_of_it_is_told_where_it_is(use: Callable[[], object]) -> None:
    throttle.new("far", 1)
    Registry.start_link(keys="unique", name="users")
    try:
        with pytest.raises(NotHere, match=r"<0.7 worker>@there runs in another OS process"):
            use()
    finally:
        Registry.stop("users")
        throttle.stop_lock("far")


def test_whoever_looks_what_it_has_finds_that_it_is_not_seen_here() -> None:
    for name in ("alive", "dead", "exit_reason", "left"):
        assert not hasattr(far, name)
        assert getattr(far, name, "unknown") == "unknown"
    assert hasattr(far, "call")
    found = dict(inspect.getmembers(far))
    assert found["node"] == "there"
