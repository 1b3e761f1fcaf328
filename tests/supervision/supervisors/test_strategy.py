from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resprout.supervision import Backoff, ChildSpec
from resprout.supervision.supervisors.restart_intensity import RestartWindow
from resprout.supervision.supervisors.strategy import (
    Abandon,
    Effects,
    GiveUp,
    Restart,
    ShutDown,
    Siblings,
    TryAgain,
    Wait,
    wants_restart,
)


def spec(id: str, **fields: Any) -> ChildSpec:
    return ChildSpec(id, print, **fields)


def siblings(strategy: str = "one_for_one", *specs: ChildSpec, restarts: int = 3, **options: Any) -> Siblings:
    """Siblings that all run; for a core any hashable does for a Pid: here (id, incarnation)."""
    made = Siblings(strategy, RestartWindow(restarts, 5.0), **options)  # type: ignore[arg-type]
    for each in specs:
        made.started(made.add(each.id, each), (each.id, 1), 0.0)  # type: ignore[arg-type]
    return made


def exit(
    siblings: Siblings, id: str, orderly: bool = False, now: float = 0.0, incarnation: int = 1
) -> Effects:
    return siblings.exited((id, incarnation), orderly, now)  # type: ignore[arg-type]


def ids(children: Any) -> list[Any]:
    return [child.key for child in children]


def states(siblings: Siblings) -> dict[Any, str]:
    return {child.key: child.state for child in siblings.table}


@pytest.mark.parametrize(
    ("restart", "orderly", "restarted"),
    [
        ("permanent", True, True),
        ("permanent", False, True),
        ("transient", True, False),
        ("transient", False, True),
        ("temporary", True, False),
        ("temporary", False, False),
    ],
)
def test_the_restart_type_decides_with_the_reason(restart: Any, orderly: bool, restarted: bool) -> None:
    assert wants_restart(restart, orderly) is restarted


@pytest.mark.parametrize(
    ("strategy", "stop", "start"),
    [
        ("one_for_one", [], ["b"]),
        ("rest_for_one", ["d", "c"], ["b", "c", "d"]),
        ("one_for_all", ["d", "c", "a"], ["a", "b", "c", "d"]),
    ],
)
def test_the_strategy_decides_whom_a_restart_takes_along(
    strategy: str, stop: list[str], start: list[str]
) -> None:
    children = siblings(strategy, *map(spec, "abcd"))
    (effect,) = exit(children, "b")
    assert isinstance(effect, Restart)
    assert (effect.child.key, ids(effect.stop), ids(effect.start)) == ("b", stop, start)


@pytest.mark.parametrize("strategy", ["rest_for_one", "one_for_all"])
def test_temporary_siblings_are_stopped_but_not_started_again(strategy: str) -> None:
    children = siblings(strategy, spec("a"), spec("t", restart="temporary"), spec("c"))
    (effect,) = exit(children, "a")
    assert isinstance(effect, Restart)
    assert (ids(effect.stop), ids(effect.start)) == (["c", "t"], ["a", "c"])
    for child in effect.stop:
        children.stopped(child)
    assert ids(children.table) == ["a", "c"]


def test_children_that_were_down_are_started_by_a_restart_that_takes_them_along() -> None:
    children = siblings("one_for_all", spec("a", restart="transient"), spec("b"))
    assert exit(children, "a", orderly=True) == ()
    (effect,) = exit(children, "b")
    assert isinstance(effect, Restart)
    assert ids(effect.start) == ["a", "b"]


@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_child_that_is_not_restarted_stays_listed_only_if_static_and_not_temporary(
    restart: Any, keeps: bool
) -> None:
    children = siblings("one_for_one", spec("a", restart=restart), keeps=keeps)
    assert exit(children, "a", orderly=True) == ()
    assert states(children) == ({"a": "down"} if keeps and restart == "transient" else {})


def test_exits_of_strangers_and_of_replaced_children_mean_nothing() -> None:
    children = siblings("one_for_one", spec("a"))
    children.started(children.table.get("a"), ("a", 2), 0.0)  # type: ignore[arg-type]
    assert exit(children, "a", incarnation=1) == ()
    assert exit(children, "nobody") == ()
    assert states(children) == {"a": "running"}


