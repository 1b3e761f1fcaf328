from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import AlreadyRegistered, AlreadyStarted, NotFound, Pid, ResproutError, process
from resprout.registry import ANY, Registry, UnknownRegistry

from .user_id import UserId

Start = Callable[..., Any]


KEYS: list[Any] = ["text", 7, 1.5, None, b"x", ("user", 7), frozenset({1}), UserId(7), uuid.UUID(int=7), int]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_key_is_there_from_register_to_unregister(registry: str, key: Any) -> None:
    me = process.current()
    assert Registry.register(registry, key, "value") is me
    assert Registry.lookup(registry, key) == [(me, "value")]
    assert Registry.whereis(registry, key) is me
    assert Registry.keys(registry, me) == [key]
    assert Registry.values(registry, key, me) == ["value"]
    assert Registry.count(registry) == 1
    Registry.unregister(registry, key)
    assert Registry.lookup(registry, key) == []
    assert Registry.whereis(registry, key) is None
    assert Registry.keys(registry, me) == []
    assert Registry.values(registry, key, me) == []
    assert Registry.count(registry) == 0


def test_the_value_is_none_by_default(registry: str) -> None:
    me = Registry.register(registry, "key")
    assert Registry.lookup(registry, "key") == [(me, None)]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_a_unique_key_has_one_owner(registry: str, owner: Start, key: Any) -> None:
    first, second = owner(), owner()
    first.call(lambda: Registry.register(registry, key, 1))
    with pytest.raises(AlreadyRegistered) as caught:
        second.call(lambda: attempt(registry, key))()
    assert caught.value.pid is first
    assert key is None or repr(key) in str(caught.value)
    assert Registry.lookup(registry, key) == [(first, 1)]
    assert Registry.keys(registry, second) == []


def attempt(registry: str, key: Any) -> Callable[[], object]:
    """Register, and give what happened back as a function, so that the process lives on."""
    try:
        result = Registry.register(registry, key)
    except ResproutError as error:
        failure = error

        def fail() -> object:
            raise failure

        return fail
    return lambda: result


def test_the_same_owner_cannot_take_a_unique_key_twice(registry: str) -> None:
    me = Registry.register(registry, "key", 1)
    with pytest.raises(AlreadyRegistered) as caught:
        Registry.register(registry, "key", 2)
    assert caught.value.pid is me
    assert Registry.lookup(registry, "key") == [(me, 1)]
    assert Registry.keys(registry, me) == ["key"]


def test_numbers_that_are_equal_are_one_key(registry: str) -> None:
    me = Registry.register(registry, 1, "one")
    assert Registry.lookup(registry, 1.0) == Registry.lookup(registry, True) == [(me, "one")]
    with pytest.raises(AlreadyRegistered):
        Registry.register(registry, True)
    assert Registry.keys(registry, me) == [1]
    Registry.unregister(registry, 1.0)
    assert Registry.count(registry) == 0


def test_an_owner_may_have_many_keys(registry: str) -> None:
    me = process.current()
    for key in "cab":
        Registry.register(registry, key)
    assert Registry.keys(registry, me) == ["c", "a", "b"]
    Registry.unregister(registry, "a")
    assert Registry.keys(registry, me) == ["c", "b"]


def test_unregister_takes_only_ones_own(registry: str, owner: Start) -> None:
    other = owner()
    other.call(lambda: Registry.register(registry, "key"))
    Registry.unregister(registry, "key")
    Registry.unregister(registry, "nobody's")
    Registry.unregister(registry, UserId(99))
    assert Registry.whereis(registry, "key") is other


def test_a_duplicate_key_has_many_owners_in_order(topics: str, owner: Start) -> None:
    first, second = owner(), owner()
    first.call(lambda: Registry.register(topics, "t", 1))
    second.call(lambda: Registry.register(topics, "t", 2))
    first.call(lambda: Registry.register(topics, "t", 3))
    assert Registry.lookup(topics, "t") == [(first, 1), (second, 2), (first, 3)]
    assert Registry.keys(topics, first) == ["t", "t"]
    assert Registry.values(topics, "t", first) == [1, 3]
    assert Registry.count(topics) == 3
    first.call(lambda: Registry.unregister(topics, "t"))
    assert Registry.lookup(topics, "t") == [(second, 2)]
    assert Registry.count(topics) == 1
    second.call(lambda: Registry.unregister(topics, "t"))
    assert Registry.lookup(topics, "t") == []


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_partitions_make_no_difference(start_registry: Start, keys: str, key: Any) -> None:
    name = start_registry(keys=keys, partitions=7)
    me = Registry.register(name, key, 1)
    Registry.register(name, "another", 2)
    assert Registry.lookup(name, key) == [(me, 1)]
    assert Registry.keys(name, me) == [key, "another"]
    assert sorted(row[2] for row in Registry.select(name)) == [1, 2]
    Registry.unregister(name, key)
    assert Registry.lookup(name, key) == []
    assert Registry.count(name) == 1


