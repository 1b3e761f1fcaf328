from __future__ import annotations

import attrs

from resprout.observer.chaos import How, Rules
from resprout.observer.job import Progress
from resprout.observer.saboteur import ChaosError, Saboteur
from resprout.observer.snapshot import Child, Snapshot


@attrs.define
class ScriptedTree:
    """A tree of two victims, whose processes are numbers, under a clock that the test moves."""

    children: dict[str, Child] = attrs.field(factory=dict)
    done: int = 0
    now: float = 0.0
    comes_back_at_once: bool = False
    ending: bool = False
    ended: set[object] = attrs.field(factory=set)
    taken: list[tuple[object, How, str]] = attrs.field(factory=list)

    def start(self) -> None:
        self.children = {
            "lock": Child(("lock",), "lock", process=1, group=("lock",)),
            "api": Child(("api",), "api", process=2, group=("api",)),
        }

    def look(self) -> Snapshot | None:
        if self.ending:
            return None
        return Snapshot(
            "t", self.now, tuple(self.children.values()), progress=Progress(self.done, 100, "items")
        )

    def take_down(self, process: object, how: How, error: Exception) -> bool:
        assert isinstance(error, ChaosError)
        if process in self.ended:
            return False
        self.taken.append((process, how, str(error)))
        self.set(process, state="running" if self.comes_back_at_once else "restarting")
        if self.comes_back_at_once:
            self.set(process, process=f"{process}'", started=self.now)
        return True

    def restart(self, process: object) -> None:
        self.set(process, state="running", process=f"{process}'")

    def set(self, who: object, **changes: object) -> None:
        for id, child in self.children.items():
            if child.process == who:
                self.children[id] = attrs.evolve(child, **changes)

    def saboteur(self, wanted: int, **rules: frozenset[str]) -> Saboteur:
        return Saboteur(
            self.look,
            lambda: Progress(self.done, 100, "items"),
            self.take_down,
            wanted=wanted,
            seed=1,
            rules=Rules(**rules),
            clock=lambda: self.now,
        )

    def begun(self, wanted: int, **rules: frozenset[str]) -> Saboteur:
        """A saboteur that has seen the tree as it started."""
        self.start()
        saboteur = self.saboteur(wanted, **rules)
        saboteur.step()
        return saboteur


LOCK = frozenset({"lock"})


def test_nothing_is_taken_down_before_the_tree_has_started_and_before_work_is_done() -> None:
    tree = ScriptedTree()
    saboteur = tree.saboteur(10)
    saboteur.step()
    tree.start()
    saboteur.step()
    assert tree.taken == []
    tree.done = 9
    saboteur.step()
    assert len(tree.taken) == 1
    assert tree.taken[0][2] == "taken down by --chaos, number 1 of 10"


def test_one_round_takes_down_one_at_most_even_when_more_are_due() -> None:
    tree = ScriptedTree()
    saboteur = tree.begun(10)
    tree.done = 100
    saboteur.step()
    assert len(tree.taken) == 1


def test_who_is_down_is_not_taken_down_again_until_it_serves() -> None:
    tree = ScriptedTree()
    saboteur = tree.begun(10)
    tree.done = 100
    for _ in range(5):
        saboteur.step()
    assert sorted(str(process) for process, _, _ in tree.taken) == ["1", "2"]
    tree.restart(1)
    saboteur.step()
    assert tree.taken[2][0] == "1'"


def test_a_dynamic_child_is_seen_to_be_back_though_its_path_has_changed() -> None:
    tree = ScriptedTree()
    tree.children = {"a": Child(("a #1",), process=1, group=("a",), dynamic=True, place=(1,))}
    saboteur = tree.saboteur(1)
    saboteur.step()
    tree.done, tree.now = 100, 2.0
    saboteur.step()
    # Another one of that id comes, at the old path.
    tree.children["b"] = Child(("a #1",), process=2, group=("a",), dynamic=True, place=(2,))
    tree.now = 2.25
    saboteur.step()
    assert saboteur.crashes[0].seconds_until_serving is None
    tree.set(1, state="running", process="1'", path=("a #2",), started=2.5)
    tree.now = 2.75
    saboteur.step()
    assert saboteur.crashes[0].seconds_until_serving == 0.5


def test_the_time_until_it_serves_is_measured() -> None:
    tree = ScriptedTree()
    saboteur = tree.begun(1, only=LOCK)
    tree.done, tree.now = 100, 2.0
    saboteur.step()
    tree.now = 2.25
    saboteur.step()
    assert saboteur.crashes[0].seconds_until_serving is None
    tree.restart(1)
    tree.now = 2.75
    saboteur.step()
    (crash,) = saboteur.crashes
    assert (crash.child, crash.kind, crash.how) == ("lock", "lock", "exception")
    assert (crash.at_seconds, crash.seconds_until_serving) == (2.0, 0.75)


def test_it_counts_from_the_death_to_the_start_and_not_from_look_to_look() -> None:
    tree = ScriptedTree()
    saboteur = tree.begun(1, only=LOCK)
    tree.done, tree.now = 100, 2.0
    saboteur.step()
    tree.now = 2.25
    saboteur.has_died("somebody else")
    saboteur.has_died(1)
    tree.set(1, state="running", process="1'", started=2.375)
    tree.now = 9.0
    saboteur.step()
    assert saboteur.crashes[0].seconds_until_serving == 0.125


def test_all_of_the_takedowns_happen_each_kind_equally_often_in_both_ways() -> None:
    tree = ScriptedTree(comes_back_at_once=True)
    saboteur = tree.begun(20)
    tree.done = 100
    for _ in range(30):
        tree.now += 1
        saboteur.step()
    assert len(saboteur.crashes) == 20
    assert {crash.seconds_until_serving for crash in saboteur.crashes} == {0.0}
    assert {(crash.child, crash.how) for crash in saboteur.crashes} == {
        (child, how) for child in ("lock", "api") for how in ("exception", "kill")
    }


def test_a_child_that_came_back_and_found_nothing_left_to_do_has_served() -> None:
    tree = ScriptedTree()
    saboteur = tree.begun(1, only=LOCK)
    tree.done = 100
    saboteur.step()
    tree.set(1, state="down", process=None)
    tree.now = 0.5
    saboteur.step()
    assert saboteur.crashes[0].seconds_until_serving == 0.5


def test_a_tree_that_is_about_to_end_is_left_alone() -> None:
    tree = ScriptedTree()
    saboteur = tree.begun(1)
    tree.done, tree.ending = 100, True
    saboteur.step()
    assert saboteur.crashes == ()


def test_who_ended_before_the_takedown_is_not_counted() -> None:
    tree = ScriptedTree(ended={1})
    saboteur = tree.begun(1, only=LOCK)
    tree.done = 100
    saboteur.step()
    assert saboteur.crashes == ()
    tree.set(1, process="another")
    saboteur.step()
    assert [crash.child for crash in saboteur.crashes] == ["lock"]


def test_a_saboteur_that_was_never_started_can_be_stopped() -> None:
    ScriptedTree().saboteur(1).stop()
