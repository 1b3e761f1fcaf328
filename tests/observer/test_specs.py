from __future__ import annotations

from resprout.observer.chaos import Rules
from resprout.observer.specs import census, temporary, unknown_names
from resprout.supervision import ChildSpec


def start(*_: object) -> None: ...


def supervisor(id: str, *children: ChildSpec) -> ChildSpec:
    return ChildSpec(id, (start, (list(children),)), type="supervisor")


TREE = [
    supervisor("services", ChildSpec("api", start), supervisor("deep", ChildSpec("lock", start))),
    *(ChildSpec(f"consumer-{number}", start) for number in range(3)),
]


def test_a_census_counts_the_root_as_a_supervisor_and_every_child_that_is_listed() -> None:
    assert str(census(TREE)) == "3 supervisors, 7 children"
    assert str(census([])) == "1 supervisor, 0 children"
    assert str(census([ChildSpec("one", start)])) == "1 supervisor, 1 child"


def test_ids_paths_and_what_replicas_share_are_known() -> None:
    rules = Rules(spare=frozenset({"api", "services/deep/lock"}), only=frozenset({"consumer", "consumer-2"}))
    assert unknown_names(rules, TREE) == []


def test_a_name_that_nobody_has_is_told_with_the_nearest() -> None:
    rules = Rules(spare=frozenset({"cosumer"}), only=frozenset({"xyz"}))
    assert unknown_names(rules, TREE) == [
        "the tree has no child 'cosumer'; did you mean 'consumer'?",
        "the tree has no child 'xyz'",
    ]


def test_those_that_nobody_starts_again_are_found_at_any_depth() -> None:
    once = ChildSpec("once", start, restart="temporary")
    assert temporary([*TREE, once, supervisor("more", once)]) == {"once", "more/once"}


def test_any_name_may_be_that_of_a_child_that_is_started_later() -> None:
    assert unknown_names(Rules(spare=frozenset({"xyz"})), [*TREE, supervisor("dynamic")]) == []
