"""The registries of the tree in a placed child: the parent's table decides, and the pipe is the way to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import placed_keys
import pytest
from placed_keys import Held, Keeper, User

from resprout.actors import AlreadyRegistered, ChildSpec, GenServer, NotFound, Pid, process
from resprout.cluster.pipe_key_parent import sessions
from resprout.registry import KeyLost, Registered, Registry, UnknownRegistry, Unregistered, Via
from resprout.registry.placed import tables
from resprout.supervision import Supervisor

from ...waiting import await_end, down_of, until
from .conftest import at_work

Placed = Callable[..., Pid]
NAME = "pipe_keys"


@pytest.fixture
def registry() -> Iterator[Callable[..., str]]:
    """Start the registry, and end it."""
    started: list[Pid] = []

    def start(**options: Any) -> str:
        started[:] = [Registry.start_link(**{"keys": "unique", "name": NAME, **options})]
        return NAME

    yield start
    for pid in started:
        process.unlink(pid)
    if NAME in Registry.registries():
        Registry.stop(NAME, "shutdown")


def ask(pid: Any, *message: Any) -> Any:
    return GenServer.call(pid, message, 30.0)


def is_free(name: str, key: object) -> bool:
    """Whether a key could be taken; it is, then."""
    try:
        Registry.register(name, key)
    except AlreadyRegistered:
        return False
    return True


@contextmanager
def duplicate_registry(name: str) -> Iterator[None]:
    pid = Registry.start_link(keys="duplicate", name=name)
    yield
    process.unlink(pid)
    Registry.stop(name)


def take_when_free(name: str, key: object, over: threading.Event, taken: list[Pid]) -> None:
    """Try to get a key, over and over."""
    while not over.is_set():
        try:
            taken.append(Registry.register(name, key))
        except (AlreadyRegistered, UnknownRegistry):
            continue


def kill(pid: Pid) -> None:
    """Kill its OS process, and wait until its death is known."""
    ref = process.monitor(pid)
    os.kill(ask(pid, "os"), signal.SIGKILL)
    down_of(ref)


def test_a_key_has_one_owner_in_both_and_the_parent_sees_the_process_that_stands_for_the_child(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper)
    there = ask(pid, "register", name, ("user", 1), {"at": 1})
    assert Registry.lookup(name, ("user", 1.0)) == [(pid, {"at": 1})]
    assert Registry.keys(name, pid) == [("user", 1)]
    assert Registry.count(name) == Registry.statistics(name).owners == 1
    with pytest.raises(AlreadyRegistered) as taken:
        Registry.register(name, ("user", 1))
    assert taken.value.pid is pid
    # Its own process is told of a process.
    assert ask(pid, "register", name, ("user", 1)) == (
        "AlreadyRegistered",
        f"('user', 1) is already registered by {there}",
    )
    ask(pid, "unregister", name, ("user", 1))
    me = Registry.register(name, ("user", 1), "mine")
    kind, text = ask(pid, "register", name, ("user", 1))
    assert kind == "AlreadyRegistered"
    assert text.startswith(f"('user', 1) is already registered by {me}@")
    assert ask(pid, "kind of owner", name, ("user", 1)) == "FarPid"
    ((owner, value),) = ask(pid, "lookup", name, ("user", 1))
    assert (owner.startswith(f"{me}@"), value) == (True, "mine")
    Registry.unregister(name, ("user", 1))
    assert ask(pid, "lookup", name, ("user", 1)) == []
    assert ask(pid, "whereis", name, ("user", 1)) == "None"


def test_two_children_see_each_other_where_they_are(placed: Placed, registry: Any) -> None:
    name = registry()
    one, two = placed(Keeper), placed(Keeper, name="other")
    there = ask(one, "register", name, 1)
    assert ask(two, "whereis", name, 1).startswith(f"{there}@")
    assert ask(two, "whereis", name, 1).endswith(f":{ask(one, 'os')}")
    assert ask(two, "register", name, 1)[0] == "AlreadyRegistered"
    ask(one, "unregister", name, 1)
    assert ask(two, "register", name, 1)


def test_the_forms_for_coroutines_work_as_anywhere(placed: Placed, registry: Any) -> None:
    name = registry()
    me = Registry.register(name, "parents")
    first, second, third, nobody, parents, nothing = ask(placed(Keeper), "forms", name)
    assert (first, second, third, nobody, nothing) == (True, True, True, None, [])
    assert parents.startswith(f"{me}@")
    assert Registry.count(name) == 1


def test_what_is_of_one_process_is_that_of_the_child_and_its_changes_are_seen_here(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    Registry.register(name, "parents")
    pid = placed(Keeper)
    assert ask(pid, "of this process", name, 1) == [True, 1, [1], [[1]], [1], ([1, 2], [1])]
    until(lambda: Registry.lookup(name, 1) == [(pid, [1, 2])])
    ask(pid, "unregister match", name, 1, "another")
    assert Registry.whereis(name, 1) is pid
    ask(pid, "unregister match", name, 1, [1, 2])
    until(lambda: Registry.whereis(name, 1) is None)


def test_listeners_of_the_parent_hear_of_the_childs_keys(placed: Placed, registry: Any) -> None:
    process.register(process.current(), "ear")
    name = registry(listeners=["ear"])
    pid = placed(Keeper)
    ask(pid, "register", name, 1, "value")
    kill(pid)
    assert [process.receive(timeout=20) for _ in range(2)] == [
        Registered(name, 1, pid, "value"),
        Unregistered(name, 1, pid),
    ]
    process.unregister("ear")


def test_a_via_leads_from_the_parent_to_the_child_and_not_the_other_way(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper)
    ask(pid, "register", name, "child")
    assert ask(Via(name, "child"), "os") == ask(pid, "os")
    Registry.register(name, "parent")
    kind, text = ask(pid, "send", name, "parent")
    assert (kind, "which resprout sends no messages to" in text) == ("NotHere", True)
    assert ask(pid, "agent", name, "parent")[0] == "AlreadyStarted"
    assert f"{name}/agent" in ask(pid, "agent", name, "agent")
    assert Registry.whereis(name, "agent") is pid


# Keys and values


def test_keys_and_values_are_whatever_can_cross(placed: Placed, registry: Any) -> None:
    name = registry()
    pid = placed(Keeper)
    ask(pid, "register", name, User(1), {User(2)})
    assert Registry.lookup(name, User(1)) == [(pid, {User(2)})]
    Registry.register(name, User(3), process.current())
    ((_, value),) = ask(pid, "lookup", name, User(3))
    # What can't be sent is printed.
    assert str(value) == str(process.current())
    for what, error, why in (
        ("register twin", "ValueError", "to be equal to itself in another OS process"),
        ("register lambda", "NotPicklable", "lambda"),
    ):
        kind, text = ask(pid, what, name)
        assert (kind, why in text) == (error, True)
    assert ask(pid, "register", name, float("nan"))[0] == "ValueError"
    assert Registry.count(name) == 2
    assert ask(pid, "keys", name) == [User(1)]


def test_metadata_and_duplicate_keys_stay_in_the_parent_and_the_error_says_what_to_do(
    placed: Placed, registry: Any
) -> None:
    name = registry(meta={"limit": 1})
    pid = placed(Keeper)
    kind, text = ask(pid, "meta", name, "limit")
    assert (kind, "that of the tree's is in the parent: hand the child what it needs" in text) == (
        "NotFound",
        True,
    )
    Registry.stop(name)
    registry(keys="duplicate")
    kind, text = ask(placed(Keeper, name="other"), "register", name, 1)
    assert kind == "ValueError"
    assert "to have keys 'unique'" in text
    assert "have the parent look up or dispatch" in text


# Ends


def test_the_end_of_an_owner_in_the_child_frees_its_key_there_and_here(placed: Placed, registry: Any) -> None:
    name = registry()
    pid = placed(Keeper)
    for _ in range(3):
        ask(pid, "register of another", "agent", name, 1)
        assert Registry.whereis(name, 1) is pid
        ask(pid, "end other", "agent")
        # The one that comes after it there is never in the way of it.
        ask(pid, "register", name, 1)
        ask(pid, "unregister", name, 1)
    ask(pid, "register of another", "agent", name, 1)
    ask(pid, "end other", "agent")
    until(lambda: Registry.whereis(name, 1) is None)
    Registry.register(name, 1)


def test_the_end_of_the_os_process_frees_all_keys_before_its_death_is_told(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper, restart="temporary")
    for number in range(20):
        ask(pid, "register of another", f"agent{number}", name, number)
    kill(pid)
    assert Registry.count(name) == 0
    for number in range(20):
        Registry.register(name, number)


def test_a_restarted_child_takes_its_key_without_a_race(placed: Placed, registry: Any) -> None:
    name = registry()
    pid = placed(Keeper, (name, "child"))
    for _ in range(3):
        kill(pid)
        until(lambda: process.whereis("placed") not in (None, pid))  # noqa: B023  # at once
        found = process.whereis("placed")
        assert found is not None
        pid = found
        until(lambda: Registry.whereis(name, "child") is pid)  # noqa: B023  # at once


def test_a_key_is_taken_until_the_os_process_has_gone_whoever_stands_for_it(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper, (name, 1), restart="temporary")
    number = ask(pid, "os")
    # It answers nobody, so it is given up; but it is at work until it is gone.
    os.kill(number, signal.SIGSTOP)
    ref = process.monitor(pid)
    process.exit(pid, "kill")
    assert Registry.whereis(name, 1) is None
    until(lambda: is_free(name, 1))
    assert not at_work(number)
    down_of(ref)


@pytest.mark.parametrize("step", ["read", "look"])
def test_a_claim_that_is_under_way_when_the_child_is_killed_leaves_nothing(
    placed: Placed, registry: Any, step: str
) -> None:
    name = registry()
    pid = placed(Keeper, restart="temporary")
    number = ask(pid, "os")
    ask(pid, "register", name, 1)
    (session,) = sessions
    placed_keys.at_gate.clear()
    placed_keys.gate.clear()
    ref = process.monitor(pid)
    try:
        GenServer.cast(pid, ("register of step", name, step))
        assert placed_keys.at_gate.wait(30)
        os.kill(number, signal.SIGKILL)
        down_of(ref)
        # What it had is free, though that claim is not dealt with.
        Registry.register(name, 1)
    finally:
        placed_keys.gate.set()
    # Behind it in the queue of that child.
    assert session.assert_again(tables[name]).wait(30)
    assert not tables[name].remote
    Registry.register(name, Held(step))


def test_a_lingering_key_is_not_shown_and_stays_taken_until_the_work_there_has_stopped(
    placed: Placed, registry: Any
) -> None:
    name = registry(linger=True)
    pid = placed(Keeper)
    ask(pid, "linger", name, 1)
    until(lambda: Registry.whereis(name, 1) is None)
    assert (Registry.count(name), Registry.keys(name, pid), Registry.select(name)) == (0, [], [])
    with pytest.raises(AlreadyRegistered):
        Registry.register(name, 1)
    ask(pid, "leave")
    until(lambda: is_free(name, 1))


def test_a_child_whose_pipe_is_closed_has_lost_its_keys_and_they_are_taken_until_it_is_gone(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper, restart="temporary")
    ask(pid, "register of another", "agent", name, 1)
    ask(pid, "close the pipe")
    until(lambda: not ask(pid, "other is alive", "agent"))
    kind, text = ask(pid, "register", name, 2)
    assert (kind, text.startswith("unknown registry")) == ("UnknownRegistry", True)
    assert Registry.whereis(name, 1) is pid
    kill(pid)
    Registry.register(name, 1)


def test_a_process_that_is_forked_in_the_child_is_no_child_of_the_tree(placed: Placed, registry: Any) -> None:
    name = registry()
    pid = placed(Keeper)
    ask(pid, "register", name, 1)
    assert "UnknownRegistry" in ask(pid, "forked", name)
    assert Registry.whereis(name, 1) is pid


# Ends of the registry


def test_a_registry_that_is_killed_keeps_the_childs_keys(placed: Placed, registry: Any) -> None:
    name = NAME
    top = Supervisor.start_link(
        [Registry.child_spec(keys="unique", name=name)], strategy="one_for_one", max_restarts=100
    )
    pid = placed(Keeper)
    ask(pid, "register", name, 1)
    for _ in range(5):
        before = process.whereis(name)
        assert before is not None
        await_end(before)
        with pytest.raises(AlreadyRegistered):
            Registry.register(name, 1)
        until(lambda: process.whereis(name) not in (None, before))  # noqa: B023  # at once
    assert Registry.keys(name, pid) == [1]
    ask(pid, "unregister", name, 1)
    assert Registry.count(name) == 0
    Supervisor.stop(top)


def test_a_registry_that_is_stopped_and_started_again_has_the_childs_keys_before_anybody_finds_it(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper)
    ask(pid, "register", name, 1, "first")
    Registry.register(name, 2)
    over = threading.Event()
    taken: list[Pid] = []
    thread = threading.Thread(target=take_when_free, args=(name, 1, over, taken))
    thread.start()
    Registry.stop(name)
    assert ask(pid, "register", name, 3)[0] == "UnknownRegistry"
    assert ask(pid, "update", name, 1, "second") == ("second", "first")
    registry()
    over.set()
    thread.join()
    assert taken == []
    assert Registry.lookup(name, 1) == [(pid, "second")]
    # Those of this process are forgotten, as ever.
    assert Registry.whereis(name, 2) is None
    assert ask(pid, "keys", name) == [1]
    ask(pid, "unregister", name, 1)
    assert Registry.count(name) == 0


def test_a_key_that_is_given_up_while_there_is_no_registry_is_free_in_the_next_one(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper, restart="temporary")
    ask(pid, "register", name, 1)
    ask(pid, "register", name, 2)
    Registry.stop(name)
    ask(pid, "unregister", name, 1)
    registry()
    assert Registry.select(name, result=lambda key, *_: key) == [2]
    Registry.stop(name)
    kill(pid)
    registry()
    assert Registry.count(name) == 0


def test_where_a_registry_comes_back_with_duplicate_keys_the_owner_is_told_that_its_key_is_lost(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper, (name, 1), restart="temporary")
    Registry.stop(name)
    ref = process.monitor(pid)
    registry(keys="duplicate")
    assert down_of(ref).reason == KeyLost(name, 1)


def test_a_name_that_the_parent_has_no_more_is_free_for_a_registry_of_the_childs_own(
    placed: Placed, registry: Any
) -> None:
    name = registry()
    pid = placed(Keeper)
    ask(pid, "register", name, 1)
    assert ask(pid, "new", name)[0] == "NameInParent"
    ask(pid, "unregister", name, 1)
    Registry.stop(name)
    assert ask(pid, "whereis", name, 1)[0] == "UnknownRegistry"
    until(lambda: name not in ask(pid, "registries"))
    assert name in ask(pid, "new", name)
    assert ask(pid, "register", name, 1)
    assert name not in Registry.registries()


def test_a_registry_that_is_stopped_in_the_child_is_over_there_only(placed: Placed, registry: Any) -> None:
    name = registry()
    pid = placed(Keeper)
    ask(pid, "register", name, 1)
    ask(pid, "stop", name)
    until(lambda: Registry.whereis(name, 1) is None)
    Registry.register(name, 2)
    assert ask(pid, "register", name, 1)
    assert Registry.whereis(name, 1) is pid


def test_a_placed_child_of_a_placed_child_has_the_registry_through_it(placed: Placed, registry: Any) -> None:
    name = registry()
    pid = placed(Keeper)
    spec = ChildSpec("inner", (Keeper.start_link, (), {"name": "inner"}), placement="process")
    assert "Supervisor" in ask(pid, "nest", spec)
    ask(pid, "through", "inner", ("register", name, 1))
    assert Registry.whereis(name, 1) is pid
    assert ask(pid, "register", name, 1)[0] == "AlreadyRegistered"
    me = Registry.register(name, 2)
    assert ask(pid, "through", "inner", ("whereis", name, 2)).startswith(f"{me}@")
    assert ask(pid, "through", "inner", ("register", name, 2))[0] == "AlreadyRegistered"
    with duplicate_registry("pipe_events"):
        kind, text = ask(pid, "through", "inner", ("register", "pipe_events", 1))
        assert (kind, "to have keys 'unique'" in text) == ("ValueError", True)
    # What is over in the one in between has the keys of the one below again when it is used again.
    ask(pid, "stop", name)
    until(lambda: Registry.whereis(name, 1) is None)
    ask(pid, "whereis", name, 2)
    until(lambda: Registry.whereis(name, 1) is pid)
    inner = ask(pid, "through", "inner", ("os",))
    os.kill(inner, signal.SIGKILL)
    until(lambda: Registry.whereis(name, 1) is None)
    until(lambda: isinstance(ask(pid, "through", "inner", ("register", name, 1)), str))
    kill(pid)
    assert Registry.whereis(name, 1) is None


def test_of_all_who_fight_for_a_key_one_has_it_at_a_time(
    placed: Placed, registry: Any, tmp_path: Path
) -> None:
    name = registry()
    path = tmp_path / "count"
    path.write_text("0")
    children = [placed(Keeper, name=f"fighter{number}") for number in range(3)]
    raised = 0
    for _ in range(30):
        asked = [GenServer.send_request(each, ("raise count", name, 1, str(path))) for each in children]
        said = [placed_keys.DOES["raise count"](name, 1, str(path)), *[each.result(30) for each in asked]]
        assert set(said) <= {"raised", "AlreadyRegistered"}
        raised += said.count("raised")
    assert path.read_text() == str(raised)
    assert raised >= 30


def test_what_nobody_has_is_unknown_as_anywhere(placed: Placed) -> None:
    kind, text = ask(placed(Keeper), "register", "nobodys", 1)
    assert (kind, text.startswith("unknown registry: 'nobodys'")) == ("UnknownRegistry", True)
    with pytest.raises(NotFound):
        Registry.lookup("nobodys", 1)
