from __future__ import annotations

from typing import Any

import attrs
import pytest

from resprout.observer.look import Lookout, children_of
from resprout.observer.snapshot import Child
from resprout.observer.tally import Tally
from resprout.supervision import StartingChild, TreeNode
from resprout.supervision.trees.functions import start_function


class Worker: ...


class Lock:
    __module__ = "resprout.throttle.acquire"


class Registry:
    __module__ = "resprout.registry.server"


class Engine:
    __module__ = "resprout.cluster.server"


class Api:
    __module__ = "resprout.supervision.trees.asgi"


class Lookalike:
    __module__ = "resprout.throttled"


@attrs.frozen(eq=False)
class FakePid:
    actor: object
    alive: bool = True


def node(id: object, pid: Any = None, *children: TreeNode, **more: Any) -> TreeNode:
    kind: Any = "supervisor" if children else "worker"
    return TreeNode(id, kind, more.pop("state", "running"), pid, children=children, **more)


def look(*children: TreeNode) -> tuple[Child, ...]:
    return children_of(node("root", None, *children), (), 100.0)


@pytest.mark.parametrize(
    ("actor", "kind"),
    [
        (Worker(), "worker"),
        (Lock(), "lock"),
        (Registry(), "registry"),
        (Engine(), "engine"),
        (Api(), "api"),
        (Lookalike(), "worker"),
        (None, "worker"),
    ],
)
def test_what_the_library_supplies_is_told_by_its_class(actor: object, kind: str) -> None:
    assert look(node("x", FakePid(actor)))[0].kind == kind


def test_paths_start_below_the_root_and_groups_are_those_of_siblings() -> None:
    (services, diggers) = look(
        node("services", None, node("api-1")),
        node("diggers", None, node("digger-0"), node("digger-1"), node("foreman")),
    )
    assert services.kind == "supervisor"
    assert [(child.path, child.group, child.replicas) for child in services.children] == [
        (("services", "api-1"), ("services", "api-1"), 1)
    ]
    assert [(child.label, child.group, child.replicas) for child in diggers.children] == [
        ("diggers/digger-0", ("diggers", "digger"), 2),
        ("diggers/digger-1", ("diggers", "digger"), 2),
        ("diggers/foreman", ("diggers", "foreman"), 1),
    ]


def test_dynamic_children_of_one_id_are_told_apart_and_are_replicas() -> None:
    found = look(node("sync"), node("sync"), node(("other", 1)))
    assert [(child.id, child.replicas) for child in found] == [
        ("sync #0", 2),
        ("sync #1", 2),
        ("('other', 1)", 1),
    ]
    assert found[0].group == ("sync",)


def test_the_numbers_of_dynamic_children_stay_when_others_go() -> None:
    all_three = [node("sync", number=number, restart="permanent") for number in (4, 5, 6)]
    services = look(node("services", None, *all_three))
    assert [child.id for child in services[0].children] == ["sync #4", "sync #5", "sync #6"]
    assert {(child.dynamic, child.temporary) for child in services[0].children} == {(True, False)}
    fewer = look(node("services", None, *all_three[1:]))[0].children
    alone = look(node("services", None, all_three[2]))[0].children
    assert [child.place for child in fewer] == [("services", 5), ("services", 6)]
    assert (alone[0].id, alone[0].place) == ("sync", ("services", 6))


def test_a_child_that_nobody_starts_again_is_marked() -> None:
    (child,) = look(node("x", restart="temporary"))
    assert (child.temporary, child.dynamic, child.place) == (True, False, ("x",))


def test_a_process_whose_supervisor_has_not_heard_of_its_death_is_restarting() -> None:
    (child,) = look(node("x", FakePid(Worker(), alive=False), restarts=3))
    assert (child.state, child.process, child.restarts) == ("restarting", None, 3)


def test_the_start_of_a_process_is_on_the_monotonic_clock() -> None:
    assert look(node("x", FakePid(Worker()), uptime=2.5))[0].started == 97.5
    assert look(node("x", state="down"))[0].started is None


def loops() -> None: ...


class Maker:
    @staticmethod
    def start_link() -> None: ...

    @classmethod
    def start(cls) -> None: ...


@pytest.mark.parametrize(
    ("start", "by_mistake"),
    [(loops, True), (Maker.start_link, False), (Maker.start, False), (start_function, False), (len, False)],
)
def test_only_a_plain_function_that_started_nothing_may_be_a_mistake(start: Any, by_mistake: bool) -> None:
    (child,) = look(node("x", state="down", start=start, ignored=True))
    assert child.by_mistake is by_mistake
    assert not look(node("x", state="down", start=start))[0].by_mistake


def test_what_is_being_started_is_seen_with_its_path_and_its_kind() -> None:
    found = [StartingChild(("s", "t"), loops), StartingChild(("u",), Maker.start_link)]
    lookout = Lookout("app", lambda: None, None, Tally(lambda: None), starting=lambda: found)
    assert [(start.label, start.seconds, start.function) for start in lookout.look().starting] == [
        ("s/t", 0.0, True),
        ("u", 0.0, False),
    ]
    del found[0]
    later = lookout.look().starting
    assert [start.label for start in later] == ["u"]
    assert later[0].seconds > 0.0
