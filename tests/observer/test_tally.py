from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from resprout.actors import GenServer, Ok, Pid, process, telemetry
from resprout.observer.tally import Tally, signals_seen
from resprout.supervision import ChildRestarting, GaveUp, ShuttingDown


class Server(GenServer):
    blocking = False

    def init(self, arg: object) -> Ok:
        return Ok(None)


@pytest.fixture
def pid() -> Iterator[Pid]:
    started = Server.start()
    assert started is not None
    yield started
    process.exit(started, "kill")


def tell(event: object) -> None:
    telemetry.emit(("resprout", "supervisor", "something"), {}, {"event": event})


def test_restarts_are_counted_and_who_gave_up_is_remembered(pid: Pid) -> None:
    tally = Tally(lambda: None)
    end = GaveUp(pid, "child", "killed", 3, 5.0, "supervisor")
    with tally.attached():
        tell(ChildRestarting(pid, "child", 1, 0.0, ()))
        tell(ChildRestarting(pid, "child", 2, 0.0, ()))
        tell(end)
        tell(GaveUp(pid, "other", "killed", 3, 5.0, "child"))
    tell(ChildRestarting(pid, "child", 3, 0.0, ()))
    assert (tally.restarts, tally.gave_up) == (2, end)


def test_the_end_begins_when_the_root_stops_its_children(pid: Pid) -> None:
    other = Server.start()
    assert other is not None
    tally = Tally(lambda: pid)
    with tally.attached():
        tell(ShuttingDown(other, "shutdown", ()))
        assert not tally.ending
        tell(ShuttingDown(pid, "shutdown", ()))
        assert tally.ending
    process.exit(other, "kill")


def test_deaths_are_told_while_it_is_attached(pid: Pid) -> None:
    dead: list[Pid] = []
    with Tally(lambda: None).attached(dead.append):
        process.exit(pid, "kill")
    assert pid in dead


def test_signals_are_seen_beside_whoever_handles_them() -> None:
    handled: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        handled.append(number)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with signals_seen() as seen:
            assert seen() == []
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert seen() == ["SIGTERM", "SIGTERM"]
            assert seen() == ["SIGTERM", "SIGTERM"]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handled == [signal.SIGTERM] * 2


def test_in_another_thread_no_signals_are_seen() -> None:
    seen_there: list[list[str]] = []

    def look() -> None:
        with signals_seen() as seen:
            seen_there.append(seen())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen_there == [[]]
