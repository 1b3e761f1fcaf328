from __future__ import annotations

import io
import logging
import sys

import pytest
from attrs import evolve

pytest.importorskip("rich", reason="the live picture is an extra")

from rich.console import Console

from resprout.observer.job import Progress
from resprout.observer.live import LiveScreen
from resprout.observer.logs import LogOptions
from resprout.observer.pictures import picture, summary_picture
from resprout.observer.report import Outcome
from resprout.observer.screen import PlainScreen, screen_for
from resprout.observer.snapshot import Child, Lock, Snapshot, Starting, Stopping

NOW = Snapshot(
    "orders",
    4.0,
    (Child(("api",), "api", process=1, restarts=3, group=("api",)),),
    (Lock("kafka[1]", 2, 14, 2),),
    Progress(50, 100, "events"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(stream: io.StringIO) -> Console:
    return Console(file=stream, force_terminal=True, width=100, _environ={"TERM": "xterm"})


def text_of(thing: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100).print(thing)
    return stream.getvalue()


def test_the_picture_shows_tree_locks_and_bar() -> None:
    shown = text_of(picture(NOW))
    for part in ("orders", "4.0 s", "api", "running", "3 restarts", "2 of 2 running", "14 waiting"):
        assert part in shown
    assert "50 of 100 events (50%)" in shown


@pytest.mark.parametrize("height", [8, 12, 24, 60])
@pytest.mark.parametrize("width", [30, 80])
@pytest.mark.parametrize("locks", [0, 3, 50])
def test_a_picture_is_never_higher_than_the_terminal(height: int, width: int, locks: int) -> None:
    snapshot = Snapshot(
        "big",
        1.0,
        tuple(
            Child(
                (name := f"{n}-a-child-of-a-long-name",),
                state="down" if n == 70 else "running",
                group=(name,),
            )
            for n in range(100)
        ),
        tuple(Lock(f"lock-{n}", 1, n, 1) for n in range(locks)),
        Progress(5, 100, "events"),
        stopping=Stopping(1.0, ("70-a-child-of-a-long-name",)),
    )
    stream = io.StringIO()
    Console(file=stream, width=width).print(picture(snapshot, height))
    shown = stream.getvalue().splitlines()
    assert len(shown) <= height
    assert "70-a-child" in stream.getvalue(), "what is not well is there"
    assert shown[1].startswith("stopping (Ctrl-C")
    assert any("more" in line for line in shown)
    assert "5" in shown[-1], "and so is the bar"


def test_names_with_brackets_are_names_and_no_markup() -> None:
    assert "kafka[1]" in text_of(picture(NOW))
    assert "[red]" in text_of(summary_picture(Outcome("x", 1.0, 0, 0, "[red]"), ""))


def test_a_picture_without_job_locks_or_children_can_be_drawn() -> None:
    assert "orders" in text_of(picture(Snapshot("orders")))
    assert "9 calls" in text_of(picture(Snapshot("orders", progress=Progress(9, 0, "calls"))))


def test_a_live_screen_draws_logs_above_itself_and_leaves_its_place_to_the_summary() -> None:
    stream = io.StringIO()
    screen = LiveScreen(console(stream))
    log = logging.Logger("a child")
    log.addHandler(screen.log_handler(LogOptions()))
    screen.open()
    screen.show(NOW)
    log.warning("something odd")
    screen.close()
    screen.summary(Outcome("orders", 1.0, 0, 0, "finished"), "all done")
    shown = stream.getvalue()
    assert shown.index("50 of 100") < shown.index("something odd") < shown.index("all done")


def test_a_terminal_gets_the_picture_and_a_dumb_one_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(screen_for("auto", Terminal()), LiveScreen)
    assert isinstance(screen_for("plain", Terminal()), PlainScreen)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(screen_for("auto", Terminal()), PlainScreen)


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "rich.console", None)  # what Python itself does for "not there"
    assert isinstance(screen_for("auto", Terminal()), PlainScreen)


def test_the_picture_has_where_a_web_application_listens_and_what_was_not_meant_so() -> None:
    api = Child(("api",), "api", process=1, address="127.0.0.1:8080")
    empty = Child(("w",), state="down", by_mistake=True)
    shown = text_of(picture(evolve(NOW, children=(api, empty))))
    assert "api at 127.0.0.1:8080" in shown
    assert "without a process, as what starts it returned None: w (did you mean run:" in shown
    begins = Snapshot("orders", 4.0, starting=(Starting("w", 3.0),))
    assert "still waits for the start of w" in text_of(picture(begins))
