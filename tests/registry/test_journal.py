from __future__ import annotations

from typing import Any, cast

import pytest

from resprout.registry import Registered, Unregistered
from resprout.registry.index import Entry
from resprout.registry.journal import Journal


def entry(key: str) -> Entry:
    return Entry(key, cast("Any", None), 1, cast("Any", None))


def told(journal: Journal, limit: int = 100) -> list[str]:
    heard: list[Any] = []
    journal.tell(heard.append, limit)
    return [("+" if isinstance(event, Registered) else "-") + str(event.key) for event in heard]


def test_it_tells_in_the_order_in_which_it_was_written() -> None:
    journal = Journal("r")
    a, b = entry("a"), entry("b")
    journal.begin(a)
    journal.begin(b)
    journal.end(a)
    assert told(journal) == ["+a", "+b", "-a"]
    assert len(journal) == 0


def test_an_end_brings_a_beginning_that_was_not_written_yet() -> None:
    journal = Journal("r")
    a = entry("a")
    journal.end(a)
    # The owner, late, writes it once more.
    journal.begin(a)
    journal.end(a)
    assert told(journal) == ["+a", "-a"]


def test_an_end_without_a_beginning_that_anybody_heard_is_told() -> None:
    journal = Journal("r")
    a = entry("a")
    a.logged = True
    journal.end(a)
    assert told(journal) == ["-a"]


def test_it_tells_in_pieces() -> None:
    journal = Journal("r")
    for key in "abc":
        journal.begin(entry(key))
    assert journal.tell(lambda event: None, 2)
    assert told(journal, 2) == ["+c"]
    assert not journal.tell(lambda event: None, 2)


def test_a_reader_that_dies_leaves_the_record_to_the_next() -> None:
    journal = Journal("r")
    a = entry("a")
    journal.begin(a)
    journal.end(a)

    def die(event: object) -> None:
        raise RuntimeError("listener trouble")

    with pytest.raises(RuntimeError):
        journal.tell(die, 10)
    assert told(journal) == ["+a", "-a"]


def test_an_event_carries_what_was_true_when_it_happened() -> None:
    journal = Journal("r")
    a = entry("a")
    journal.begin(a)
    a.value = 2
    journal.end(a)
    heard: list[Any] = []
    journal.tell(heard.append, 10)
    assert heard == [Registered("r", "a", cast("Any", None), 1), Unregistered("r", "a", cast("Any", None))]
