"""Where processes stand in a tree, and which one a word means."""

from __future__ import annotations

import pytest

from resprout.actors import process
from resprout.control.errors import Refusal
from resprout.control.places import find, place_of, top_of, walk
from resprout.control.system import RunningSystem
from resprout.supervision import Application, ChildSpec, DynamicSupervisor, Supervisor

from ..waiting import until

PATHS = ["/", "kafka", "users", "services"]
PATHS += ["services/echo-0", "services/echo-1", "services/echo-2", "services/crasher", "pool"]


def test_places_come_parents_first_in_start_order(application: Application) -> None:
    assert application.root is not None
    assert [place.label for place in walk(top_of(application.root))] == PATHS


@pytest.mark.parametrize("path", PATHS)
def test_a_place_is_found_by_its_path_its_pid_and_its_number(path: str, application: Application) -> None:
    place = find(application.root, path)
    assert place.label == path
    assert place.pid is not None
    for word in (str(place.pid), f"0.{place.pid.id}", f"<0.{place.pid.id}>"):
        assert find(application.root, word) == place
    assert place_of(place.pid) == place


def test_a_place_is_found_by_its_registered_name(application: Application) -> None:
    assert find(application.root, "echo-1").label == "services/echo-1"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("services/ecko-1", "services/echo-1"), ("crashr", "services/crasher"), ("kafak", "kafka")],
)
def test_a_place_that_is_not_there_is_refused_with_the_nearest(
    word: str, meant: str, application: Application
) -> None:
    with pytest.raises(Refusal, match=f"there is no process '{word}'; did you mean '{meant}'") as refused:
        find(application.root, word)
    assert refused.value.kind == "unknown_process"


def spawned() -> ChildSpec:
    return ChildSpec("job", (lambda: process.spawn_link(process.receive),))


def test_dynamic_children_are_told_apart_by_their_numbers(application: Application) -> None:
    first, second = (DynamicSupervisor.start_child("pool", spawned()) for _ in range(2))
    assert find(application.root, "pool/job #1").pid is first
    assert find(application.root, "pool/job #2").pid is second
    with pytest.raises(Refusal):
        find(application.root, "pool/job")
    DynamicSupervisor.terminate_child("pool", first)
    assert find(application.root, "pool/job").pid is second
    assert find(application.root, "pool/job").label == "pool/job #2"


def test_an_id_may_have_slashes_or_be_no_text(application: Application) -> None:
    start = (lambda: process.spawn_link(process.receive),)
    for id in ("a/b", 7, ("a", 1)):
        Supervisor.start_child(application.root, ChildSpec(id, start))
    nested = ChildSpec(
        "c/d", (Supervisor.start_link, ([ChildSpec("e/f", start)],), {"strategy": "one_for_one"})
    )
    Supervisor.start_child(application.root, nested)
    for word in ("a/b", "7", "('a', 1)", "c/d/e/f"):
        assert find(application.root, word).label == word


def test_a_child_that_is_down_has_a_place_and_no_process(application: Application) -> None:
    Supervisor.terminate_child(find(application.root, "services").pid, "crasher")
    place = find(application.root, "services/crasher")
    assert place.row is not None
    assert (place.pid, place.row.state) == (None, "down")


def test_a_process_outside_of_the_tree_is_found_and_has_no_path(application: Application) -> None:
    stranger = process.spawn(process.receive)
    place = find(application.root, f"0.{stranger.id}")
    assert (place.path, place.label) == (None, str(stranger))
    process.exit(stranger, "kill")


def test_pages_of_processes_have_every_process_once(system: RunningSystem) -> None:
    found, offset = [], 0
    while offset is not None:
        page = system.ps(offset=offset, limit=4)
        found += [row["path"] for row in page["rows"]]
        offset = page["next"]
    assert found == PATHS


def test_processes_can_be_chosen_and_sorted(system: RunningSystem) -> None:
    assert [row["path"] for row in system.ps(under="services")["rows"]] == PATHS[3:8]
    assert [row["path"] for row in system.ps(match="Echo")["rows"]] == PATHS[4:7]
    assert system.ps(state="down")["rows"] == []
    process.exit(process.whereis("crasher"), "kill")
    for sort in ("restarts", "uptime"):
        until(lambda by=sort: system.ps(sort=by, limit=1)["rows"][0]["path"] == "services/crasher")


def test_two_hundred_processes_deep_are_walked(application: Application) -> None:
    spec = ChildSpec("leaf", (lambda: process.spawn_link(process.receive),))
    for _ in range(200):
        spec = ChildSpec(
            "s", (Supervisor.start_link, ([spec],), {"strategy": "one_for_one"}), type="supervisor"
        )
    Supervisor.start_child(application.root, spec)
    assert application.root is not None
    labels = [place.label for place in walk(top_of(application.root))]
    assert labels[-1] == "/".join(["s"] * 200 + ["leaf"])
    assert find(application.root, labels[-1]).label == labels[-1]