def test_update_value_returns_new_and_old(registry: str) -> None:
    me = Registry.register(registry, "key", 1)
    assert Registry.update_value(registry, "key", lambda value: value + 1) == (2, 1)
    assert Registry.lookup(registry, "key") == [(me, 2)]


def test_update_value_is_for_the_owner(registry: str, owner: Start) -> None:
    other = owner()
    other.call(lambda: Registry.register(registry, "key", 1))
    with pytest.raises(NotFound, match="'key'"):
        Registry.update_value(registry, "key", lambda value: 0)
    with pytest.raises(NotFound, match="'missing'"):
        Registry.update_value(registry, "missing", lambda value: 0)
    assert Registry.lookup(registry, "key") == [(other, 1)]


def test_an_update_that_raises_changes_nothing(registry: str) -> None:
    me = Registry.register(registry, "key", 0)
    with pytest.raises(ZeroDivisionError):
        Registry.update_value(registry, "key", lambda value: 1 // value)
    assert Registry.lookup(registry, "key") == [(me, 0)]


def test_match_and_count_match_look_at_the_values_of_a_key(topics: str) -> None:
    me = process.current()
    for value in [(1, "atom", 1), (2, "atom", 2), (3, "other", 4)]:
        Registry.register(topics, "hello", value)
    Registry.register(topics, "else", (1, "atom", 1))
    assert Registry.match(topics, "hello", (1, ANY, ANY)) == [(me, (1, "atom", 1))]
    assert Registry.count_match(topics, "hello", (ANY, "atom", ANY)) == 2
    assert Registry.count_match(topics, "hello", lambda value: value[0] == value[2]) == 2
    assert Registry.count_match(topics, "missing", ANY) == 0


def test_unregister_match_takes_only_what_matches(topics: str, owner: Start) -> None:
    me, other = process.current(), owner()
    for value in (1, 2, 3):
        Registry.register(topics, "key", value)
    other.call(lambda: Registry.register(topics, "key", 1))
    Registry.unregister_match(topics, "key", lambda value: value != 2)
    assert Registry.lookup(topics, "key") == [(me, 2), (other, 1)]


def test_select_searches_all_entries(registry: str, owner: Start) -> None:
    me, other = process.current(), owner()
    Registry.register(registry, ("user", 1), "busy")
    Registry.register(registry, ("user", 2), "idle")
    other.call(lambda: Registry.register(registry, ("job", 1), "busy"))
    everything = [(("user", 1), me, "busy"), (("user", 2), me, "idle"), (("job", 1), other, "busy")]
    assert Registry.select(registry) == everything
    assert Registry.select(registry, (("user", ANY), ANY, "busy")) == everything[:1]
    assert Registry.select(registry, lambda key, pid, value: pid is other) == everything[2:]
    assert Registry.select(registry, (ANY, ANY, "busy"), lambda key, pid, value: key[1]) == [1, 1]
    assert Registry.count_select(registry, (("user", ANY), ANY, ANY)) == 2
    with pytest.raises(TypeError, match="expected pattern"):
        Registry.select(registry, "user")


def test_metadata_is_kept_beside_the_keys(start_registry: Start) -> None:
    name = start_registry(meta={"custom": 1, UserId(1): 2})
    assert Registry.meta(name, "custom") == 1
    assert Registry.meta(name, UserId(1)) == 2
    Registry.put_meta(name, ("a", "tuple"), 3)
    Registry.put_meta(name, "custom", None)
    assert Registry.meta(name, ("a", "tuple")) == 3
    assert Registry.meta(name, "custom") is None
    Registry.delete_meta(name, "custom")
    Registry.delete_meta(name, "custom")
    Registry.delete_meta(name, UserId(9))
    with pytest.raises(NotFound, match="'custom'"):
        Registry.meta(name, "custom")
    assert Registry.meta(name, "custom", "default") == "default"
    assert Registry.count(name) == 0


def test_metadata_under_a_key_with_code_stays_findable(start_registry: Start) -> None:
    name = start_registry()
    Registry.put_meta(name, UserId(5), 1)
    Registry.put_meta(name, UserId(5), 2)
    assert Registry.meta(name, UserId(5)) == 2
    Registry.delete_meta(name, UserId(5))
    assert Registry.meta(name, UserId(5), "gone") == "gone"


# Starting, stopping, bad input


def test_a_registry_is_found_by_its_pid_too(registry: str) -> None:
    pid = process.whereis(registry)
    assert pid is not None
    me = Registry.register(pid, "key")
    assert Registry.lookup(registry, "key") == Registry.lookup(pid, "key") == [(me, None)]


def test_a_name_is_for_one_registry(registry: str) -> None:
    with pytest.raises(AlreadyStarted) as caught:
        Registry.start_link(keys="unique", name=registry)
    assert caught.value.pid is process.whereis(registry)


def test_a_stopped_registry_has_forgotten_everything(start_registry: Start) -> None:
    name = start_registry()
    Registry.register(name, "key")
    Registry.stop(name)
    with pytest.raises(UnknownRegistry):
        Registry.lookup(name, "key")
    start_registry(name=name)
    assert Registry.lookup(name, "key") == []
    assert Registry.keys(name, process.current()) == []
    Registry.register(name, "key")


def test_an_unknown_registry_is_named_with_the_nearest(start_registry: Start) -> None:
    start_registry(name="partitions")
    for request in (
        lambda: Registry.lookup("partition", "key"),
        lambda: Registry.whereis("partition", "key"),
        lambda: Registry.register("partition", "key"),
        lambda: Registry.unregister("partition", "key"),
        lambda: Registry.keys("partition", process.current()),
        lambda: Registry.count("partition"),
        lambda: Registry.dispatch("partition", "key", print),
        lambda: Registry.lock("partition", "key", print),
        lambda: Registry.meta("partition", "key"),
        lambda: Registry.stop("partition"),
    ):
        with pytest.raises(
            UnknownRegistry, match=r"unknown registry: 'partition'.*did you mean 'partitions'"
        ):
            request()


@pytest.mark.parametrize("key", [[], {}, ("a", [])], ids=repr)
def test_an_unhashable_key_is_named(registry: str, topics: str, key: Any) -> None:
    for name in (registry, topics):
        for request in (
            lambda: Registry.lookup(name, key),  # noqa: B023  # called at once
            lambda: Registry.register(name, key),  # noqa: B023
            lambda: Registry.unregister(name, key),  # noqa: B023
            lambda: Registry.dispatch(name, key, print),  # noqa: B023
            lambda: Registry.lock(name, key, print),  # noqa: B023
            lambda: Registry.put_meta(name, key, 1),  # noqa: B023
        ):
            with pytest.raises(TypeError, match="expected key to be hashable, got: "):
                request()
    assert Registry.count(registry) == 0


@pytest.mark.parametrize("bad", [None, 7, ["partitions"], object()], ids=repr)
def test_what_is_no_registry_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="expected registry to be a registry's name or Pid"):
        Registry.lookup(bad, "key")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keys": "uniq"}, ValueError, "expected keys to be 'unique' or 'duplicate', got: 'uniq'"),
        ({"keys": None}, ValueError, "expected keys"),
        ({"partitions": 0}, ValueError, "expected partitions to be a positive integer, got: 0"),
        ({"partitions": True}, ValueError, "expected partitions"),
        ({"partitions": 1.5}, ValueError, "expected partitions"),
        ({"name": ""}, TypeError, "expected name"),
        ({"name": 7}, TypeError, "expected name"),
        ({"listeners": "events"}, TypeError, "expected listeners"),
        ({"listeners": [7]}, TypeError, "expected listeners"),
        ({"listeners": ["ghost"]}, NotFound, "no process is named 'ghost'"),
        ({"meta": 7}, TypeError, "expected meta"),
        ({"linger": 1}, TypeError, "expected linger"),
    ],
)
def test_bad_options_start_nothing(options: dict[str, Any], error: type[Exception], message: str) -> None:
    complete = {"keys": "unique", "name": "bad-options", **options}
    with pytest.raises(error, match=message):
        Registry.start_link(**complete)
    assert "bad-options" not in Registry.registries()
    assert process.whereis("bad-options") is None