def test_one_restart_more_than_the_intensity_gives_up_and_does_not_restart() -> None:
    children = siblings("one_for_one", spec("a"), restarts=1)
    assert isinstance(exit(children, "a")[0], Restart)
    children.started(children.table.get("a"), ("a", 2), 0.0)  # type: ignore[arg-type]
    (effect,) = exit(children, "a", incarnation=2)
    assert isinstance(effect, GiveUp)
    assert states(children) == {"a": "down"}


def test_a_restart_is_counted_once_however_many_children_it_takes_along() -> None:
    children = siblings("one_for_all", *map(spec, "abcdefgh"))
    exit(children, "a")
    assert len(children.window) == 1


def test_a_failed_restart_is_tried_again_and_counted_again() -> None:
    children = siblings("one_for_one", spec("a"), restarts=2)
    child = children.table.get("a")
    assert child is not None
    exit(children, "a")
    assert children.start_failed(child, (), 0.0) == (TryAgain(child),)
    assert states(children) == {"a": "restarting"}
    assert isinstance(children.retry("a", 0.0)[0], Restart)
    assert children.start_failed(child, (), 0.0) == (TryAgain(child),)
    assert isinstance(children.retry("a", 0.0)[0], GiveUp)


@pytest.mark.parametrize("backoff", [None, Backoff()])
def test_a_restart_that_is_in_vain_is_not_tried_again(backoff: Backoff | None) -> None:
    children = siblings("one_for_one", spec("a", backoff=backoff), restarts=99)
    child = children.table.get("a")
    assert child is not None
    exit(children, "a")
    assert children.start_failed(child, (), 0.0, in_vain=True) == (
        GiveUp(child, children.window, in_vain=True),
    )
    assert states(children) == {"a": "down"}


def test_a_child_with_a_budget_of_its_own_stays_down_when_a_restart_is_in_vain() -> None:
    only = spec("a", max_restarts=99, max_seconds=5.0, on_exhausted="give_up")
    children = siblings("one_for_one", only)
    child = children.table.get("a")
    assert child is not None
    exit(children, "a")
    [effect] = children.start_failed(child, (), 0.0, in_vain=True)
    assert isinstance(effect, Abandon)
    assert effect.in_vain


def test_children_before_the_failing_one_stay_up_and_those_after_it_are_down() -> None:
    children = siblings("rest_for_one", *map(spec, "abc"))
    (effect,) = exit(children, "a")
    assert isinstance(effect, Restart)
    for child in effect.stop:
        children.stopped(child)
    a, b, c = effect.start
    children.started(a, ("a", 2), 0.0)  # type: ignore[arg-type]
    children.start_failed(b, (c,), 0.0)
    assert states(children) == {"a": "running", "b": "restarting", "c": "down"}
    (again,) = children.retry("b", 0.0)
    assert isinstance(again, Restart)
    assert ids(again.start) == ["b", "c"]


def test_a_retry_does_nothing_if_another_restart_has_started_the_child() -> None:
    children = siblings("one_for_all", spec("a"), spec("b"))
    child = children.table.get("a")
    assert child is not None
    exit(children, "a")
    children.start_failed(child, (), 0.0)
    children.started(child, ("a", 2), 0.0)  # type: ignore[arg-type]
    assert children.retry("a", 0.0) == ()


@pytest.mark.parametrize(
    ("auto_shutdown", "ended", "shuts_down"),
    [
        ("never", ["a", "b"], [False, False]),
        ("any_significant", ["x", "a"], [False, True]),
        ("all_significant", ["a", "x", "b"], [False, False, True]),
    ],
)
def test_auto_shutdown_looks_at_significant_children(
    auto_shutdown: Any, ended: list[str], shuts_down: list[bool]
) -> None:
    specs = [spec(id, restart="transient", significant=id != "x") for id in "abx"]
    children = siblings("one_for_one", *specs, auto_shutdown=auto_shutdown)
    effects = [exit(children, id, orderly=True) for id in ended]
    assert [any(isinstance(effect, ShutDown) for effect in each) for each in effects] == shuts_down


def test_a_significant_child_that_waits_for_a_retry_keeps_all_significant_open() -> None:
    specs = [spec(id, restart="transient", significant=True) for id in "ab"]
    children = siblings("one_for_one", *specs, auto_shutdown="all_significant")
    child = children.table.get("a")
    assert child is not None
    exit(children, "a")
    children.start_failed(child, (), 0.0)
    assert exit(children, "b", orderly=True) == ()


