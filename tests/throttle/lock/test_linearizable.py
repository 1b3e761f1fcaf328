"""Histories of real threads, held against a lock that does one thing at a time (Wing and Gong's check)."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs
import pytest

from resprout import throttle

InThread = Callable[..., "Future[Any]"]
SOON = 30.0
SLOTS = 2


@attrs.frozen
class Operation:
    """What a thread asked, when, and what it was told."""

    thread: int
    kind: str
    began: int
    ended: int
    answer: Any


@attrs.frozen
class State:
    """The lock that does one thing at a time: who holds, and who waits in which order."""

    holding: frozenset[int] = frozenset()
    line: tuple[int, ...] = ()

    def after(self, operation: Operation) -> State | None:
        """What comes of an operation; None when it can't have been answered so here."""
        thread = operation.thread
        free = len(self.holding) < SLOTS and not self.line
        match operation.kind:
            case "acquire" if free:
                return State(self.holding | {thread}, self.line)
            case "acquire":
                return State(self.holding, (*self.line, thread))
            case "attempt" if operation.answer != free:
                return None
            case "attempt":
                return State(self.holding | {thread}, self.line) if free else self
            case "state":
                return self if operation.answer == (len(self.holding), len(self.line)) else None
            case _:
                holding, line = self.holding - {thread}, self.line
                if line:
                    holding, line = holding | {line[0]}, line[1:]
                return State(holding, line)


def linearizable(history: list[Operation]) -> bool:
    """Tell whether one order of the operations keeps what came after what, and explains all answers."""
    seen: set[tuple[frozenset[int], State]] = set()
    ways: list[tuple[frozenset[int], State]] = [(frozenset(), State())]
    while ways:
        done, state = ways.pop()
        if len(done) == len(history) and not state.line:
            return True
        # An acquire that waits is not over before it is granted, so nothing that began after its end can come
        # first.
        open_ends = [
            operation.ended
            for index, operation in enumerate(history)
            if index not in done
            or (
                operation.kind == "acquire"
                and operation.thread in state.line
                and _last(history, done, operation)
            )
        ]
        horizon = min(open_ends, default=0)
        for index, operation in enumerate(history):
            if index in done or operation.began > horizon or not _next_of_its_thread(history, done, index):
                continue
            following = state.after(operation)
            if following is not None:
                way = (done | {index}, following)
                if way not in seen:
                    seen.add(way)
                    ways.append(way)
    return False


def _last(history: list[Operation], done: frozenset[int], operation: Operation) -> bool:
    """Tell whether an operation is the latest done one of its thread."""
    mine = [history[index] for index in done if history[index].thread == operation.thread]
    return max(mine, key=lambda each: each.began) is operation


def _next_of_its_thread(history: list[Operation], done: frozenset[int], index: int) -> bool:
    operation = history[index]
    return all(
        other in done
        for other, each in enumerate(history)
        if each.thread == operation.thread and each.began < operation.began
    )


def op(thread: int, kind: str, began: int, ended: int, answer: Any = None) -> Operation:
    return Operation(thread, kind, began, ended, answer)


@pytest.mark.parametrize(
    ("history", "fine"),
    [
        ([op(1, "attempt", 0, 1, True), op(2, "attempt", 2, 3, True), op(3, "attempt", 4, 5, False)], True),
        ([op(1, "attempt", 0, 1, True), op(2, "attempt", 2, 3, False)], False),
        ([op(1, "attempt", 0, 1, True), op(2, "attempt", 2, 3, True), op(3, "attempt", 4, 5, True)], False),
        ([op(1, "attempt", 0, 9, True), op(2, "state", 1, 2, (0, 0)), op(3, "state", 3, 4, (1, 0))], True),
        ([op(1, "attempt", 0, 9, True), op(2, "state", 1, 2, (1, 0)), op(3, "state", 3, 4, (0, 0))], False),
        (
            [op(1, "acquire", 0, 1), op(2, "acquire", 2, 3), op(3, "acquire", 4, 9), op(1, "release", 5, 6)],
            True,
        ),
        (
            [op(1, "acquire", 0, 1), op(2, "acquire", 2, 3), op(3, "acquire", 4, 5), op(1, "release", 6, 7)],
            False,
        ),
    ],
)
def test_the_check_itself_knows_right_from_wrong(history: list[Operation], fine: bool) -> None:
    assert linearizable(history) is fine


def test_histories_of_real_threads_are_linearizable(lock: Callable[..., str], in_thread: InThread) -> None:
    name = lock(SLOTS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for round_number in range(60):
            history: list[Operation] = []
            start = threading.Barrier(4)

            def work(
                thread: int,
                round_number: int = round_number,
                history: list[Operation] = history,
                start: threading.Barrier = start,
            ) -> None:
                def note(kind: str, ask: Callable[[], Any]) -> Any:
                    began = time.perf_counter_ns()
                    answer = ask()
                    history.append(Operation(thread, kind, began, time.perf_counter_ns(), answer))
                    return answer

                start.wait(SOON)
                for turn in range(3):
                    if (thread + turn + round_number) % 3:
                        taken = note("attempt", lambda: throttle.attempt(name) is not None)
                    else:
                        note("acquire", lambda: (throttle.acquire(name), None)[1])
                        taken = True
                    if turn % 2:
                        note("state", lambda: tuple(attrs.astuple(throttle.lock_state(name))[:2]))
                    if taken:
                        note("release", lambda: throttle.release(name))

            for each in [in_thread(work, number) for number in range(4)]:
                each.result(SOON)
            assert linearizable(history), sorted(history, key=lambda operation: operation.began)
    finally:
        sys.setswitchinterval(interval)