def test_a_child_spec_names_what_is_wrong() -> None:
    with pytest.raises(TypeError, match="'key'"):
        Registry.child_spec(key="unique", name="x")
    with pytest.raises(TypeError, match="'name' is missing"):
        Registry.child_spec(keys="unique")
    spec = Registry.child_spec({"keys": "unique", "name": "users"}, linger=True)
    assert spec.id == "users"
    assert spec.start[2] == {"keys": "unique", "name": "users", "linger": True}


def test_keys_of_something_that_is_no_process_are_refused(registry: str) -> None:
    for bad in (None, "name", 7):
        with pytest.raises(TypeError, match="expected pid to be a Pid"):
            Registry.keys(registry, bad)  # type: ignore[arg-type]


def test_a_key_that_registers_while_it_is_hashed_does_no_harm(registry: str) -> None:
    class Nested:
        def __init__(self, depth: int) -> None:
            self.depth = depth

        def __hash__(self) -> int:
            if self.depth:
                depth, self.depth = self.depth, 0
                Registry.register(registry, Nested(depth - 1))
            return 1

        def __eq__(self, other: object) -> bool:
            return self is other

    me = Registry.register(registry, Nested(3))
    assert Registry.count(registry) == 4
    assert len(Registry.keys(registry, me)) == 4


def test_the_pid_of_a_dead_process_has_no_keys(
    registry: str, owner: Start, end: Callable[[Pid], object]
) -> None:
    other = owner()
    other.call(lambda: Registry.register(registry, "key"))
    end(other)
    assert Registry.keys(registry, other) == []
    assert Registry.values(registry, "key", other) == []