def test_backoff_waits_longer_each_time_and_begins_anew_after_a_long_life() -> None:
    backoff = Backoff(initial=1.0, factor=3.0, maximum=5.0, reset_after=100.0)
    children = siblings("one_for_one", spec("a", backoff=backoff), restarts=99)
    child = children.table.get("a")
    assert child is not None
    waits = []
    for now in (0.0, 10.0, 20.0, 30.0, 500.0):
        (effect,) = children.exited(child.pid, False, now)  # type: ignore[arg-type]
        assert isinstance(effect, Wait)
        assert child.state == "backing_off"
        waits.append(effect.delay)
        (restart,) = children.due("a", effect.token)
        assert isinstance(restart, Restart)
        children.started(child, ("a", now), now)  # type: ignore[arg-type]
    assert waits == [1.0, 3.0, 5.0, 5.0, 1.0]


def test_a_wait_that_was_overtaken_does_nothing_when_it_is_over() -> None:
    children = siblings("one_for_one", spec("a", backoff=Backoff()))
    child = children.table.get("a")
    assert child is not None
    (wait,) = exit(children, "a")
    assert isinstance(wait, Wait)
    children.stopped(child)
    assert children.due("a", wait.token) == ()
    children.started(child, ("a", 2), 0.0)  # type: ignore[arg-type]
    (newer,) = exit(children, "a", incarnation=2)
    assert isinstance(newer, Wait)
    assert children.due("a", wait.token) == ()
    assert children.due("a", newer.token) != ()


def test_jitter_takes_its_part_from_the_wait() -> None:
    backoff = Backoff(initial=1.0, jitter=0.5)
    assert [backoff.delay(0, chance) for chance in (0.0, 0.5, 1.0)] == [1.0, 0.75, 0.5]


def test_a_failed_start_of_a_child_with_backoff_waits_instead_of_trying_at_once() -> None:
    children = siblings("one_for_one", spec("a", backoff=Backoff(initial=1.0)), restarts=2)
    child = children.table.get("a")
    assert child is not None
    exit(children, "a")
    (effect,) = children.start_failed(child, (), 1.0)
    assert isinstance(effect, Wait)
    assert effect.delay == 2.0
    assert isinstance(children.start_failed(child, (), 2.0)[0], GiveUp)


def test_a_budget_of_its_own_leaves_the_supervisors_alone() -> None:
    looper = spec("a", max_restarts=2, max_seconds=5.0, on_exhausted="give_up")
    children = siblings("one_for_one", looper, spec("b"), restarts=0)
    effects = []
    for incarnation in (1, 2, 3):
        effects += exit(children, "a", incarnation=incarnation)
        if isinstance(effects[-1], Restart):
            children.started(effects[-1].child, ("a", incarnation + 1), 0.0)  # type: ignore[arg-type]
    assert [type(effect) for effect in effects] == [Restart, Restart, Abandon]
    assert states(children) == {"a": "down", "b": "running"}
    assert len(children.window) == 0


def test_a_spent_budget_that_escalates_gives_up_the_supervisor() -> None:
    children = siblings("one_for_one", spec("a", max_restarts=0), restarts=99)
    assert isinstance(exit(children, "a")[0], GiveUp)


def test_a_significant_child_that_spends_its_budget_has_ended() -> None:
    looper = spec("a", restart="transient", significant=True, max_restarts=0, on_exhausted="give_up")
    children = siblings("one_for_one", looper, auto_shutdown="any_significant")
    assert [type(effect) for effect in exit(children, "a")] == [Abandon, ShutDown]


# A model of OTP's rules that is as plain as can be: a list of [id, restart type, incarnation or None].


