from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import attrs
import pytest

from resprout.actors import Crash, Shutdown, StartError
from resprout.observer.ports import PortReports, port_obstacle
from resprout.supervision import FailedToStartChild
from resprout.supervision.trees.tree_file import Tree, load_tree

TAKEN = OSError(errno.EADDRINUSE, "Address already in use")
DID_NOT_START = "supervisor s: child 'w' did not start: OSError: [Errno 98] Address already in use"


@attrs.define
class Starting:
    """An application, as far as is looked at."""

    tree: Tree
    root: object = None
    start_error: BaseException | None = None

    def fail(self, error: BaseException, *path: str) -> None:
        reason: object = Crash(error)
        for id in reversed(path):
            reason = Shutdown(FailedToStartChild(id, reason))
        self.start_error = StartError(reason)


class Shown(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())

    def log(self, name: str, text: str) -> None:
        self.handle(logging.makeLogRecord({"name": name, "msg": text, "levelno": logging.WARNING}))


@pytest.fixture
def application(tmp_path: Path) -> Any:
    path = tmp_path / "tree.yaml"
    path.write_text(
        "children:\n"
        "- supervisor: s\n"
        "  children:\n"
        "  - {worker: w, run: 'builtins:print', replicas: 2, args: {sep: '${sep:-}', end: '${port_1:-1}'}}\n"
    )
    return Starting(load_tree(path))


@pytest.fixture
def shown(application: Any) -> Shown:
    handler = Shown()
    handler.addFilter(PortReports(application, handler))
    return handler


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (TAKEN, "Address already in use"),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign\nrequested address"), "Cannot assign requested address"),
        (OverflowError("bind(): port must be 0-65535."), "expected a port from 0 to 65535"),
    ],
)
def test_a_port_that_cannot_be_had_is_told_with_the_place_of_the_child(
    application: Any, error: Exception, problem: str
) -> None:
    assert port_obstacle(application) is None
    application.fail(error, "s", "w-1")
    place = f"{application.tree.label}:4:5"
    advice = "choose another port with --set port_1=..."
    assert port_obstacle(application) == f"{place}: child 's/w-1': {problem}; {advice}"


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "no such file"), OverflowError("too large")])
def test_any_other_error_is_none_of_a_port(application: Any, error: Exception) -> None:
    application.fail(error, "s", "w-1")
    assert port_obstacle(application) is None


def test_reports_of_a_start_that_fails_of_a_port_are_not_shown(application: Any, shown: Shown) -> None:
    shown.log("resprout.supervision", DID_NOT_START)
    shown.log("shop", "something else")
    application.fail(TAKEN, "s", "w-0")
    shown.log("resprout.application", "application a did not start: OSError")
    assert shown.texts == ["something else"]


def test_reports_of_a_start_that_fails_otherwise_are_shown_in_order(application: Any, shown: Shown) -> None:
    shown.log("resprout.supervision", DID_NOT_START)
    assert shown.texts == []
    application.fail(ValueError("no"), "s", "w-0")
    shown.log("resprout.application", "application a did not start: ValueError: no")
    assert shown.texts == [DID_NOT_START, "application a did not start: ValueError: no"]


def test_reports_are_shown_as_soon_as_the_tree_has_started(application: Any, shown: Shown) -> None:
    (held,) = shown.filters
    assert isinstance(held, PortReports)
    shown.log("resprout.supervision", DID_NOT_START)
    assert held.settle() == "hold"
    application.root = object()
    assert held.settle() == "show"
    shown.log("resprout.supervision", DID_NOT_START)
    assert shown.texts == [DID_NOT_START] * 2


def test_what_is_still_held_back_when_the_run_ends_is_shown(application: Any, shown: Shown) -> None:
    (held,) = shown.filters
    assert isinstance(held, PortReports)
    shown.log("resprout.supervision", DID_NOT_START)
    held.release()
    held.release()
    assert shown.texts == [DID_NOT_START]
