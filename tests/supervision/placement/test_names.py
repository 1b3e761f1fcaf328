"""A name of the tree that is used in a placed child: its lock or registry, else an error that says so; never
a second one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from placed_servers import Echo

from resprout import throttle
from resprout.actors import Agent, ChildSpec, GenServer, Pid, process
from resprout.registry import Registry

Placed = Callable[..., Pid]


@pytest.fixture
def lock() -> Any:
    throttle.new("placed_lock", 1)
    yield
    throttle.stop_lock("placed_lock")


@pytest.fixture
def registry() -> Any:
    pid = Registry.start_link(keys="unique", name="placed_registry")
    yield
    process.unlink(pid)
    GenServer.stop(pid, "shutdown")


@pytest.mark.usefixtures("lock")
def test_the_process_of_a_lock_of_the_tree_is_an_error_that_says_how_it_is_used(placed: Placed) -> None:
    kind, text = GenServer.call(placed(Echo), ("take", "call", "placed_lock"))
    assert kind == "NameInParent"
    assert "'placed_lock' is the process of a lock of the tree" in text
    assert "uses the locks of its tree by their names" in text


def test_a_server_of_the_tree_is_no_lock(placed: Placed) -> None:
    agent = Agent.start(dict, name="placed_agent")
    kind, text = GenServer.call(placed(Echo), ("take", "lock", "placed_agent"))
    assert (kind, "'placed_agent' is an Agent of the tree" in text) == ("LockNotFound", True)
    agent.stop()


@pytest.mark.usefixtures("lock", "registry")
@pytest.mark.parametrize("what", ["new lock", "new registry"])
@pytest.mark.parametrize("name", ["placed_lock", "placed_registry"])
def test_there_is_never_a_second_one_of_the_name(placed: Placed, what: str, name: str) -> None:
    _, text = GenServer.call(placed(Echo), ("take", what, name), 30.0)
    assert f"{name!r} is the process of a" in text
    assert "of the tree, which runs in the parent" in text


@pytest.mark.usefixtures("registry")
def test_the_process_of_a_registry_of_the_tree_is_an_error_that_says_how_it_is_used(placed: Placed) -> None:
    kind, text = GenServer.call(placed(Echo), ("take", "call", "placed_registry"))
    assert kind == "NameInParent"
    assert "'placed_registry' is the process of a registry of the tree" in text
    assert "its registries with unique keys (Registry.register, lookup, ...)" in text


def test_a_server_of_the_tree_is_no_registry(placed: Placed) -> None:
    agent = Agent.start(dict, name="placed_agent")
    kind, text = GenServer.call(placed(Echo), ("take", "lookup", "placed_agent"))
    assert (kind, "'placed_agent' is an Agent of the tree" in text) == ("UnknownRegistry", True)
    agent.stop()


def test_a_server_of_the_tree_is_an_error_that_says_where_it_is(placed: Placed) -> None:
    agent = Agent.start(dict, name="placed_agent")
    pid = placed(Echo)
    kind, text = GenServer.call(pid, ("take", "call", "placed_agent"))
    assert (kind, "'placed_agent' is an Agent of the tree" in text) == ("NameInParent", True)
    # Its own of that name harm nobody.
    assert "placed_agent" in GenServer.call(pid, ("take", "agent", "placed_agent"))
    agent.stop()


@pytest.mark.usefixtures("lock")
def test_a_placed_child_of_a_placed_child_asks_through_it(placed: Placed) -> None:
    pid = placed(Echo)
    spec = ChildSpec("inner", (Echo.start_link, (), {"name": "inner"}), placement="process")
    assert GenServer.call(pid, ("nest", spec), 30.0) == "ok"
    kind, text = GenServer.call(pid, ("through", "inner", ("take", "call", "placed_lock")), 30.0)
    assert kind == "NameInParent"
    assert "the process of a lock of the tree" in text


def test_names_that_nobody_has_are_free_and_unknown_as_anywhere(placed: Placed) -> None:
    pid = placed(Echo)
    assert GenServer.call(pid, ("take", "call", "nobody"))[0] == "NoProcess"
    assert GenServer.call(pid, ("take", "lock", "nobody"))[0] == "LockNotFound"
    assert "mine" in GenServer.call(pid, ("take", "new lock", "mine"), 30.0)
    assert GenServer.call(pid, ("take", "lock", "mine"))[0] != "LockNotFound"
