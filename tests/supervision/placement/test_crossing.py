"""What crosses between OS processes: messages whole, or an error where they were sent; errors in any case."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from placed_servers import Blocks, Echo, LocalError, Newest, NotLoaded, Small

import resprout
from resprout.actors import (
    CallTimeout,
    ChildSpec,
    Crash,
    GenServer,
    MailboxFull,
    NotPicklable,
    Pid,
    ResproutError,
    Shutdown,
    StartError,
    Task,
    process,
    sys,
)
from resprout.supervision import Supervisor
from resprout.supervision.placement.crossing import FarError, pack, pack_reason, unpack_reason
from resprout.supervision.placement.frames import Frame, FrameReader, packed

from ...waiting import WATCHDOG, until
from .conftest import os_pid

Placed = Callable[..., Pid]


@attrs.frozen
class Order:
    lines: Any


def every_error() -> list[type[BaseException]]:
    found: list[type[BaseException]] = []
    waiting: list[type[BaseException]] = [ResproutError, resprout.Killed]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += [each for each in kind.__subclasses__() if each.__module__.startswith("resprout")]
    return sorted(found, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__qualname__)
def test_every_error_of_the_library_survives_the_crossing(kind: type[BaseException]) -> None:
    error = kind.__new__(kind)
    error.args = ("one",) if issubclass(kind, OSError) else ("one", process.current(), threading.Lock())
    error.__dict__.update(pid=process.current(), name="x", reason="boom", spec="s", field="f", problem="p")
    error.__dict__.update(target="t", request=None, file="f", line=1, column=2, path="p", what="a lock")
    error.__dict__.update(handle=None, problems=(), more=0, chain=(), why="w", token=1, registry="r", key=1)
    error.__dict__.update(ended="e")
    there = pickle.loads(pack("error", error))
    assert type(there) is kind
    assert str(there) == str(error)
    assert str(unpack_reason(pack_reason(error))) == str(error)


@pytest.mark.parametrize(
    "reason", ["normal", Shutdown("x"), ("exit", -9), Crash(ValueError(1)), Crash(LocalError(1, 2))]
)
def test_reasons_are_equal_afterwards(reason: object) -> None:
    assert unpack_reason(pack_reason(reason)) == reason


def test_what_of_a_reason_cannot_cross_is_printed() -> None:
    class Own(Exception):
        pass

    there = unpack_reason(pack_reason(Crash(Own("text"))))
    assert isinstance(there.exception, FarError)
    assert str(there.exception) == "Own('text')"
    assert "lock" in str(unpack_reason(pack_reason(Shutdown(threading.Lock()))))


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (lambda: 1, "message: "),
        ({"a": [1, threading.Lock()]}, "message['a'][1]: "),
        (Order((1, {"k": lambda: 1})), "message.lines[1]['k']: "),
        ({lambda: 1: 2}, "(the key)"),
    ],
)
def test_what_cannot_be_pickled_is_named(message: object, part: str) -> None:
    with pytest.raises(NotPicklable) as raised:
        pack("message", message)
    assert part in str(raised.value)
    assert "cannot cross to another OS process" in str(raised.value)


def test_a_pid_does_not_cross() -> None:
    with pytest.raises(NotPicklable, match=r"message\[0\]: .*names a process of this interpreter only"):
        pack("message", [process.current()])


def test_frames_come_together_from_pieces_of_any_size() -> None:
    sent = [Frame(1, 0, b""), Frame(200, 2**40, b"abc"), Frame(3, 7, bytes(1000))]
    data = b"".join(packed(frame.kind, frame.number, frame.body) for frame in sent)
    for size in (1, 2, 16, 17, 18, 500, len(data)):
        reader = FrameReader()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [frame for piece in pieces for frame in reader.feed(piece)] == sent


# At the caller


@pytest.mark.parametrize("way", ["call", "cast", "send", "request", "timeout of a call"])
def test_what_cannot_cross_is_an_error_of_the_sender(placed: Placed, way: str) -> None:
    pid = placed(Echo)
    ways: dict[str, Any] = {
        "call": lambda message: pid.call(message),
        "cast": lambda message: GenServer.cast(pid, message),
        "send": lambda message: process.send(pid, message),
        "request": lambda message: GenServer.send_request(pid, message),
        "timeout of a call": lambda message: GenServer.call("placed", message, 0.001),
    }
    with pytest.raises(NotPicklable, match=r"\['lock'\]"):
        ways[way]({"lock": threading.Lock()})
    assert GenServer.call(pid, 1) == 1


@pytest.mark.parametrize(
    ("what", "part"), [("lambda", "reply['f'][0]"), ("lock", "reply"), ("pid", "reply['me']")]
)
def test_a_reply_that_cannot_cross_is_an_error_of_the_caller(placed: Placed, what: str, part: str) -> None:
    pid = placed(Echo)
    with pytest.raises(NotPicklable, match="the reply") as raised:
        GenServer.call(pid, (what,))
    assert raised.value.part == part
    assert GenServer.call(pid, 1) == 1


def test_what_cannot_be_read_there_is_an_error_of_the_caller(placed: Placed) -> None:
    pid = placed(Echo)
    with pytest.raises(NotPicklable, match="no such thing here"):
        GenServer.call(pid, NotLoaded())
    GenServer.cast(pid, NotLoaded())
    assert GenServer.call(pid, 1) == 1


def test_start_arguments_that_cannot_cross_are_a_start_error(supervised: Placed) -> None:
    spec = ChildSpec("it", (Echo.start_link, (threading.Lock(),)), placement="process")
    with pytest.raises(StartError, match="the start of a child") as raised:
        Supervisor.start_child(supervised(), spec)
    assert isinstance(raised.value.reason.exception, NotPicklable)  # type: ignore[attr-defined]


# Sizes and floods


def test_ten_megabytes_cross_both_ways(placed: Placed) -> None:
    pid, big = placed(Echo), bytes(10_000_000)
    assert GenServer.call(pid, big, 60.0) == big
    assert len(GenServer.call(pid, ("big", 10_000_000), 60.0)) == 10_000_000


def test_a_full_pipe_holds_up_nobody(placed: Placed) -> None:
    pid = placed(Echo)
    victim = os_pid(pid)
    os.kill(victim, signal.SIGSTOP)
    for number in range(50):
        pid.cast((number, bytes(100_000)))
    assert pid.mailbox_length() > 20
    os.kill(victim, signal.SIGCONT)
    assert GenServer.call(pid, "last", 60.0) == "last"
    assert pid.mailbox_length() == 0
    assert sys.get_state(pid)[0] == 49


def test_calls_whose_caller_gave_up_are_not_sent(placed: Placed) -> None:
    pid = placed(Echo)
    victim = os_pid(pid)
    os.kill(victim, signal.SIGSTOP)
    pid.cast(bytes(2_000_000))
    with pytest.raises(CallTimeout):
        GenServer.call(pid, ("keep", bytes(3_000_000)), 0.01)
    assert not pid.state.pending  # type: ignore[attr-defined]
    os.kill(victim, signal.SIGCONT)
    assert len(sys.get_state(pid, 60.0)) == 2_000_000


@pytest.mark.parametrize("held", ["handler", "process"])
def test_a_bounded_mailbox_bounds_what_waits_to_be_sent(placed: Placed, held: str) -> None:
    pid = placed(Small)
    victim = os_pid(pid)
    if held == "process":
        os.kill(victim, signal.SIGSTOP)
    else:
        sys.suspend(pid)
    sent = 0
    with pytest.raises(MailboxFull):
        for _ in range(100):
            pid.cast(bytes(200_000))
            sent += 1
    assert 3 <= sent < 20
    with pytest.raises(MailboxFull):
        GenServer.call(pid, 1)
    if held == "process":
        os.kill(victim, signal.SIGCONT)
    else:
        sys.resume(pid)
    until(lambda: pid.mailbox_length() == 0)
    until(lambda: _answers(pid))


def _answers(pid: Pid) -> bool:
    try:
        return bool(GenServer.call(pid, "ok", WATCHDOG) == "ok")
    except MailboxFull:
        return False


def test_a_sender_waits_for_a_place_where_the_class_says_so(placed: Placed) -> None:
    pid = placed(Blocks)
    sys.suspend(pid)
    sent: list[int] = []

    def send() -> None:
        for number in range(30):
            pid.cast((number, bytes(200_000)))
            sent.append(number)

    sender = Task.async_(send)
    until(lambda: len(sent) >= 3 and pid.mailbox_length() >= 3)
    assert len(sent) < 20
    sys.resume(pid)
    Task.await_(sender, WATCHDOG)
    assert sys.get_state(pid)[0] == 29


def test_the_oldest_that_wait_are_dropped_where_the_class_says_so(placed: Placed) -> None:
    pid = placed(Newest)
    sys.suspend(pid)
    for number in range(30):
        pid.cast((number, bytes(200_000)))
    sys.resume(pid)
    until(lambda: sys.get_state(pid) is not None and sys.get_state(pid)[0] == 29)


def test_a_child_that_floods_leaves_the_others_their_turn(placed: Placed, supervised: Placed) -> None:
    flooding, other = placed(Echo), supervised
    start = (Echo.start_link, (), {"name": "other"})
    other(ChildSpec("it", start, placement="process"))
    answer = GenServer.send_request(flooding, ("flood", 3000))
    seen = 0
    while not answer.done():
        assert GenServer.call("other", seen, WATCHDOG) == seen
        seen += 1
    assert answer.result(WATCHDOG) == 3000
    assert seen > 3
