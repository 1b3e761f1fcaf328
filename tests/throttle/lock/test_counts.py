"""What several threads count at once in a lock, under threads that take turns as often as they can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from resprout import throttle
from resprout.throttle.lock.table import Table

Lock = Callable[..., str]
InThread = Callable[..., Any]
SOON = 20.0

pytestmark = pytest.mark.usefixtures("hasty")


def test_what_one_thread_acquires_again_and_others_give_back_adds_up(lock: Lock, in_thread: InThread) -> None:
    name = lock(1)
    grant: Any = throttle.acquire(name)
    taken = threading.Semaphore(0)

    def give_back() -> None:
        for _ in range(300):
            assert taken.acquire(timeout=SOON)
            grant.release()

    others = [in_thread(give_back) for _ in range(3)]
    for _ in range(900):
        assert throttle.acquire(name) is grant
        taken.release()
    for each in others:
        each.result(SOON)
    assert grant.depth == 1
    assert throttle.lock_state(name).used == 1
    grant.release()
    assert throttle.lock_state(name).used == 0


def test_the_highest_token_of_forgotten_locks_is_kept_whoever_forgets_at_once(in_thread: InThread) -> None:
    table = Table()

    def forget(number: int) -> None:
        for n in range(1000):
            token = n * 4 + number
            table.note_token(SimpleNamespace(ledger=SimpleNamespace(token=token)))  # type: ignore[arg-type]
            assert table.highest_token() >= token

    for each in [in_thread(forget, number) for number in range(4)]:
        each.result(SOON)
    assert table.highest_token() == 3999
