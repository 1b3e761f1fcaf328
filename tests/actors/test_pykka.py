"""Pykka's manners on our processes, and Pykka's own actors among them."""

from __future__ import annotations

import gc
import queue
import weakref
from typing import Any

import pykka
import pytest

from resprout.actors import Crash, Down, Exited, Future, GenServer, NoReply, Ok, Reply, ServerExit, process

WATCHDOG = 20.0


class Counter(GenServer):
    """Has both: callbacks, and attributes and methods that a proxy can use."""

    step = 2

    def init(self, start: Any) -> Any:
        self.value = start
        self.told: list[object] = []
        return Ok()

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(("asked", message), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        self.told.append(message)
        return NoReply(state)

    def add(self, number: int, times: int = 1) -> int:
        self.value += number * times
        return self.value

    def fail(self) -> None:
        raise ValueError("in a method")

    def who(self) -> object:
        return process.current()


# -- refs ---------------------------------------------------------------------------------


def test_a_pid_is_an_actor_ref(way):
    pid = way(Counter).start(0)
    assert isinstance(pid, pykka.ActorRef)
    assert pid.is_alive()
    assert pid.actor_class.__name__ == "Counter"
    assert isinstance(pid.actor_urn, str)
    assert pid.actor_urn != way(Counter).__name__
    pid.stop()
    assert not pid.is_alive()


def test_ask_and_tell(way):
    pid = way(Counter).start(0)
    assert pid.ask("q") == ("asked", "q")
    future = pid.ask("later", block=False)
    assert isinstance(future, pykka.Future)
    assert future.get(timeout=WATCHDOG) == ("asked", "later")
    assert pid.tell("told") is None
    assert pid.proxy().told.get(timeout=WATCHDOG) == ["told"]
    pid.stop()


def test_the_dead_raise_pykkas_error(way, kill):
    pid = way(Counter).start(0)
    kill(pid)
    for talk in (pid.ask, pid.tell):
        with pytest.raises(pykka.ActorDeadError):
            talk("anybody?")
    with pytest.raises(pykka.ActorDeadError):
        pid.ask("anybody?", block=False).get(timeout=WATCHDOG)
    with pytest.raises(pykka.ActorDeadError):
        pid.proxy()


def test_stop_ends_it_after_the_messages_that_are_there(way):
    pid = way(Counter).start(0)
    actor = pid.actor
    for n in range(5):
        pid.tell(n)
    assert pid.stop() is True
    assert pid.exit_reason == "normal"
    assert actor.told == [0, 1, 2, 3, 4]
    assert pid.stop() is False


def test_stop_without_waiting_gives_a_future(way):
    pid = way(Counter).start(0)
    assert pid.stop(block=False).get(timeout=WATCHDOG) is True
    assert pid.stop(block=False).get(timeout=WATCHDOG) is False


def test_an_actor_may_stop_itself(way, reason_of):
    class Stops(Counter):
        def handle_cast(self, message: Any, state: Any) -> Any:
            self.stop()
            self.told.append("stopping comes after this callback")
            return NoReply(state)

    pid = way(Stops).start(0)
    actor = pid.actor
    pid.tell("stop")
    assert reason_of(pid) == "normal"
    assert actor.told == ["stopping comes after this callback"]


def test_it_does_not_enter_pykkas_registry(way):
    pid = way(Counter).start(0)
    assert pykka.ActorRegistry.get_all() == []
    pid.stop()


# -- proxies --------------------------------------------------------------------------------


def test_a_proxy_reads_writes_and_calls(way):
    pid = way(Counter).start(40)
    proxy = pid.proxy()
    assert proxy.value.get(timeout=WATCHDOG) == 40
    assert proxy.add(1).get(timeout=WATCHDOG) == 41
    assert proxy.add(2, times=3).get(timeout=WATCHDOG) == 47
    proxy.value = 7
    assert proxy.value.get(timeout=WATCHDOG) == 7
    assert proxy.step.get(timeout=WATCHDOG) == 2
    assert proxy.who().get(timeout=WATCHDOG) is pid
    assert proxy.actor_ref is pid
    pid.stop()


def test_a_proxy_call_that_raises_gives_the_exception_to_the_caller_and_crashes_the_server(
    way, crashes, reason_of
):
    """Pykka lets the actor live; here a server with a fault is one for its supervisor."""
    pid = way(Counter).start(0)
    future = pid.proxy().fail()
    with pytest.raises(ValueError, match="in a method"):
        future.get(timeout=WATCHDOG)
    assert reason_of(pid) == Crash(ValueError("in a method"))


def test_proxy_calls_can_be_deferred(way):
    pid = way(Counter).start(0)
    proxy = pid.proxy()
    assert proxy.add.defer(5) is None
    assert proxy.value.get(timeout=WATCHDOG) == 5
    pid.stop()


def test_unknown_attributes_are_refused(way):
    pid = way(Counter).start(0)
    with pytest.raises(AttributeError):
        _ = pid.proxy().nonsense
    pid.stop()


def test_get_all_takes_the_answers_of_many(way):
    pids = [way(Counter).start(n) for n in range(5)]
    assert pykka.get_all([pid.proxy().value for pid in pids], timeout=WATCHDOG) == list(range(5))
    for pid in pids:
        pid.stop()


def test_proxy_futures_are_ours(way):
    pid = way(Counter).start(0)
    assert isinstance(pid.proxy().value, Future)
    pid.stop()


# -- actors that know nothing of us ---------------------------------------------------------


class Foreign(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        if message == "fail":
            raise ValueError("boom")
        if message == "stop":
            self.stop()
        return ("foreign", message)


class Meets(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message.ask("hello")


@pytest.fixture
def foreign():
    ref = Foreign.start()
    yield ref
    ref.stop()


def test_a_foreign_actor_can_be_monitored(foreign):
    ref = process.monitor(foreign)
    foreign.stop()
    down = process.receive(timeout=WATCHDOG)
    assert isinstance(down, Down)
    assert (down.ref, down.reason) == (ref, "normal")


def test_monitoring_a_foreign_actor_that_is_dead_tells_noproc_at_once():
    ref = Foreign.start()
    ref.stop()
    process.monitor(ref)
    assert process.receive(timeout=WATCHDOG).reason in ("noproc", "normal")


def test_the_crash_of_a_foreign_actor_is_its_reason(foreign, caplog):
    ref = process.monitor(foreign)
    foreign.tell("fail")
    down = process.receive(timeout=WATCHDOG)
    assert down.ref is ref
    assert down.reason == Crash(ValueError("boom"))


def test_a_foreign_actor_can_be_linked_both_ways(caplog, reason_of):
    process.trap_exit(True)
    ref = Foreign.start()
    process.link(ref)
    ref.stop()
    exited = process.receive(timeout=WATCHDOG)
    assert isinstance(exited, Exited)
    assert exited.reason == "normal"

    class Links(GenServer):
        def init(self, arg: Any) -> Any:
            process.link(arg)
            return Ok()

    ref = Foreign.start()
    pid = Links.start(ref)
    process.exit(pid, "fault")
    watch = process.monitor(ref)
    assert (
        process.receive(lambda message: getattr(message, "ref", None) is watch, timeout=WATCHDOG).reason
        is not None
    )
    assert not ref.is_alive()


def test_a_foreign_actor_can_be_called_cast_and_sent_to(foreign):
    assert GenServer.call(foreign, "hello") == ("foreign", "hello")
    GenServer.cast(foreign, "cast")
    process.send(foreign, "sent")
    assert process.alive(foreign)


def test_our_exit_signal_stops_a_foreign_actor(foreign):
    watch = process.monitor(foreign)
    process.exit(foreign, "shutdown")
    assert process.receive(lambda message: getattr(message, "ref", None) is watch, timeout=WATCHDOG)
    assert not foreign.is_alive()


def test_a_foreign_actor_may_ask_one_of_ours(way):
    pid = way(Counter).start(0)
    ref = Meets.start()
    assert ref.ask(pid) == ("asked", "hello")
    ref.stop()
    pid.stop()


def test_one_of_ours_may_ask_a_foreign_actor(foreign):
    class Asks(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(message.ask("from ours"), state)

    pid = Asks.start()
    assert pid.call(foreign) == ("foreign", "from ours")
    pid.stop()


def test_nothing_of_a_foreign_actor_is_kept_when_it_has_ended():
    ref = Foreign.start()
    process.monitor(ref)
    ref.stop()
    watch = weakref.ref(ref)
    process.receive(timeout=WATCHDOG)
    del ref
    process.send_after(process.current(), "barrier", 0.1)
    process.receive(timeout=WATCHDOG)
    gc.collect()
    assert watch() is None


def test_a_foreign_callers_future_hears_of_the_death_of_one_of_ours(gate, kill):
    held = gate()
    answers: queue.Queue[object] = queue.Queue()

    class Waits(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            held()
            return Reply(0, state)

    class Asker(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            try:
                answers.put(message.ask("wait"))
            except pykka.ActorDeadError:
                answers.put("dead")
            except ServerExit as error:
                answers.put(error.reason)

    pid = Waits.start()
    ref = Asker.start()
    ref.tell(pid)
    held.await_arrival()
    kill(pid)
    assert answers.get(timeout=WATCHDOG) == "killed"
    held.open()
    ref.stop()
