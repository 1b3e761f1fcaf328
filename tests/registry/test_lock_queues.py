"""The queues of `Registry.lock`, without processes."""

from __future__ import annotations

from typing import Any, cast

import pytest

from resprout.registry.lock_queues import KeyLocks, Ticket

NOBODY = cast("Any", None)


def queue(locks: KeyLocks, ident: str, count: int) -> list[Ticket]:
    tickets = [Ticket(locks, ident, NOBODY) for _ in range(count)]
    for ticket in tickets:
        locks.enter(ticket)
    return tickets


def granted(tickets: list[Ticket]) -> list[bool]:
    return [ticket.granted.done() for ticket in tickets]


def test_the_first_holds_and_the_others_wait() -> None:
    locks = KeyLocks()
    assert granted(queue(locks, "key", 3)) == [True, False, False]
    assert granted(queue(locks, "other", 1)) == [True]
    assert (locks.held, locks.waiting) == (2, 2)


def test_leaving_lets_the_next_in() -> None:
    locks = KeyLocks()
    tickets = queue(locks, "key", 3)
    locks.leave(tickets[0])
    assert granted(tickets) == [True, True, False]
    # Once more changes nothing.
    locks.leave(tickets[0])
    assert granted(tickets) == [True, True, False]


@pytest.mark.parametrize("leaver", [1, 2])
def test_a_waiter_may_leave_from_anywhere(leaver: int) -> None:
    locks = KeyLocks()
    tickets = queue(locks, "key", 3)
    locks.leave(tickets[leaver])
    locks.leave(tickets[0])
    assert granted(tickets)[3 - leaver]
    locks.leave(tickets[3 - leaver])
    assert locks.queues == {}


def test_a_dead_waiter_leaves_at_once_and_a_dead_holder_when_it_has_left() -> None:
    locks = KeyLocks()
    holder, waiter, last = queue(locks, "key", 3)
    waiter.owner_died(NOBODY, "kill")
    holder.owner_died(NOBODY, "kill")
    assert (locks.held, locks.waiting) == (1, 1)
    assert not last.granted.done()
    waiter.owner_left(NOBODY)
    holder.owner_left(NOBODY)
    assert last.granted.done()


def test_a_change_that_was_cut_short_is_repaired_by_the_next() -> None:
    locks = KeyLocks()
    first, second = queue(locks, "key", 2)
    # As if whoever let the first one go had been interrupted before it told the second.
    locks.queues["key"] = (second,)
    third = Ticket(locks, "key", NOBODY)
    locks.enter(third)
    assert granted([second, third]) == [True, False]
    assert locks.queues["key"][0] is not first
