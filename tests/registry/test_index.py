from __future__ import annotations

import threading
from typing import Any, cast

import hypothesis.strategies as st
import pytest
from hypothesis import given

from resprout.registry.index import DuplicateIndex, Entry, Index, UniqueIndex

PARTITIONS = pytest.mark.parametrize("partitions", [1, 3])
BOTH = pytest.mark.parametrize("kind", [UniqueIndex, DuplicateIndex])


WATCHDOG = 20.0


def entry(ident: Any, value: object = None) -> Entry:
    """An entry of nobody: an index does not look at owners."""
    return Entry(ident, cast("Any", None), value, cast("Any", None))


def contents(index: Index) -> list[Entry]:
    return [each for piece in index.walk() for each in piece]


@PARTITIONS
@BOTH
def test_an_entry_is_there_from_claim_to_release(kind: Any, partitions: int) -> None:
    index = kind(partitions)
    one = entry("a")
    assert index.claim(one) is one
    assert index.holds(one)
    assert index.under("a") == (one,)
    assert contents(index) == [one]
    assert len(index) == 1
    assert index.release(one)
    assert not index.release(one)
    assert not index.holds(one)
    assert index.under("a") == ()
    assert contents(index) == []
    assert len(index) == 0


@PARTITIONS
def test_the_first_claim_of_a_unique_key_stands(partitions: int) -> None:
    index = UniqueIndex(partitions)
    first, second = entry("a"), entry("a")
    index.claim(first)
    assert index.claim(second) is first
    assert not index.release(second)
    assert index.under("a") == (first,)


@PARTITIONS
def test_a_replacement_needs_the_entry_that_was_judged(partitions: int) -> None:
    index = UniqueIndex(partitions)
    first, second, third = entry("a"), entry("a"), entry("a")
    index.claim(first)
    assert index.replace(first, second)
    assert not index.replace(first, third)
    assert index.under("a") == (second,)
    assert len(index) == 1


@PARTITIONS
def test_duplicate_entries_keep_their_order(partitions: int) -> None:
    index = DuplicateIndex(partitions)
    entries = [entry("a", number) for number in range(5)]
    for each in entries:
        index.claim(each)
    index.release(entries[2])
    assert [each.value for each in index.under("a")] == [0, 1, 3, 4]
    for each in entries:
        index.release(each)
    assert all(part == {} for part in index.parts)


@PARTITIONS
@BOTH
def test_many_are_released_together_and_others_stay(kind: Any, partitions: int) -> None:
    index = kind(partitions)
    mine = [index.claim(entry(number)) for number in range(2500)]
    other = index.claim(entry("other"))
    never = entry("never claimed")
    index.release_all([*mine, never])
    assert contents(index) == [other]
    assert len(index) == 1


@given(
    steps=st.lists(st.tuples(st.sampled_from(["claim", "release"]), st.integers(0, 3)), max_size=60),
    partitions=st.integers(1, 3),
)
def test_a_duplicate_index_is_a_list(steps: list[tuple[str, int]], partitions: int) -> None:
    index, model = DuplicateIndex(partitions), list[Entry]()
    for what, ident in steps:
        if what == "claim":
            model.append(index.claim(entry(ident)))
        elif there := [each for each in model if each.ident == ident]:
            model.remove(there[0])
            assert index.release(there[0])
        for key in range(4):
            assert list(index.under(key)) == [each for each in model if each.ident == key]
        assert len(index) == len(model)


def test_claims_that_saw_a_cell_before_it_was_removed_leave_nothing_in_it() -> None:
    """One of them goes on to another cell, and one puts the first back."""
    index = DuplicateIndex()
    seen = {name: (threading.Event(), threading.Event()) for name in ("first", "second")}

    class Part(dict[Any, Any]):
        """Has a thread of either name wait after it has looked, once."""

        def get(self, key: Any, default: Any = None) -> Any:
            found = super().get(key, default)
            arrived, go_on = waits.pop(threading.current_thread().name, (None, None))
            if arrived is not None and go_on is not None:
                arrived.set()
                assert go_on.wait(WATCHDOG)
            return found

    waits: dict[str, Any] = dict(seen)
    index.parts = (Part(),)
    before, between, first, second = (entry("key", number) for number in range(4))
    index.claim(before)
    threads = {
        name: threading.Thread(target=index.claim, args=(each,), name=name)
        for name, each in (("first", first), ("second", second))
    }
    for name, thread in threads.items():
        thread.start()
        assert seen[name][0].wait(WATCHDOG)
    index.release(before)
    index.claim(between)
    seen["first"][1].set()
    threads["first"].join(WATCHDOG)
    index.release(between)
    index.release(first)
    seen["second"][1].set()
    threads["second"].join(WATCHDOG)
    assert index.under("key") == (second,)
    assert index.release(second)
    assert (index.under("key"), len(index), index.parts[0]) == ((), 0, {})
