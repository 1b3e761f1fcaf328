"""Which supervisors gave up for good: a pure core, fed with events. Pids are letters here."""

from __future__ import annotations

from typing import Any

import pytest

from resprout.supervision.supervisors.events import ChildExited, ChildStarted, GaveUp
from resprout.supervision.trees.unrecovered import Unrecovered


def gave_up(supervisor: Any, scope: str = "supervisor") -> GaveUp:
    return GaveUp(supervisor, "child", "reason", 3, 5.0, scope)


def exited(supervisor: Any, id: str, pid: Any) -> ChildExited:
    return ChildExited(supervisor, id, pid, "shutdown", stopped=False)


def started(supervisor: Any, id: str, pid: Any) -> ChildStarted:
    return ChildStarted(supervisor, id, pid, restarts=1)


def lost_after(*events: Any) -> list[Any]:
    core = Unrecovered()
    for event in events:
        match event:
            case GaveUp():
                core.gave_up(event)
            case ChildExited():
                core.child_exited(event)
            case ChildStarted():
                core.child_started(event)
    return [event.supervisor for event in core.events()]


@pytest.mark.parametrize(
    ("events", "lost"),
    [
        ([], []),
        ([gave_up("root")], ["root"]),
        ([gave_up("s", scope="child")], []),
        ([gave_up("s"), exited("root", "s", "s")], ["s"]),
        ([gave_up("s"), exited("root", "s", "s"), started("root", "s", "s2")], []),
        # Another child of the same parent makes nothing good.
        ([gave_up("s"), exited("root", "s", "s"), started("root", "t", "t2")], ["s"]),
        # Neither does a child of that id elsewhere.
        ([gave_up("s"), exited("root", "s", "s"), started("other", "s", "x")], ["s"]),
        ([exited("root", "s", "s"), started("root", "s", "s2")], []),
    ],
)
def test_who_gave_up_and_was_not_started_again(events: list[Any], lost: list[str]) -> None:
    assert lost_after(*events) == lost


def test_a_supervisor_that_gave_up_twice_and_came_back_twice_is_fine() -> None:
    once = [gave_up("s"), exited("root", "s", "s"), started("root", "s", "s2")]
    assert lost_after(*once, gave_up("s2"), exited("root", "s", "s2"), started("root", "s", "s3")) == []


def test_when_the_parent_gives_up_too_it_is_the_grandparent_who_makes_both_good() -> None:
    both = [gave_up("s"), exited("parent", "s", "s"), gave_up("parent"), exited("root", "p", "parent")]
    assert lost_after(*both) == ["parent", "s"]
    assert lost_after(*both, started("root", "p", "parent2")) == []


def test_a_parent_that_is_restarted_for_other_reasons_makes_its_children_good() -> None:
    assert lost_after(gave_up("s"), exited("parent", "s", "s"), exited("root", "p", "parent")) == ["s"]
    events = [
        gave_up("s"),
        exited("parent", "s", "s"),
        exited("root", "p", "parent"),
        started("root", "p", "p2"),
    ]
    assert lost_after(*events) == []
