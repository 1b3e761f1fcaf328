from __future__ import annotations

import threading

import pytest

from resprout.observer.screen import QuietScreen
from resprout.observer.snapshot import Snapshot
from resprout.observer.watch import Watch


class Eager(QuietScreen):
    """A screen that notes what it is told, and lets the test wait for it."""

    interval = 0.001

    def __init__(self) -> None:
        self.shown = threading.Semaphore(0)
        self.said: list[str] = []

    def open(self) -> None:
        self.said.append("open")

    def show(self, snapshot: Snapshot) -> None:
        self.said.append("show")
        self.shown.release()

    def close(self) -> None:
        self.said.append("close")


class Broken(Eager):
    def show(self, snapshot: Snapshot) -> None:
        super().show(snapshot)
        raise OSError("the terminal is gone")


class Unopened(Eager):
    def open(self) -> None:
        raise OSError("no such terminal")


def watching() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "resprout observer display"]


def test_it_shows_between_open_and_close_and_leaves_no_thread() -> None:
    screen = Eager()
    watch = Watch(lambda: Snapshot("x"), screen)
    watch.start()
    for _ in range(3):
        assert screen.shown.acquire(timeout=60)
    watch.stop()
    assert (screen.said[0], screen.said[-1]) == ("open", "close")
    assert set(screen.said[1:-1]) == {"show"}
    assert watching() == []


def test_a_display_that_fails_is_told_once_and_takes_nothing_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    screen = Broken()
    watch = Watch(lambda: Snapshot("x"), screen)
    watch.start()
    assert screen.shown.acquire(timeout=60)
    watch.stop()
    assert screen.said == ["open", "show", "close"]
    assert [record.message for record in caplog.records] == [
        "the display failed; the tree goes on without it"
    ]


def test_a_screen_that_did_not_open_is_closed_all_the_same() -> None:
    screen = Unopened()
    watch = Watch(lambda: Snapshot("x"), screen)
    with pytest.raises(OSError, match="no such terminal"):
        watch.start()
    watch.stop()
    assert screen.said == ["close"]
