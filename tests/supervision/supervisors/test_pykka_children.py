"""An unmodified Pykka actor under a supervisor is used through its Pid as through a ref of Pykka's."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from resprout.actors import (
    BlockingInLoop,
    CallTimeout,
    ChildSpec,
    Future,
    GenServer,
    NoProcess,
    Pid,
    ServerExit,
    process,
)
from resprout.actors import sys as actor_sys
from resprout.supervision import Supervisor

from ...waiting import down_of, until

WATCHDOG = 20.0


@pykka.traversable
class Player:
    """Something that the actor lets others use."""

    def __init__(self) -> None:
        self.volume = 3

    def louder(self, by: int = 1) -> int:
        self.volume += by
        return self.volume


class Pause:
    """A message that keeps the actor busy until it is over."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()


def keep_busy(old: Any) -> Pause:
    pause = Pause()
    old.tell(pause)
    assert pause.begun.wait(WATCHDOG)
    return pause


class Old(pykka.ThreadingActor):
    """An actor as it was written for Pykka."""

    def __init__(self, greeting: str = "hi") -> None:
        super().__init__()
        self.greeting = greeting
        self.player = Player()
        self.seen: list[object] = []

    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crashed on purpose")
        if isinstance(message, Pause):
            message.begun.set()
            message.over.wait(WATCHDOG)
        return message

    def hi(self, name: str = "") -> str:
        return self.greeting + name

    def fail(self) -> None:
        raise ValueError("no")

    def note(self, what: object) -> None:
        self.seen.append(what)


@pytest.fixture
def supervisor() -> Iterator[Pid]:
    pid = Supervisor.start_link(
        [ChildSpec("old", (Old.start, ("hello",)))], strategy="one_for_one", max_restarts=10
    )
    yield pid
    Supervisor.stop(pid)


def child_of(supervisor: Pid) -> Any:
    (child,) = Supervisor.which_children(supervisor)
    return child.pid


@pytest.fixture(params=["first", "restarted"])
def old(request: pytest.FixtureRequest, supervisor: Pid) -> Any:
    """The child, as it was started and as its successor."""
    first = child_of(supervisor)
    if request.param == "first":
        return first
    ref = process.monitor(first)
    first.tell("crash")
    down_of(ref)
    # The supervisor has heard of the death before it answers; while it starts the next there is no Pid.
    while not isinstance(second := child_of(supervisor), Pid) or second is first:
        pass
    return second


def test_a_proxy_calls_methods(old: Any) -> None:
    assert old.proxy().hi().get(timeout=WATCHDOG) == "hello"
    assert old.proxy().hi(", you").get(timeout=WATCHDOG) == "hello, you"


def test_a_proxy_reads_and_sets_attributes(old: Any) -> None:
    proxy = old.proxy()
    assert proxy.greeting.get(timeout=WATCHDOG) == "hello"
    proxy.greeting = "good day"
    assert proxy.greeting.get(timeout=WATCHDOG) == "good day"
    assert proxy.hi().get(timeout=WATCHDOG) == "good day"


def test_a_proxy_goes_into_traversable_attributes(old: Any) -> None:
    proxy = old.proxy()
    assert proxy.player.volume.get(timeout=WATCHDOG) == 3
    assert proxy.player.louder(2).get(timeout=WATCHDOG) == 5
    proxy.player.volume = 11
    assert proxy.player.louder().get(timeout=WATCHDOG) == 12


def test_a_proxy_defers_calls(old: Any) -> None:
    proxy = old.proxy()
    proxy.note.defer("seen")
    assert proxy.seen.get(timeout=WATCHDOG) == ["seen"]


def test_a_proxy_call_that_raises_gives_the_exception_and_the_actor_lives_on(old: Any) -> None:
    proxy = old.proxy()
    with pytest.raises(ValueError, match="no"):
        proxy.fail().get(timeout=WATCHDOG)
    assert proxy.hi().get(timeout=WATCHDOG) == "hello"


def test_a_proxy_refuses_unknown_attributes(old: Any) -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ho'"):
        old.proxy().ho()


def test_pykkas_own_functions_take_the_pid(old: Any) -> None:
    proxy: Any = pykka.ActorProxy(actor_ref=old)
    futures = [proxy.hi(str(number)) for number in range(3)]
    assert pykka.get_all(futures, timeout=WATCHDOG) == ["hello0", "hello1", "hello2"]
    assert (old.actor_class, old.actor_urn) == (Old, old.ref.actor_urn)


