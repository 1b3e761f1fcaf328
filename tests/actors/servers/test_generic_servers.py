"""Servers with type arguments, and results without a state, when they run."""

from __future__ import annotations

import pickle
import sys
import types
from typing import Any, Generic

import pykka
import pytest
from typing_extensions import TypeVar, override

from resprout import Crash, Down, GenServer, NoReply, Ok, Pid, Reply, ServerExit, Stop, process

T = TypeVar("T", default=int)


class Plain(GenServer):
    def handle_call(self, message, from_, state):
        return Reply((message, state), state)


class Typed(GenServer[int, str, tuple[str, int]]):
    @override
    def handle_call(self, message: str, from_: Any, state: int) -> Reply[tuple[str, int], int]:
        return Reply((message, state), state)


class OfUsers(GenServer[T, str, Any], Generic[T]):
    def handle_call(self, message: str, from_: Any, state: T) -> Reply[tuple[str, T], T]:
        return Reply((message, state), state)


class Child(OfUsers[int]):
    pass


@pytest.mark.parametrize("kind", [Plain, Typed, OfUsers, Child, OfUsers[int]], ids=str)
def test_a_server_with_type_arguments_is_an_ordinary_one(kind: Any) -> None:
    pid = kind.start(7)
    assert pid.call("x") == ("x", 7)
    assert isinstance(pid.actor, pykka.Actor)
    assert isinstance(pid, pykka.ActorRef)
    pid.stop()


@pytest.mark.parametrize("arguments", [int, (int, str), (int, str, bool), (list[int], str | int, None)])
def test_all_type_arguments_may_be_left_out(arguments: Any) -> None:
    server = types.new_class("Server", (GenServer[arguments],))
    assert issubclass(server, GenServer)
    assert server.__orig_bases__ == (GenServer[arguments],)
    assert Pid[str].__origin__ is Pid[str, int].__origin__ is Pid


def test_type_arguments_cost_an_instance_nothing() -> None:
    plain, typed = Plain(), Typed()
    assert sys.getsizeof(plain) == sys.getsizeof(typed)
    assert vars(plain) == vars(typed) == {}
    assert not hasattr(Reply(1, 2), "__dict__")


def test_results_are_what_they_were() -> None:
    assert Reply(1, 2) == Reply(1, 2, timeout=None)
    assert repr(NoReply(3)) == "NoReply(state=3, timeout=None, continue_with=NOTHING)"
    assert pickle.loads(pickle.dumps(Ok(3))) == Ok(3)


@pytest.mark.parametrize("make", [lambda: Reply("value"), lambda: NoReply(), lambda: NoReply(timeout=1.0)])
def test_a_result_without_its_state_is_an_error_that_names_the_state(make: Any) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'state'"):
        make()


class Forgets(GenServer):
    trap_exit = True

    def init(self, told: Any) -> Any:
        return Ok(told)

    def handle_call(self, message, from_, state):
        return Reply(message)

    def handle_cast(self, message, state):
        return Stop(message)

    def handle_info(self, message, state):
        return Stop(message, "another")

    def terminate(self, reason, state):
        if isinstance(state, Pid):
            state.send(("terminated with", state))
        else:
            process.send("test.forgets", ("terminated with", state))


def test_a_server_that_forgets_its_state_in_a_reply_crashes_with_the_reason() -> None:
    me = process.current()
    with pytest.raises(ServerExit) as caught:
        Forgets.start(me).call("value")
    assert isinstance(caught.value.reason, Crash)
    assert "'state'" in str(caught.value.reason.exception)
    assert process.receive(timeout=5) == ("terminated with", me)


def test_a_stop_without_a_state_keeps_the_state() -> None:
    me = process.current()
    pid = Forgets.start(me)
    ref = process.monitor(pid)
    pid.cast("shutdown")
    assert process.receive(timeout=5) == ("terminated with", me)
    assert process.receive(timeout=5) == Down(ref, pid, "shutdown")


def test_a_stop_with_a_state_has_that_one() -> None:
    process.register(process.current(), "test.forgets")
    pid = Forgets.start(process.current())
    ref = process.monitor(pid)
    pid.send("shutdown")
    assert process.receive(timeout=5) == ("terminated with", "another")
    assert process.receive(timeout=5) == Down(ref, pid, "shutdown")
    process.unregister("test.forgets")


def test_an_init_without_a_state_has_none() -> None:
    class Stateless(GenServer):
        def init(self, arg):
            return Ok()

        def handle_call(self, message, from_, state):
            return Reply(state, state)

    pid = Stateless.start()
    assert pid.call("state") is None
    pid.stop()