class AgainstPlainLists(RuleBasedStateMachine):
    @initialize(
        strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
        types=st.lists(st.sampled_from(["permanent", "transient", "temporary"]), min_size=1, max_size=6),
        intensity=st.integers(0, 4),
    )
    def begin(self, strategy: Any, types: list[Any], intensity: int) -> None:
        self.siblings = Siblings(strategy, RestartWindow(intensity, 1e9))
        self.strategy, self.intensity = strategy, intensity
        self.count, self.incarnations, self.over = 0, 0, False
        self.rows: list[list[Any]] = []
        for number, restart in enumerate(types):
            self.incarnations += 1
            self.rows.append([number, restart, self.incarnations])
            child = self.siblings.add(number, spec(str(number), restart=restart))
            self.siblings.started(child, self.incarnations, 0.0)  # type: ignore[arg-type]
        self.pending: list[Any] = []

    def carry_out(self, effects: Effects, failing: Any) -> None:
        for effect in effects:
            match effect:
                case Restart():
                    for child in effect.stop:
                        self.siblings.stopped(child)
                    self.start(effect, failing)
                case GiveUp():
                    self.over = True
                case TryAgain():
                    self.pending.append(effect.child.key)

    def start(self, effect: Restart, failing: Any) -> None:
        for place, child in enumerate(effect.start):
            if child.key == failing:
                more = self.siblings.start_failed(child, effect.start[place + 1 :], 0.0)
                assert more == (TryAgain(child),)
                self.pending.append(child.key)
                return
            self.incarnations += 1
            self.siblings.started(child, self.incarnations, 0.0)  # type: ignore[arg-type]

    def model_restart(self, key: Any, failing: Any, incarnation: int) -> None:
        self.count += 1
        if self.count > self.intensity:
            row = next(row for row in self.rows if row[0] == key)
            row[2] = None
            return
        place = next(place for place, row in enumerate(self.rows) if row[0] == key)
        first, last = {
            "one_for_one": (place, place + 1),
            "rest_for_one": (place, len(self.rows)),
            "one_for_all": (0, len(self.rows)),
        }[self.strategy]
        before, concerned, after = self.rows[:first], self.rows[first:last], self.rows[last:]
        concerned = [[id, restart, None] for id, restart, _ in concerned if restart != "temporary"]
        self.rows = before + concerned + after
        for row in concerned:
            if row[0] == failing:
                row[2] = "restarting"
                return
            incarnation += 1
            row[2] = incarnation

    @precondition(lambda self: not self.over and any(isinstance(row[2], int) for row in self.rows))
    @rule(data=st.data(), orderly=st.booleans())
    def a_child_ends(self, data: st.DataObject, orderly: bool) -> None:
        row = data.draw(st.sampled_from([row for row in self.rows if isinstance(row[2], int)]))
        failing = data.draw(st.none() | st.sampled_from([each[0] for each in self.rows]))
        key, restart, pid = row
        before = self.incarnations
        self.carry_out(self.siblings.exited(pid, orderly, 0.0), failing)
        if restart == "permanent" or (restart == "transient" and not orderly):
            self.model_restart(key, failing, before)
        elif restart == "temporary":
            self.rows.remove(row)
        else:
            row[2] = None

    @precondition(lambda self: not self.over and self.pending)
    @rule(data=st.data())
    def a_retry_comes(self, data: st.DataObject) -> None:
        key = self.pending.pop(0)
        failing = data.draw(st.none() | st.just(key))
        before = self.incarnations
        waits = any(row[0] == key and row[2] == "restarting" for row in self.rows)
        self.carry_out(self.siblings.retry(key, 0.0), failing)
        if waits:
            self.model_restart(key, failing, before)

    @precondition(lambda self: not self.over)
    @rule(restart=st.sampled_from(["permanent", "transient", "temporary"]))
    def a_child_is_added(self, restart: Any) -> None:
        self.incarnations += 1
        key = f"new{self.incarnations}"
        self.rows.append([key, restart, self.incarnations])
        self.siblings.started(self.siblings.add(key, spec(key, restart=restart)), self.incarnations, 0.0)  # type: ignore[arg-type]

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def a_child_is_stopped(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.rows))
        self.siblings.stopped(self.siblings.table.get(row[0]))  # type: ignore[arg-type]
        if row[1] == "temporary":
            self.rows.remove(row)
        row[2] = None

    @precondition(lambda self: self.over)
    @rule()
    def another_supervisor_begins(self) -> None:
        self.siblings = Siblings(self.strategy, RestartWindow(self.intensity, 1e9))
        self.rows, self.pending, self.count, self.over = [], [], 0, False

    @invariant()
    def the_tables_agree(self) -> None:
        told = []
        for child in self.siblings.table:
            pid: Any = child.pid if child.state == "running" else None
            told.append([child.key, child.spec.restart, pid if child.state != "restarting" else "restarting"])
        assert told == self.rows


AgainstPlainLists.TestCase.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
test_the_siblings_decide_like_plain_lists = AgainstPlainLists.TestCase