def test_requests_wait_or_give_a_future_of_ours(old: Any) -> None:
    assert old.ask("x", timeout=WATCHDOG) == "x"
    assert isinstance(old.ask("x", block=False), Future)
    assert old.ask("x", block=False).get(timeout=WATCHDOG) == "x"
    assert old.request("x").result(WATCHDOG) == "x"
    assert GenServer.call(old, "x") == "x"


def test_a_coroutine_awaits_the_answer_and_is_not_let_wait_for_it(old: Any) -> None:
    async def main() -> object:
        with pytest.raises(BlockingInLoop, match=r"await pid\.ask\(message, block=False\)"):
            old.ask("x")
        return await asyncio.wait_for(old.proxy().hi(), WATCHDOG)

    assert asyncio.run(main()) == "hello"


def test_no_request_is_kept_when_it_is_answered(old: Any) -> None:
    for number in range(3):
        assert old.proxy().hi(str(number)).get(timeout=WATCHDOG) == f"hello{number}"
    assert not old._calls


def test_a_request_that_is_not_answered_in_time_says_so(old: Any) -> None:
    busy = keep_busy(old)
    with pytest.raises(CallTimeout, match=r"did not answer 'x' within 0\.01 s"):
        old.call("x", timeout=0.01)
    busy.over.set()
    assert old.ask("y", timeout=WATCHDOG) == "y", "what came late is dropped"


def test_what_waits_when_the_actor_stops_hears_of_it(old: Any) -> None:
    busy = keep_busy(old)
    old.tell("crash")
    futures = [old.ask("late", block=False), old.proxy().hi()]
    waited = process.spawn_monitor(old.call, "late", WATCHDOG)[1]
    while old.actor_inbox.qsize() < 4:
        pass  # until the call has been sent
    busy.over.set()
    for future in futures:
        with pytest.raises(pykka.ActorDeadError):
            future.get(timeout=WATCHDOG)
    down = process.receive(lambda message: getattr(message, "ref", None) == waited, WATCHDOG)
    assert type(down.reason.exception) is ServerExit
    assert isinstance(down.reason.exception.reason.exception, RuntimeError)


def test_the_functions_of_a_server_reach_it(old: Any) -> None:
    assert GenServer.send_request(old, "x").result(WATCHDOG) == "x"

    async def main() -> object:
        return await GenServer.acall(old, "y", WATCHDOG)

    assert asyncio.run(main()) == "y"
    with pytest.raises(TypeError, match="is a pykka, which answers no system requests"):
        actor_sys.get_state(old)
    GenServer.stop(old, timeout=WATCHDOG)
    assert not old.is_alive()


@pytest.mark.parametrize("collected", [False, True])
@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_one_that_has_ended_before_its_supervisor_sees_it_counts_as_noproc_and_is_started_again(
    restart, collected
):
    kept: list[object] = []

    def start() -> object:
        ref = Old.start()
        if not kept:
            kept.append(None if collected else ref._actor_weakref())
            ref.stop()
            if collected:
                until(lambda: (gc.collect(), ref._actor_weakref())[1] is None)
        return ref

    tree = Supervisor.start_link([ChildSpec("old", (start,), restart=restart)], strategy="one_for_one")
    until(lambda: isinstance(child_of(tree), Pid) and child_of(tree).is_alive())
    assert child_of(tree).ask("x", timeout=WATCHDOG) == "x"
    Supervisor.stop(tree)


def test_one_that_has_ended_before_its_supervisor_sees_it_is_over_if_it_is_temporary():
    def start() -> object:
        ref = Old.start()
        ref.stop()
        return ref

    tree = Supervisor.start_link([ChildSpec("old", (start,), restart="temporary")], strategy="one_for_one")
    until(lambda: Supervisor.which_children(tree) == [])
    Supervisor.stop(tree)


def test_the_dead_are_dead_in_every_form(supervisor: Pid) -> None:
    old = child_of(supervisor)
    assert old.stop() is True
    assert not old.is_alive()
    for form in (
        old.proxy,
        lambda: old.ask("x"),
        lambda: old.ask("x", block=False).get(timeout=WATCHDOG),
        lambda: old.tell("x"),
        lambda: pykka.ActorProxy(actor_ref=old),
    ):
        with pytest.raises(pykka.ActorDeadError):
            form()
    with pytest.raises(NoProcess):
        old.call("x")
    assert old.stop() is False
    assert old.stop(block=False).get(timeout=WATCHDOG) is False
