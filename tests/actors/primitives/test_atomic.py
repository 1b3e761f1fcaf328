"""What the runtime relies on to be one step, under threads that take turns as often as they can.

On a build with a GIL this shows little that is not known; without one it shows that nothing is lost. The
forms with a lock, which the runtime uses only there, are tried on all.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout.actors import Bounded, CallTimeout, GenServer, MailboxFull, NoReply, Ok, Pid, process
from resprout.actors import sys as systems
from resprout.actors.primitives import atomic
from resprout.actors.primitives.atomic import FREE_THREADED
from resprout.actors.runtime.future import Future, _after_all

from ...programs import PYTHON
from ...waiting import down_of

pytestmark = pytest.mark.usefixtures("hasty")
THREADS = 4


def in_threads(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """Have work done in several threads that begin at once; what each returned, or the error of one."""
    together = threading.Barrier(count)
    results: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(number: int) -> None:
        together.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# -- compare and set -----------------------------------------------------------------------------

both = pytest.mark.parametrize("suffix", ["", "_locked"], ids=["as this build has it", "with a lock"])


def form(name: str, suffix: str) -> Callable[..., Any]:
    """A function as this build uses it, or the one that needs no GIL."""
    return getattr(atomic, f"_{name}{suffix}" if suffix else name)  # type: ignore[no-any-return]


@both
def test_replace_changes_only_what_was_seen(suffix: str) -> None:
    replace = form("replace", suffix)
    old, new = object(), object()
    table = {"key": old}
    assert not replace(table, "key", new, old)
    assert table == {"key": old}
    assert replace(table, "key", old, new)
    assert table == {"key": new}
    assert not replace(table, "other", old, new)
    assert table == {"key": new}


@both
def test_remove_takes_only_what_was_seen(suffix: str) -> None:
    remove = form("remove", suffix)
    old = object()
    table = {"key": old}
    assert not remove(table, "key", object())
    assert not remove(table, "other", old)
    assert remove(table, "key", old)
    assert not remove(table, "key", old)
    assert table == {}


@both
def test_remove_all_returns_what_it_took(suffix: str) -> None:
    mine, theirs = object(), object()
    table: dict[int, object] = {1: mine, 2: theirs, 3: mine, 4: [], 5: [0]}
    assert form("remove_all", suffix)(table, [1, 2, 3, 9], [mine] * 4) == [mine, mine]
    assert table == {2: theirs, 4: [], 5: [0]}


@both
def test_remove_empty_leaves_what_is_filled_or_missing(suffix: str) -> None:
    remove_empty = form("remove_empty", suffix)
    table: dict[str, list[int]] = {"filled": [1], "empty": []}
    assert not remove_empty(table, "filled")
    assert not remove_empty(table, "missing")
    assert remove_empty(table, "empty")
    assert table == {"filled": [1]}


@both
def test_no_replacement_is_lost(suffix: str) -> None:
    replace = form("replace", suffix)
    table = {"count": 0}

    def work(number: int) -> None:
        for _ in range(1000):
            while not replace(table, "count", seen := table["count"], seen + 1):
                pass

    in_threads(work)
    assert table == {"count": THREADS * 1000}


@both
def test_a_removal_takes_nothing_that_came_after_the_look(suffix: str) -> None:
    """Others put themselves into the place and leave it by plain operations of the dict."""
    remove = form("remove", suffix)
    table: dict[int, object] = {}

    def work(number: int) -> int:
        in_it = 0
        for _ in range(2000):
            mine = object()
            there = table.setdefault(0, mine)
            if there is not mine:
                continue
            in_it += 1
            # Only who is in it may take itself out, by either way.
            if number % 2:
                assert remove(table, 0, mine)
            else:
                assert not remove(table, 0, object())
                assert table.pop(0) is mine
        return in_it

    assert sum(in_threads(work)) > 0
    assert table == {}


@both
def test_each_of_many_is_removed_by_one(suffix: str) -> None:
    values = [object() for _ in range(4000)]
    table = dict(enumerate(values))
    keys = list(table)
    remove, remove_all = form("remove", suffix), form("remove_all", suffix)

    def work(number: int) -> list[object]:
        if number % 2:
            return [
                value
                for n in range(0, 4000, 100)
                for value in remove_all(table, keys[n : n + 100], values[n : n + 100])
            ]
        return [value for key, value in zip(keys, values, strict=True) if remove(table, key, value)]

    removed = [value for took in in_threads(work) for value in took]
    assert len(removed) == 4000
    assert set(removed) == set(values)
    assert table == {}


@both
def test_what_is_put_into_a_cell_is_not_removed_with_it(suffix: str) -> None:
    """How a registry keeps several entries of a key."""
    remove_empty = form("remove_empty", suffix)
    table: dict[str, dict[object, None]] = {}

    def work(number: int) -> None:
        for _ in range(1500):
            mine = object()
            while True:
                cell = table.get("key")
                if cell is None:
                    cell = table.setdefault("key", {})
                cell[mine] = None
                if table.setdefault("key", cell) is cell:
                    break
                # Who saw the same cell may put it back, after this one has gone.
                cell.pop(mine)
            assert mine in table["key"], "nobody else takes it out"
            cell.pop(mine)
            if not cell:
                remove_empty(table, "key")

    in_threads(work)
    assert not any(table.values())


# -- numbers -------------------------------------------------------------------------------------


IN_C = pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="the form of builds without a GIL, of which there are none so old, needs operator.call in C",
)


class Counted:
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize(
    "increase", [atomic.increase, pytest.param(atomic._make_increase_locked(), marks=IN_C)]
)
def test_every_addition_counts_and_stops_at_its_bound(increase: Callable[..., bool]) -> None:
    counted = Counted(0)
    in_threads(lambda number: [increase(counted, "number") for _ in range(1000)])
    assert counted.number == THREADS * 1000
    taken = in_threads(lambda number: sum(increase(counted, "number", -1, above=1) for _ in range(1500)))
    assert (sum(taken), counted.number) == (THREADS * 1000 - 1, 1)


@pytest.mark.parametrize("counter", [atomic.counter, pytest.param(atomic._Counter, marks=IN_C)])
def test_a_counter_gives_each_number_once(counter: Callable[..., Iterator[int]]) -> None:
    numbers = counter(1)
    given = in_threads(lambda number: list(itertools.islice(numbers, 2000)))
    assert sorted(itertools.chain(*given)) == list(range(1, THREADS * 2000 + 1))
    assert list(itertools.islice(counter(-1, -1), 3)) == [-1, -2, -3]


def test_an_error_in_a_step_leaves_its_lock_free() -> None:
    guard = threading.Lock()

    def fails() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        atomic._alone(guard, fails)
    assert not guard.locked()
    with pytest.raises(AttributeError):
        atomic._make_increase_locked()(object(), "number")


# -- plain operations that are relied on ---------------------------------------------------------


def test_a_right_is_taken_by_one_and_is_there_again_when_it_is_given_back() -> None:
    """The run right of a process, `del right[0]`, and both ways of giving it back."""
    right = [True]
    inside: list[int] = []

    def work(number: int) -> int:
        had = 0
        for _ in range(3000):
            mine = right
            try:
                del mine[0]
            except IndexError:
                continue
            had += 1
            inside.append(number)
            assert inside == [number]
            inside.pop()
            if number % 2:
                mine.append(True)
            else:
                mine += (True,)
        return had

    assert sum(in_threads(work)) > 0
    assert right == [True]


def test_the_turn_of_a_combiner_is_one_threads() -> None:
    """`setdefault` takes it, `del` gives it back, and what waits is appended by everybody."""
    turn: dict[int, object] = {}
    requests: list[int] = []
    done: list[int] = []

    def work(number: int) -> None:
        mine = requests
        for n in range(1000):
            if n % 2:
                mine.append(n)
            else:
                mine += (n,)
            while requests:
                token = (number,)
                if turn.setdefault(0, token) is not token:
                    break
                assert turn[0] is token
                while requests:
                    done.append(requests[0])
                    requests.pop(0)
                if n % 100 == 0:
                    # As a step that was cut: before all others.
                    requests[:0] = (-1,)
                    assert requests.pop(0) == -1
                del turn[0]

    in_threads(work)
    assert requests == []
    assert sorted(done) == sorted([*range(1000)] * THREADS)


def test_what_is_appended_is_popped_once() -> None:
    box: deque[tuple[int, int]] = deque()
    left = [True] * THREADS

    def work(number: int) -> list[tuple[int, int]]:
        got: list[tuple[int, int]] = []
        mine = box
        for n in range(2000):
            if n % 2:
                mine.append((number, n))
            else:
                mine += ((number, n),)
            try:
                got.append(mine.popleft())
            except IndexError:
                continue
        left.pop()
        return got

    got = in_threads(work)
    assert left == []
    everything = [*itertools.chain(*got), *box]
    assert sorted(everything) == [(number, n) for number in range(THREADS) for n in range(2000)]
    for each in got:
        for number in range(THREADS):
            assert (mine := [n for who, n in each if who == number]) == sorted(mine), "in order"


def test_copies_can_be_made_of_what_others_change() -> None:
    table: dict[int, int] = {}
    box: deque[int] = deque()
    filled: list[int] = []

    def work(number: int) -> None:
        for n in range(500):
            key = number * 1000 + n
            table[key] = key
            box.append(key)
            filled.append(key)
            if number % 2:
                assert all(key == value for key, value in list(table.items()))
                assert all(isinstance(value, int) for value in (*table.values(), *table))
                assert len(atomic.copied(box)) <= THREADS * 500
                assert len(filled.copy()) >= n
            else:
                table.pop(key - 3, None)
                box.popleft()

    in_threads(work)
    assert len(filled) == THREADS * 500
    assert len(box) == THREADS * 250


def test_an_entry_that_is_added_is_seen_by_the_dying_or_by_its_owner() -> None:
    """Add, then look whether it has died; the dying flags itself first, and pops afterwards."""
    for _ in range(300):
        ties: dict[str, object] = {}
        entries: dict[int, int] = {}
        acted: list[int] = []

        def work(number: int, ties: Any = ties, entries: Any = entries, acted: Any = acted) -> None:
            if number == 0:
                assert ties.setdefault("fate", number) == 0
            else:
                entries[number] = number
                if "fate" not in ties:
                    return
            while entries:
                try:
                    acted.append(entries.popitem()[1])
                except KeyError:
                    break

        in_threads(work, 3)
        assert sorted(acted) == [1, 2]
        assert entries == {}


# -- what stands on them -------------------------------------------------------------------------


class Counts(GenServer):
    blocking = False
    mailbox = Bounded(3, on_full="reject")

    def init(self, arg: Any) -> Any:
        return Ok(0)

    def handle_cast(self, message: Any, state: int) -> Any:
        return NoReply(state + 1)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_bounded_mailbox_loses_no_message_and_no_count(blocking: bool) -> None:
    kind = type("Counts", (Counts,), {"blocking": blocking})
    pid: Any = kind.start()

    def work(number: int) -> int:
        refused = 0
        for n in range(300):
            try:
                pid.cast(n)
            except MailboxFull:
                refused += 1
        return refused

    refused = sum(in_threads(work))
    assert pid.rejected == refused
    assert systems.get_state(pid) == THREADS * 300 - refused
    assert len(pid._room) == 3
    pid.stop()


def test_every_timer_fires_or_is_cancelled() -> None:
    me = process.current()

    def work(number: int) -> int:
        timers = [process.send_after(me, number, 0.0 if n % 2 else 1000.0) for n in range(500)]
        return sum(process.cancel_timer(timer) is not None for timer in timers)

    cancelled = sum(in_threads(work))
    for _ in range(THREADS * 500 - cancelled):
        assert process.receive(timeout=20.0) in range(THREADS)
    with pytest.raises(CallTimeout):
        process.receive(timeout=0.0)
    assert cancelled >= THREADS * 250


def test_of_several_that_end_at_once_one_calls_back() -> None:
    for _ in range(200):
        sources = tuple(Future[int]() for _ in range(THREADS))
        called: list[bool] = []
        _after_all(sources, lambda called=called: called.append(True))  # type: ignore[misc]
        in_threads(lambda number, sources=sources: sources[number].set(number))  # type: ignore[misc]
        assert called == [True]


def test_every_process_has_a_number_of_its_own() -> None:
    def work(number: int) -> list[Pid]:
        return [process.spawn(process.current) for _ in range(100)]

    pids = list(itertools.chain(*in_threads(work)))
    assert len({pid.id for pid in pids}) == THREADS * 100
    for pid in pids:
        ref = process.monitor(pid)
        assert down_of(ref)


# -- the warning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["actors", "registry", "supervision", "throttle", "testing"])
def test_a_free_threaded_build_is_warned_about_once_by_the_first_room(room: str) -> None:
    program = f"import resprout.{room}, resprout.actors, resprout; resprout.GenServer"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, env=env
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("RuntimeWarning: resprout is experimental") == int(FREE_THREADED)
    silent = subprocess.run(
        [*PYTHON, "-c", program],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (silent.returncode, silent.stderr) == (0, "")
