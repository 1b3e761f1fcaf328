from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import (
    AlreadyRegistered,
    AlreadyStarted,
    GenServer,
    Named,
    NoProcess,
    Ok,
    Pid,
    Reply,
    Stop,
    process,
)
from resprout.registry import Registry, UnknownRegistry, Via

from ..waiting import down_of

Start = Callable[..., Any]
WATCHDOG = 30.0


class Echo(GenServer):
    def init(self, arg: Any) -> Any:
        return Stop("refused") if arg == "refuse" else Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
        return Reply((message, state), state)


class InlineEcho(Echo):
    blocking = False


class AsyncEcho(GenServer):
    async def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
        return Reply((message, state), state)


@pytest.mark.parametrize("kind", [Echo, InlineEcho, AsyncEcho])
@pytest.mark.parametrize("key", ["key", ("user", 7), 7, None, frozenset({1})], ids=repr)
def test_a_server_is_started_and_called_by_its_key(registry: str, kind: type[GenServer], key: Any) -> None:
    pid = kind.start("state", name=Via(registry, key, "value"))
    assert GenServer.call(Via(registry, key), "hello") == ("hello", "state")
    assert Registry.lookup(registry, key) == [(pid, "value")]
    assert process.whereis(Via(registry, key)) is pid
    GenServer.stop(Via(registry, key))
    assert Registry.lookup(registry, key) == []
    with pytest.raises(NoProcess):
        GenServer.call(Via(registry, key), "hello")


def test_a_taken_key_is_a_started_process(registry: str) -> None:
    pid = Echo.start(1, name=Via(registry, "key"))
    with pytest.raises(AlreadyStarted) as caught:
        Echo.start(2, name=Via(registry, "key"))
    assert caught.value.pid is pid
    assert GenServer.call(Via(registry, "key"), "x") == ("x", 1)
    GenServer.stop(pid)


def test_a_start_that_fails_gives_the_key_back(registry: str) -> None:
    for _ in range(3):
        with pytest.raises(Exception, match="refused"):
            Echo.start("refuse", name=Via(registry, "key"))
        assert Registry.lookup(registry, "key") == []
        assert Registry.count(registry) == 0


def test_a_restarted_process_takes_its_key_again(registry: str, end: Start) -> None:
    for life in range(200):
        pid = InlineEcho.start(life, name=Via(registry, "key", life))
        assert Registry.lookup(registry, "key") == [(pid, life)]
        process.exit(pid, "kill")
        # Nothing is awaited: the next life begins while the former may not be swept yet.
    end(pid)
    assert Registry.count(registry) == 0


def test_a_restart_by_whoever_sees_the_end_finds_the_key_free(registry: str) -> None:
    for kind in (Echo, InlineEcho):
        for life in range(50):
            pid = kind.start(life, name=Via(registry, "key", life))
            ref = process.monitor(pid)
            process.exit(pid, "kill")
            down_of(ref)
            assert Registry.lookup(registry, "key") == []
    assert Registry.count(registry) == 0


def test_a_via_is_a_value() -> None:
    assert Via("r", 1) == Via("r", 1, None)
    assert Via("r", 1) != Via("r", 2)
    assert len({Via("r", ("a", 1)), Via("r", ("a", 1)), Via("s", ("a", 1))}) == 2
    assert {Via("r", 1, value=[])}
    assert str(Via("users", 7)) == "users/7"
    assert isinstance(Via("r", 1), Named)
    with pytest.raises(AttributeError):
        Via("r", 1).key = 2  # type: ignore[misc]


def test_a_via_on_duplicate_keys_is_refused(topics: str) -> None:
    Registry.register(topics, "key")
    for use in (
        lambda: Via(topics, "key").whereis_name(),
        lambda: GenServer.call(Via(topics, "key"), "x"),
        lambda: Via(topics, "key").register_name(process.current()),
        lambda: Registry.whereis(topics, "key"),
        lambda: Registry.update_value(topics, "key", str),
    ):
        with pytest.raises(ValueError, match=f"unique keys, and registry '{topics}' has duplicate"):
            use()
    for start in (Echo.start, Echo.start_link):
        with pytest.raises(ValueError, match="unique keys"):
            start(name=Via(topics, "other"))


def test_a_via_on_an_unknown_registry_names_it() -> None:
    with pytest.raises(UnknownRegistry, match="'nowhere'"):
        GenServer.call(Via("nowhere", "key"), "x")
    for start in (Echo.start, Echo.start_link):
        with pytest.raises(UnknownRegistry, match="'nowhere'") as caught:
            start(name=Via("nowhere", "key"))
        assert isinstance(caught.value, ValueError)
    with pytest.raises(UnknownRegistry, match="'nowhere'"):
        asyncio.run(Echo.astart(name=Via("nowhere", "key")))
    GenServer.cast(Via("nowhere", "key"), "to nobody, as to an unknown name")
    with pytest.raises(TypeError, match="expected the registry of a Via"):
        GenServer.call(Via(7, "key"), "x")


def test_nobody_registers_somebody_else(registry: str, owner: Start) -> None:
    other = owner()
    with pytest.raises(ValueError, match="a process registers only itself"):
        Via(registry, "key").register_name(other)
    with pytest.raises(ValueError, match="a process registers only itself"):
        Registry.register_name((registry, "key"), other)
    assert Registry.count(registry) == 0


def test_the_current_process_may_use_a_via_for_itself(registry: str) -> None:
    me = process.current()
    Via(registry, "key", 1).register_name(me)
    assert Registry.lookup(registry, "key") == [(me, 1)]
    with pytest.raises(AlreadyRegistered):
        Via(registry, "key").register_name(me)
    Via(registry, "key").unregister_name(me)
    assert Registry.lookup(registry, "key") == []


def test_the_long_form_of_elixir_works_too(registry: str) -> None:
    pid = Echo.start(1, name=Via(Registry, (registry, "key", "value")))
    assert Registry.lookup(registry, "key") == [(pid, "value")]
    assert GenServer.call(Via(Registry, (registry, "key")), "x") == ("x", 1)
    GenServer.stop(pid)
    assert Registry.count(registry) == 0


def test_anything_that_finds_processes_by_a_term_may_stand_in_a_via() -> None:
    class Finder:
        @staticmethod
        def whereis_name(term: Any) -> Pid | None:
            return process.current() if term == "me" else None

    assert Via(Finder, "me").whereis_name() is process.current()
    assert Via(Finder, "you").whereis_name() is None
    with pytest.raises(NoProcess):
        GenServer.call(Via(Finder, "you"), "x")
    with pytest.raises(ValueError, match="cannot name any"):
        Echo.start(name=Via(Finder, "me"))
