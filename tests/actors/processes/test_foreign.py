"""Pykka's manners on our processes, and Pykka's own actors among them."""

from __future__ import annotations

import dataclasses
import gc
import logging
import queue
import threading
import time
import weakref
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from resprout.actors import (
    Bounded,
    Crash,
    Down,
    Exited,
    Future,
    GenServer,
    NoReply,
    Ok,
    Reply,
    ServerExit,
    StartError,
    Unhandled,
    process,
    sys,
)

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


class InTheWay(GenServer):
    """What is asked behind it stays in the mailbox until it is told to go on."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message is not None:
            message()
        return Reply("answered", state)


def test_an_ask_that_is_queued_behind_a_stop_fails_as_in_pykka(gate):
    held = gate()
    pid = InTheWay.start()
    first = pid.ask(held, block=False)
    held.await_arrival()
    stopped = pid.stop(block=False)
    late = pid.ask(None, block=False)
    held.open()
    assert first.get(timeout=WATCHDOG) == "answered"
    assert stopped.get(timeout=WATCHDOG) is True
    with pytest.raises(pykka.ActorDeadError) as caught:
        late.get(timeout=WATCHDOG)
    assert isinstance(caught.value, Unhandled)
    assert isinstance(caught.value, ServerExit)
    assert caught.value.reason == "normal"


class TerminateRaises(GenServer):
    def terminate(self, reason: object, state: Any) -> Any:
        raise RuntimeError("in terminate")


@pytest.mark.parametrize("ending", [GenServer, TerminateRaises])
@pytest.mark.parametrize(
    "stop",
    [
        lambda pid: pid.stop(),
        lambda pid: pid.stop(block=False).get(timeout=WATCHDOG),
        lambda pid: stopped_by_envelope(pid),
    ],
    ids=["stop()", "stop(block=False).get()", "an envelope in its inbox"],
)
def test_the_answer_to_a_stop_is_the_death(way, ending, stop, slow_log):
    """Also when the log is slow to take the report of a terminate that raised."""
    cls = way(ending)
    for _ in range(5):
        pid = cls.start(name="pykka.stopped")
        assert stop(pid) is True
        assert not pid.is_alive()
        assert process.whereis("pykka.stopped") is None
        assert stop_is_refused(pid)


def stopped_by_envelope(pid: Any) -> bool:
    """What Pykka's own code does that goes round the methods of a ref."""
    answer: pykka.ThreadingFuture[None] = pykka.ThreadingFuture()
    pid.actor_inbox.put(Envelope(_ActorStop(), reply_to=answer))
    return answer.get(timeout=WATCHDOG) is None


def stop_is_refused(pid: Any) -> bool:
    return pid.stop() is False and pid.stop(block=False).get(timeout=WATCHDOG) is False


@pytest.fixture
def slow_log(monkeypatch: pytest.MonkeyPatch):
    """A handler that gives the processor away for a moment with every record."""

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # What is tested is that nobody comes before its end, so it has to take its time.
            time.sleep(0.02)

    handler = Slow()
    logger = logging.getLogger("resprout")
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "propagate", False)
    yield
    logger.removeHandler(handler)


def test_a_stop_is_answered_when_what_the_server_owned_is_closed(way):
    closed: list[str] = []

    class Owner(GenServer):
        def init(self, arg: Any) -> Any:
            self.own(object(), lambda _: closed.append("closed"))
            return Ok()

    for stop in (lambda pid: pid.stop(), lambda pid: pid.stop(block=False).get(timeout=WATCHDOG)):
        pid = way(Owner).start()
        assert stop(pid) is True
        assert closed.pop() == "closed"


class KnowsItself(GenServer):
    """As Pykka's actors do, it uses its ref and its name in its constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.me = self.actor_ref
        assert self.pid is self.me
        self.text = str(self)
        self.me.tell("sent in __init__")

    def init(self, arg: Any) -> Any:
        return Ok([("init", arg)])

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply((state, self.me is self.pid, self.text == str(self)), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return NoReply([*state, message])


@pytest.mark.parametrize("mailbox", [None, Bounded(3)], ids=["unbounded", "bounded"])
def test_a_server_knows_its_ref_in_its_constructor(way, mailbox):
    cls = way(KnowsItself)
    cls.mailbox = mailbox
    pid = cls.start(1, name="pykka.knows_itself")
    assert pid.ask("look", timeout=WATCHDOG) == ([("init", 1), "sent in __init__"], True, True)
    assert process.whereis("pykka.knows_itself") is pid
    assert pid in process.processes()
    assert pid.stop() is True


def test_a_constructor_that_raises_leaves_no_process_behind(way):
    class Raises(KnowsItself):
        def __init__(self) -> None:
            super().__init__()
            raise ValueError("in __init__")

    before = process.processes()
    with pytest.raises(ValueError, match="in __init__"):
        way(Raises).start()
    assert set(process.processes()) - set(before) <= {process.current()}


def test_a_server_that_stops_itself_in_its_constructor_stops_after_its_start(way, reason_of):
    class Stops(KnowsItself):
        def __init__(self) -> None:
            super().__init__()
            self.stop()

    pid = way(Stops).start()
    assert reason_of(pid) == "normal"


def test_a_server_that_is_killed_in_its_constructor_does_not_start(way):
    class Doomed(KnowsItself):
        def __init__(self) -> None:
            super().__init__()
            process.exit(self.me, "kill")

    before = process.processes()
    with pytest.raises(StartError, match="killed"):
        way(Doomed).start()
    assert set(process.processes()) - set(before) <= {process.current()}


def test_a_server_without_a_hash_knows_its_ref_in_its_constructor():
    @dataclasses.dataclass
    class Data(GenServer):
        known: Any = None

        def __post_init__(self) -> None:
            self.known = self.actor_ref

    pid = Data.start(1)
    assert pid.proxy().known.get(timeout=WATCHDOG) is pid
    pid.stop()


def test_asks_that_a_kill_finds_in_the_mailbox_are_told_so_whoever_tells_them(way, gate, kill):
    """The dying and who asks both answer what is in the mailbox of the dead."""
    for _ in range(50):
        pid = way(InTheWay).start()
        sys.suspend(pid)
        asked: list[Any] = []
        ready = threading.Barrier(2)

        def ask(pid: Any = pid, asked: list[Any] = asked, ready: Any = ready) -> None:
            ready.wait(WATCHDOG)
            asked.extend(pid.ask(None, block=False) for _ in range(20))

        thread = threading.Thread(target=ask)
        thread.start()
        ready.wait(WATCHDOG)
        kill(pid)
        thread.join(WATCHDOG)
        assert len(asked) == 20
        for each in asked:
            with pytest.raises(pykka.ActorDeadError):
                each.get(timeout=WATCHDOG)
