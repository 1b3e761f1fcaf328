from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from resprout.actors.engine import remove, remove_all, remove_empty, replace


def in_threads(work: Callable[[int], None], count: int = 4) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_replace_changes_only_what_was_seen() -> None:
    old, new = object(), object()
    table = {"key": old}
    assert not replace(table, "key", new, old)
    assert replace(table, "key", old, new)
    assert table == {"key": new}
    assert not replace(table, "other", old, new)
    assert table == {"key": new}


def test_remove_takes_only_what_was_seen() -> None:
    old = object()
    table = {"key": old}
    assert not remove(table, "key", object())
    assert remove(table, "key", old)
    assert not remove(table, "key", old)
    assert table == {}


def test_remove_all_returns_what_it_took() -> None:
    mine, theirs = object(), object()
    table = {1: mine, 2: theirs, 3: mine}
    assert remove_all(table, [1, 2, 3, 4], [mine, mine, mine, mine]) == [mine, mine]
    assert table == {2: theirs}


def test_remove_empty_leaves_what_is_filled_or_missing() -> None:
    table: dict[str, list[int]] = {"filled": [1], "empty": []}
    assert not remove_empty(table, "filled")
    assert not remove_empty(table, "missing")
    assert remove_empty(table, "empty")
    assert table == {"filled": [1]}


@pytest.mark.usefixtures("hasty")
def test_no_replacement_is_lost_between_threads() -> None:
    # Two that saw the same count and both replaced it would lose one.
    table = {"count": 0}

    def work(number: int) -> None:
        for _ in range(2000):
            while not replace(table, "count", seen := table["count"], seen + 1):
                pass

    in_threads(work)
    assert table == {"count": 8000}


@pytest.mark.usefixtures("hasty")
def test_each_value_is_removed_by_one_thread() -> None:
    values = [object() for _ in range(5000)]
    table = dict(enumerate(values))
    removed: list[list[int]] = [[] for _ in range(4)]

    def work(number: int) -> None:
        removed[number] = [key for key, value in enumerate(values) if remove(table, key, value)]

    in_threads(work)
    assert table == {}
    assert sorted(key for keys in removed for key in keys) == list(range(5000))
