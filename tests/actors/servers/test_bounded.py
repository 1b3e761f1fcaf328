"""Mailboxes of limited size: rejecting, dropping, making senders wait; notices are never lost."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import pytest

from resprout.actors import (
    Bounded,
    CallTimeout,
    Down,
    Exited,
    GenServer,
    MailboxFull,
    Reply,
    ServerExit,
    process,
    sys,
    telemetry,
)
from resprout.actors.engine import Notice, has_room, offer, when_room
from resprout.actors.runtime import parking as waiting

from ...scripted import Keeps
from ...waiting import down_of

WATCHDOG = 5.0


class Server(Keeps):
    trap_exit = True
    mailbox = Bounded(10)


def bounded(kind: Any, size: int, on_full: str) -> Any:
    """A suspended server with a bounded mailbox, so that what is sent stays there."""
    pid = type("Server", (kind,), {"mailbox": Bounded(size, on_full=on_full)}).start()
    sys.suspend(pid)
    return pid


@pytest.fixture
def events():
    seen: list[Any] = []
    telemetry.attach(
        "bounded",
        ("resprout", "mailbox"),
        lambda event, measured, about: seen.append((event[-1], about["message"])),
    )
    yield seen
    telemetry.detach("bounded")


def state_of(pid: Any) -> Any:
    sys.resume(pid)
    return pid.call("state", timeout=WATCHDOG)


def test_a_mailbox_with_room_is_like_any_other(way):
    pid = way(Server).start()
    for n in range(3):
        pid.cast(n)
    assert pid.call("state") == [0, 1, 2]
    pid.stop()


@pytest.mark.parametrize("send", ["cast", "send", "call", "tell", "ask"])
def test_reject_raises_at_the_sender(way, send, events):
    pid = bounded(way(Server), 3, "reject")
    for n in range(3):
        pid.cast(n)
    with pytest.raises(MailboxFull, match="3") as caught:
        getattr(pid, send)("too many")
    assert caught.value.pid is pid
    assert events == [("rejected", "too many")]
    assert state_of(pid) == [0, 1, 2]
    assert sys.statistics(pid).rejected == 1
    pid.stop()


@pytest.mark.parametrize(
    ("on_full", "dropped", "kept"),
    [
        pytest.param("drop_newest", [3, 4, 5], [0, 1, 2], id="drop_newest throws the new one away"),
        pytest.param("drop_oldest", [0, 1, 2], [3, 4, 5], id="drop_oldest throws the oldest away"),
    ],
)
def test_what_is_dropped_is_told_and_counted(way, on_full, dropped, kept, events):
    pid = bounded(way(Server), 3, on_full)
    for n in range(6):
        pid.cast(n)
    assert events == [("dropped", n) for n in dropped]
    assert state_of(pid) == kept
    assert sys.statistics(pid).dropped == 3
    pid.stop()


@pytest.mark.parametrize("on_full", ["drop_newest", "drop_oldest"])
def test_a_call_that_is_thrown_away_is_answered_with_the_error(way, on_full):
    pid = bounded(way(Server), 1, on_full)
    first = GenServer.send_request(pid, "state")
    second = GenServer.send_request(pid, "state")
    lost, kept = (second, first) if on_full == "drop_newest" else (first, second)
    with pytest.raises(MailboxFull):
        lost.result(WATCHDOG)
    sys.resume(pid)
    assert kept.result(WATCHDOG) == []
    pid.stop()


@pytest.mark.parametrize("on_full", ["reject", "drop_newest", "drop_oldest", "block"])
def test_notices_and_signals_are_never_lost(way, on_full):
    pid = type("Server", (way(Server),), {"mailbox": Bounded(1, on_full=on_full)}).start()
    others = [Server.start() for _ in range(5)]

    def watch(server: Any) -> None:
        for each in others:
            process.monitor(each)
            process.link(each)

    pid.call(watch)
    sys.suspend(pid)
    pid.cast("fills it")
    for each in others:
        process.exit(each, "kill")
    sys.resume(pid)
    seen = pid.call("state", timeout=WATCHDOG)
    notices = [message for message in seen if isinstance(message, Down | Exited)]
    assert sum(isinstance(message, Down) for message in notices) == 5
    assert sum(isinstance(message, Exited) for message in notices) == 5
    sys.suspend(pid)
    if on_full != "drop_oldest":
        pid.cast("fills it again")
    process.exit(pid, "kill")
    ref = process.monitor(pid)
    assert down_of(ref)


def test_block_makes_the_sender_wait_for_room(way):
    pid = bounded(way(Server), 2, "block")
    for n in range(2):
        pid.cast(n)
    sent: queue.Queue[int] = queue.Queue()

    def send() -> None:
        for n in (2, 3, 4):
            pid.cast(n)
            sent.put(n)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(queue.Empty):
        sent.get(timeout=0.02)
    sys.resume(pid)
    thread.join(WATCHDOG)
    assert not thread.is_alive()
    assert pid.call("state", timeout=WATCHDOG) == [0, 1, 2, 3, 4]
    pid.stop()


def test_a_sender_that_waits_goes_on_when_the_server_dies(way):
    pid = bounded(way(Server), 1, "block")
    pid.cast(0)
    outcome: queue.Queue[object] = queue.Queue()
    started = threading.Barrier(4)

    def send(how: str) -> None:
        started.wait(WATCHDOG)
        try:
            getattr(pid, how)("late")
            outcome.put("went on")
        except Exception as error:
            outcome.put(type(error).__name__)

    threads = [threading.Thread(target=send, args=(how,)) for how in ("cast", "send", "call")]
    for each in threads:
        each.start()
    started.wait(WATCHDOG)
    process.exit(pid, "kill")
    for each in threads:
        each.join(WATCHDOG)
        assert not each.is_alive()
    assert sorted(outcome.get() for _ in threads) in (
        ["ServerExit", "went on", "went on"],
        ["NoProcess", "went on", "went on"],
    )


def test_the_timeout_of_a_call_covers_the_wait_for_room(way):
    pid = bounded(way(Server), 1, "block")
    pid.cast(0)
    outcome: queue.Queue[object] = queue.Queue()

    def call() -> None:
        try:
            outcome.put(pid.call("state", timeout=0.05))
        except CallTimeout:
            outcome.put("timeout")

    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert outcome.get(timeout=3) == "timeout"
    finally:
        sys.resume(pid)
        thread.join(WATCHDOG)
        pid.stop()


def test_a_sender_that_dies_while_it_waits_sends_nothing(way):
    pid = bounded(way(Server), 1, "block")
    pid.cast(0)
    waiting = threading.Event()

    def send() -> None:
        waiting.set()
        pid.cast("from the dead")

    sender = process.spawn(send)
    assert waiting.wait(WATCHDOG)
    process.exit(sender, "kill")
    ref = process.monitor(sender)
    down_of(ref)
    assert state_of(pid) == [0]
    pid.stop()


@pytest.mark.parametrize("on_full", ["reject", "block", "drop_newest"])
def test_a_timer_neither_fails_nor_waits_at_a_full_mailbox(way, on_full, caplog):
    """Nobody is there who could be told, and one full mailbox must not hold up all other timers."""
    pid = bounded(way(Server), 1, on_full)
    pid.cast(0)
    process.send_after(pid, "late", 0)
    process.send_after(process.current(), "barrier", 0.01)
    assert process.receive(timeout=WATCHDOG) == "barrier"
    assert caplog.records == []
    assert state_of(pid) in ([0], [0, "late"])
    pid.stop()


def test_a_result_of_a_task_is_not_lost_at_a_full_mailbox():
    from resprout.actors import Task

    class Owner(Server):
        mailbox = Bounded(1)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            if message == "state":
                return Reply(list(state), state)
            task = Task.async_(message.wait, WATCHDOG)
            self.pid.cast("fills it")
            message.set()
            return Reply(Task.await_(task, WATCHDOG), state)

    pid = Owner.start()
    assert pid.call(threading.Event(), timeout=WATCHDOG) is True
    pid.stop()


def test_the_limit_holds_when_two_send_at_once(at_every_line):
    class Quick(Server):
        blocking = False

    def a_round() -> Any:
        pid = bounded(Quick, 1, "drop_newest")

        def check() -> None:
            assert process.info(pid).message_queue_len <= 1
            process.exit(pid, "kill")

        return lambda: pid.cast("first"), lambda: pid.cast("second"), check

    at_every_line(a_round)


@pytest.mark.parametrize(
    ("size", "on_full"),
    [(0, "reject"), (-1, "reject"), (1.5, "reject"), (True, "reject"), ("3", "reject"), (3, "explode")],
)
def test_bad_limits_are_refused(size, on_full):
    with pytest.raises(ValueError, match="expected"):
        Bounded(size, on_full=on_full)


def test_a_mailbox_that_is_no_bounded_is_refused(way):
    class Odd(Server):
        mailbox = 1000

    with pytest.raises(TypeError, match="Bounded"):
        way(Odd).start()


def test_a_flood_at_a_bounded_mailbox_keeps_it_small(way, hasty):
    pid = type("Server", (way(Server),), {"mailbox": Bounded(50, on_full="block")}).start()
    most: list[int] = []

    def flood(who: int) -> None:
        for n in range(200):
            pid.cast((who, n))
            most.append(pid.mailbox_length())

    threads = [threading.Thread(target=flood, args=(who,)) for who in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WATCHDOG)
        assert not each.is_alive()
    got = pid.call("state", timeout=WATCHDOG)
    assert len(got) == 1_600
    assert max(most) <= 60
    for who in range(8):
        assert [n for sender, n in got if sender == who] == list(range(200))
    pid.stop()


@pytest.mark.parametrize("on_full", ["drop_newest", "drop_oldest"])
def test_a_message_that_is_none_is_thrown_away_like_any_other(on_full):
    class Full(GenServer):
        mailbox = Bounded(1, on_full=on_full)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(message, state)

    pid = Full.start("state")
    process.monitor(pid)
    sys.suspend(pid)
    for _ in range(3):
        pid.send(None)
    assert sys.statistics(pid).dropped == 2
    assert sys.get_state(pid) == "state"
    sys.resume(pid)
    GenServer.stop(pid)


@pytest.mark.parametrize("on_full", ["reject", "drop_oldest", "drop_newest", "block"])
def test_an_offer_never_waits_and_says_whether_there_was_room(way, on_full):
    pid = bounded(way(Server), 2, on_full)
    assert [offer(pid, number) for number in range(2)] == [True, True]
    assert not has_room(pid)
    assert offer(pid, 2) is (on_full == "drop_oldest")
    assert pid.rejected == (on_full == "reject")
    assert pid.dropped == (on_full != "reject")
    sys.resume(pid)
    assert pid.call(None) == ([1, 2] if on_full == "drop_oldest" else [0, 1])
    pid.stop()


def test_an_offer_to_a_mailbox_without_limit_and_to_the_dead_is_a_send(way):
    pid = type("Plain", (way(Server),), {"mailbox": None}).start()
    assert offer(pid, "one")
    assert has_room(pid)
    pid.stop()
    assert offer(pid, "two")


def test_a_notice_needs_no_place_and_frees_none(way):
    class Told(Notice):
        pass

    pid = bounded(way(Server), 1, "reject")
    told = Told()
    pid.send("first")
    pid.send(told)
    sys.resume(pid)
    assert pid.call(None) == ["first", told]
    sys.suspend(pid)
    pid.send("second")
    with pytest.raises(MailboxFull):
        pid.send("third")
    sys.resume(pid)
    pid.stop()


def test_who_asks_is_told_once_when_there_is_room(way):
    pid = bounded(way(Server), 1, "block")
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    when_room(pid, lambda: told.put("at once"))
    assert told.get(timeout=WATCHDOG) == "at once"
    pid.send("full")
    when_room(pid, lambda: told.put("later"))
    assert told.empty()
    sys.resume(pid)
    assert told.get(timeout=WATCHDOG) == "later"
    assert pid.call(None) == ["full"]
    pid.send("more")
    assert pid.call(None) == ["full", "more"]
    assert told.empty()
    pid.stop()


def test_who_asks_for_room_is_told_of_the_end_instead(way):
    pid = bounded(way(Server), 1, "block")
    told: queue.SimpleQueue[str] = queue.SimpleQueue()
    pid.send("full")
    when_room(pid, lambda: told.put("over"))
    process.exit(pid, "kill")
    assert told.get(timeout=WATCHDOG) == "over"


@pytest.mark.parametrize("how", ["a timeout", "an exit signal", "an interrupt"])
def test_a_sender_that_gives_up_passes_on_the_place_that_it_was_woken_for(how, monkeypatch):
    """It gives up at the very moment at which it has been told of a place, and another sleeps beside it."""
    pid = bounded(Server, 1, "block")
    pid.cast("first")
    asleep = threading.Semaphore(0)
    ended: queue.Queue[str] = queue.Queue()
    woken, goes_on = threading.Event(), threading.Event()
    real = waiting.Waiter.wait

    def wait(self: Any, timeout: float | None) -> bool:
        asleep.release()
        if threading.current_thread().name != "hasty" or woken.is_set():
            return real(self, timeout)
        # Woken for certain, but it does not come to itself before the test says so.
        real(self, None)
        woken.set()
        assert goes_on.wait(WATCHDOG)
        if how == "an interrupt":
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(waiting.Waiter, "wait", wait)
    hasties: list[Any] = []
    # Over as soon as it has slept.
    deadline = time.monotonic() + 0.05 if how == "a timeout" else None

    def hasty() -> None:
        hasties.append(process.current())
        try:
            pid._wait_for_place(deadline)
        except (CallTimeout, ServerExit, KeyboardInterrupt):
            ended.put("gave up")

    def patient() -> None:
        pid.cast("patient")
        ended.put("sent")

    threads = []
    for body in (hasty, patient):
        threads.append(threading.Thread(target=body, name=body.__name__, daemon=True))
        threads[-1].start()
        assert asleep.acquire(timeout=WATCHDOG)
    # The only place comes free, and the first in the line is woken for it.
    sys.resume(pid)
    assert woken.wait(WATCHDOG)
    while deadline is not None and time.monotonic() <= deadline:
        threading.Event().wait(0.001)
    if how == "an exit signal":
        process.exit(hasties[0], "enough")
    goes_on.set()
    assert {ended.get(timeout=WATCHDOG) for _ in range(2)} == {"gave up", "sent"}
    for thread in threads:
        thread.join(WATCHDOG)
        assert not thread.is_alive()
    monkeypatch.undo()
    assert "patient" in pid.call("seen")
    pid.stop()
