from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resprout.observer.chaos import Rules, Takedown, Toll, choose, due, is_victim, victims
from resprout.observer.job import Progress
from resprout.observer.snapshot import Child, ChildKind, Snapshot, stem

ANYBODY = Rules()


def leaf(path: str, kind: ChildKind = "worker", *, replicas: int = 1, process: int | None = 1) -> Child:
    ids = tuple(path.split("/"))
    group = (*ids[:-1], stem(ids[-1])) if replicas > 1 else ids
    return Child(ids, kind, process=process, group=group, replicas=replicas)


def orders() -> Snapshot:
    services = (
        leaf("services/partitions", "registry"),
        leaf("services/throttle", "lock"),
        leaf("services/database"),
        leaf("services/api", "api"),
    )
    consumers = tuple(leaf(f"consumers/consumer-{n}", replicas=16) for n in range(16))
    return Snapshot(
        "orders",
        children=(
            Child(("services",), "supervisor", children=services, group=("services",)),
            Child(("consumers",), "supervisor", children=consumers, group=("consumers",)),
        ),
    )


@pytest.mark.parametrize(
    ("id", "shared"),
    [
        ("consumer-3", "consumer"),
        ("consumer12", "consumer"),
        ("consumer[4]", "consumer"),
        ("consumer (4)", "consumer"),
        ("consumer.4", "consumer"),
        ("a-1-2", "a-1"),
        ("api", "api"),
        ("7", "7"),
        ("h2o", "h2o"),
        ("", ""),
    ],
)
def test_replicas_share_the_id_without_its_number(id: str, shared: str) -> None:
    assert stem(id) == shared


def test_victims_are_what_the_library_supplies_and_replicated_workers() -> None:
    found = {child.group[-1] for child in victims(orders(), ANYBODY, frozenset())}
    assert found == {"partitions", "throttle", "api", "consumer"}


@pytest.mark.parametrize("name", ["api", "services/api"])
def test_a_child_that_is_named_is_spared(name: str) -> None:
    assert not is_victim(leaf("services/api", "api"), Rules(spare=frozenset({name})))


def test_a_whole_group_is_spared_by_its_name_and_one_of_it_by_its_id() -> None:
    consumer = leaf("consumers/consumer-3", replicas=16)
    assert not is_victim(consumer, Rules(spare=frozenset({"consumer"})))
    assert not is_victim(consumer, Rules(spare=frozenset({"consumer-3"})))
    assert is_victim(consumer, Rules(spare=frozenset({"consumer-4"})))


def test_only_makes_a_single_worker_a_victim_and_nobody_else() -> None:
    rules = Rules(only=frozenset({"database"}))
    assert [child.id for child in victims(orders(), rules, frozenset())] == ["database"]


def test_a_supervisor_is_never_a_victim() -> None:
    assert not is_victim(Child(("s",), "supervisor", process=1, group=("s",)), Rules(only=frozenset({"s"})))


def test_what_the_program_starts_is_a_victim_unless_nobody_starts_it_again() -> None:
    reader = attrs.evolve(leaf("partitions/reader"), dynamic=True)
    assert is_victim(reader, ANYBODY)
    assert not is_victim(reader, Rules(spare=frozenset({"reader"})))
    gone = attrs.evolve(reader, temporary=True)
    for rules in (ANYBODY, Rules(only=frozenset({"reader"}))):
        assert not is_victim(gone, rules)
    assert not is_victim(attrs.evolve(leaf("consumers/consumer-3", replicas=16), temporary=True), ANYBODY)


def test_who_is_down_is_known_by_its_place_though_its_path_changes() -> None:
    first = attrs.evolve(leaf("p/reader #1"), dynamic=True, place=("p", 1))
    second = attrs.evolve(leaf("p/reader #2"), dynamic=True, place=("p", 2))
    toll = Toll().after(Takedown(("p", "reader"), ("p", "reader"), "worker", 1, "kill", place=("p", 1)))
    assert victims(Snapshot("x", children=(first, second)), ANYBODY, toll.down) == [second]
    assert toll.recovered(("p", 1)).down == frozenset()


def test_who_has_no_process_or_is_still_down_is_no_victim() -> None:
    away = leaf("services/api", "api", process=None)
    here = leaf("services/throttle", "lock")
    assert victims(Snapshot("x", children=(away, here)), ANYBODY, frozenset({here.path})) == []


def test_nobody_is_chosen_where_nobody_can_be() -> None:
    assert choose(random.Random(1), Snapshot("empty"), Toll(), ANYBODY) is None


def rampage(seed: int, count: int) -> list[Takedown]:
    rng, toll, done = random.Random(seed), Toll(), []
    for _ in range(count):
        takedown = choose(rng, orders(), toll, ANYBODY)
        assert takedown is not None
        done.append(takedown)
        toll = toll.after(takedown).recovered(takedown.path)
    return done


@given(st.integers(0, 10**9))
def test_each_group_is_hit_equally_often_and_in_both_ways(seed: int) -> None:
    hits = Counter((takedown.group[-1], takedown.how) for takedown in rampage(seed, 40))
    groups = ("partitions", "throttle", "api", "consumer")
    assert hits == {(group, how): 5 for group in groups for how in ("exception", "kill")}


def test_the_same_seed_gives_the_same_takedowns_and_another_gives_others() -> None:
    assert rampage(7, 30) == rampage(7, 30)
    assert rampage(7, 30) != rampage(8, 30)


def test_all_replicas_get_their_turn() -> None:
    assert len({takedown.path for takedown in rampage(1, 400) if takedown.group[-1] == "consumer"}) == 16


def test_a_group_that_is_slow_to_come_back_does_not_hold_up_the_others() -> None:
    rng, toll = random.Random(3), Toll()
    for _ in range(30):
        takedown = choose(rng, orders(), toll, ANYBODY)
        assert takedown is not None
        toll = toll.after(takedown)
        if takedown.group[-1] != "api":
            toll = toll.recovered(takedown.path)
    assert toll.happened == 30
    assert toll.groups["services", "api"] == 1
    assert toll.down == {("services", "api")}


def test_takedowns_are_spread_over_what_was_left_to_do() -> None:
    first = Progress(100, 1100)
    counts = [due(10, first, Progress(done, 1100), 0.0) for done in range(100, 1101, 10)]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] == 10
    assert counts[90] == 10, "the last one falls due before the end"
    assert max(after - before for before, after in pairwise(counts)) == 1


@given(st.integers(0, 500), st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000))
def test_never_more_than_wanted_are_due(wanted: int, start: int, now: int, total: int) -> None:
    assert 0 <= due(wanted, Progress(start, total), Progress(now, total), 1.0) <= wanted


def test_nothing_is_due_when_nothing_is_left_to_do() -> None:
    assert due(200, Progress(10, 10), Progress(10, 10), 99.0) == 0


def test_without_a_job_the_clock_decides() -> None:
    assert [due(5, None, None, seconds) for seconds in (0.0, 0.1, 0.25, 99.0)] == [0, 1, 2, 5]
