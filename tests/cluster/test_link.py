"""The thread that talks to a server, with a server that is played: when it connects anew, what it tells of
that, and what it says at the end.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from resprout import telemetry
from resprout.cluster import link as links
from resprout.cluster.driver import ConnectionLost, Greeting, Request
from resprout.cluster.handle import Handle
from resprout.cluster.ledger import SharedLedger
from resprout.cluster.link import FIRST_PAUSE, Link
from resprout.cluster.operations import Answer, Leave, Locked, Operation, Pause, Resize
from resprout.cluster.settings import engine_settings
from resprout.throttle.lock.settings import Settings

from ..waiting import until

HERE: Any = SimpleNamespace(
    decide=lambda step: step(), tell_ledger=lambda step: step(), later=lambda tell: None
)
"""A core whose steps are done at once."""


class Failed(ConnectionLost):
    """A server that lives, and fails."""

    by_request = True


class Played:
    """A server, and each of its sessions: it greets, and fails for as long as it is to.

    Attributes:
        fails: tells whether it is to fail.
        locks: so many times what is given back stays taken.
        closed: so many times nobody is let in.
        cuts: what it fails with is the end of the connection.
        begun: when each session began.
        failed: when each step failed.
        said: all that was answered.
    """

    def __init__(self) -> None:
        self.fails: Callable[[Sequence[Request]], object] = lambda requests: False
        self.locks = 0
        self.closed = 0
        self.cuts = False
        self.begun: list[float] = []
        self.failed: list[float] = []
        self.said: list[Operation] = []
        self.greeting = Greeting(1, "played", 0.0, {}, {})
        self._ends = os.pipe()

    def connect(self, *_: object) -> Any:
        if self.closed:
            self.closed -= 1
            raise ConnectionLost("refused")
        self.begun.append(time.monotonic())
        return self

    def fileno(self) -> int:
        return self._ends[0]

    def step(self, requests: Sequence[Request], timeout: float) -> list[Answer]:
        if self.fails(requests):
            self.failed.append(time.monotonic())
            raise (ConnectionLost if self.cuts else Failed)("no such function")
        self.said += [each for request in requests for each in request.operations]
        return [Answer(request.num_slots, False, self._locked(request)) for request in requests]

    def _locked(self, request: Request) -> tuple[Locked, ...]:
        left = [each.ref for each in request.operations if isinstance(each, Leave)]
        if not left or not self.locks:
            return ()
        self.locks -= 1
        return tuple([Locked(ref) for ref in left])

    def notified(self) -> list[Any]:
        return []

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass

    def pauses(self) -> list[float]:
        """From each failure to the session after it."""
        return [after - before for before, after in zip(self.failed, self.begun[1:], strict=False)]

    def end(self) -> None:
        for each in self._ends:
            os.close(each)


@pytest.fixture
def server() -> Iterator[Played]:
    played = Played()
    yield played
    played.end()


@pytest.fixture
def handle() -> Handle:
    return Handle(
        engine_settings("redis://127.0.0.1:1/0", name="e", ttl=3.0, grace=0.15, schema="resprout", node="n")
    )


@pytest.fixture
def link(server: Played, handle: Handle) -> Iterator[Link]:
    failures: list[BaseException] = []
    made = Link(handle, server.connect, failures.append)
    yield made
    made.stop()
    assert failures == []


def ledger_of(handle: Handle) -> SharedLedger:
    ledger = handle.make_ledger(Settings("db", 2, engine="e"), HERE, 0)
    assert isinstance(ledger, SharedLedger)
    return ledger


def grow(pauses: Sequence[float]) -> bool:
    """Whether they do as those between tries to connect, but for the first, which is none."""
    return all(pause >= FIRST_PAUSE * 2**number for number, pause in enumerate(pauses[1:]))


def test_a_server_that_greets_and_does_nothing_is_tried_with_growing_pauses_and_told_of_once(
    server: Played, link: Link, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[telemetry.Event] = []
    telemetry.attach("test", ("resprout", "cluster"), lambda event, *_: heard.append(event))
    server.fails = lambda requests: True
    with caplog.at_level(logging.WARNING, "resprout.cluster"):
        link.start()
        until(lambda: len(server.begun) == 7)
        assert grow(server.pauses()[:6])
        assert [record.getMessage() for record in caplog.records] == [
            "engine 'e' is not reached: no such function"
        ]
        server.fails = lambda requests: False
        until(lambda: len(caplog.records) == 2)
    telemetry.detach("test")
    assert "connected again after" in caplog.text
    names = [event[2] for event in heard if event[2] != "tick"]
    assert names == ["connected", "lost", "reconnected"]


def test_a_server_that_has_answered_is_connected_to_again_at_once(
    server: Played, handle: Handle, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "LONGEST_PAUSE", 3600.0)
    server.cuts = True
    ledger = ledger_of(handle)
    link.start()
    ledger._post(Resize(5))
    until(lambda: server.said)
    server.fails = lambda requests: len(server.begun) == 1
    ledger._post(Resize(6))
    until(lambda: len(server.begun) == 2)
    until(lambda: server.said == [Resize(5), Resize(6)])


def test_that_is_so_after_an_outage_too(
    server: Played, handle: Handle, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    monkeypatch.setattr(links, "FIRST_PAUSE", 1e-6)
    monkeypatch.setattr(Link, "_rest", lambda self, seconds: rests.append(seconds))
    server.cuts = True
    ledger = ledger_of(handle)
    link.start()

    def cut() -> None:
        begun = len(server.begun)
        server.fails = lambda requests: len(server.begun) == begun
        ledger._post(Resize(5))
        until(lambda: len(server.begun) > begun and Resize(5) in server.said)
        server.said.clear()

    server.closed = 20
    cut()
    assert len(rests) == 20
    assert rests[-1] > 100 * rests[0]
    for _ in range(3):
        cut()
    assert len(rests) == 20, "it comes back at once"


def test_who_asks_again_and_again_for_what_fails_has_nobody_connect_as_often(
    server: Played, handle: Handle, link: Link
) -> None:
    ledger = ledger_of(handle)

    def fails(requests: Sequence[Request]) -> bool:
        if not requests:
            # A sign of life, which is answered; what is asked for next is not.
            ledger._post(Leave(1))
        return bool(requests)

    server.fails = fails
    link.start()
    until(lambda: len(server.begun) == 7)
    assert grow(server.pauses()[:6])


def test_what_was_left_before_the_end_is_said_before_the_end(
    server: Played, handle: Handle, link: Link
) -> None:
    ledger = ledger_of(handle)
    began, go_on = threading.Event(), threading.Event()

    def fails(requests: Sequence[Request]) -> bool:
        began.set()
        go_on.wait(10)
        return False

    server.fails = fails
    link.start()
    assert began.wait(10)
    # It is in the middle of a request, and does not look until that is answered.
    ledger._post(Resize(5))
    ledger._post(Pause(False))
    ends = threading.Thread(target=link.stop)
    ends.start()
    until(lambda: link._stopping)
    go_on.set()
    ends.join(10)
    assert server.said == [Resize(5), Pause(False)]


def test_what_stays_taken_is_asked_for_until_it_is_free_though_somebody_is_at_the_ledger(
    server: Played, handle: Handle, link: Link
) -> None:
    later: list[Callable[[], object]] = []
    told: list[Callable[[], object]] = []
    busy: Any = SimpleNamespace(decide=lambda step: step(), tell_ledger=later.append, later=told.append)
    ledger: Any = handle.make_ledger(Settings("db", 2, engine="e"), busy, 0)
    server.locks = 3
    link.start()
    ledger._post(Leave(7))
    # The ledger has not heard of any answer.
    until(lambda: server.said == [Leave(7)] * 4)
    until(lambda: len(later) >= 4)
    for step in later:
        step()
    assert len(told) == 1, "one warning, however often it is asked"
    until(lambda: link._polling == {})
