"""Single steps on what threads share: compare-and-set, counting, copies, with a GIL and without.

The table of names and those of registries are changed from everywhere: from callers' threads, dying threads,
finalizers and signal handlers, the last two in the middle of whatever their thread was doing. A lock would
make a finalizer wait for the very thread that it interrupts. So there is no lock: every change is one step
of the interpreter.

``dict.setdefault`` and ``dict.pop`` are such steps. What they lack is the condition "if it still holds what
I saw". These functions add it: ``map`` and ``compress`` look, compare and change inside one C call, in
which CPython switches no thread, runs no signal handler, allocates nothing that the garbage collector
counts, and calls nobody's code as long as the keys hash and compare in C (which ``resprout.registry.keys``
sees to). Replaced and removed values are held by the caller, so no finalizer runs either.

On a free-threaded build other threads go on meanwhile. There the same chain is what ``dict |= ...`` iterates
over, which holds the dict's own lock until it has finished: the lock that every change of the dict takes, so
nothing comes between, be it one of these functions or a plain ``pop``. What is no dict (a number in an
attribute, a counter) gets a lock that exists only there, taken and freed in the C call that uses it: no
signal handler and no finalizer of the same thread can come while it is held. docs/free_threading.md has the
list of what is relied on, and where.
"""

from __future__ import annotations

import _thread
import itertools
import operator
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import compress
from operator import add as plus
from operator import attrgetter, gt, is_, not_, setitem
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .fork_locks import lock

if TYPE_CHECKING:
    from _thread import LockType

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

LEAST: Final = float("-inf")

FREE_THREADED: Final = "free-threading" in sys.version
"""Whether this build of Python can run without a GIL, be it with one at the moment or not."""

EXPERIMENTAL: Final = (
    "resprout is experimental on free-threaded builds of Python: what it was tried on is said in "
    "docs/versions.md. To go on without this warning, say before the first import of it "
    "`warnings.filterwarnings('ignore', 'resprout is experimental', RuntimeWarning)`, "
    "or start with `-W 'ignore:resprout is experimental'`"
)

if FREE_THREADED:
    # Here, since every room's first import leads here, and hardly anything of it has been loaded yet.
    warnings.warn(EXPERIMENTAL, RuntimeWarning, stacklevel=2)


# -- dicts ------------------------------------------------------------------------------------------------


def _replace(table: dict[K, V], key: K, old: V, new: V) -> bool:
    """Put new in the place of old; False, and nothing happens, when the key holds something else."""
    hit = compress((key,), map(is_, map(table.get, (key,)), (old,)))
    for _ in map(setitem, (table,), hit, (new,)):
        return True
    return False


def _remove(table: dict[K, V], key: K, old: V) -> bool:
    """Remove the key; False, and nothing happens, when it holds something else than old."""
    keys = (key,)
    for _ in map(table.pop, compress(keys, map(is_, map(table.get, keys), (old,)))):
        return True
    return False


def _remove_all(table: dict[K, V], keys: Sequence[K], olds: Sequence[V]) -> list[V]:
    """Remove each key that holds the value beside it, and return those values, in order.

    Each removal is a step of its own, yet all are one C call, in which other threads wait; give it a slice
    of a long list.
    """
    return list(map(table.pop, compress(keys, map(is_, map(table.get, keys), olds))))


def _remove_empty(table: dict[K, V], key: K) -> bool:
    """Remove the key if what it holds is empty (a falsy container)."""
    for _ in map(table.pop, compress((key,), map(not_, map(table.get, (key,), (True,))))):
        return True
    return False


# The same under the dict's lock. `|=` (`update`, without a call that an interrupt could come behind) gets no
# pair where nothing is to be entered: each link puts what it took into a list of ours, and hands on the None
# that `append` returns.


def _replace_locked(table: dict[K, V], key: K, old: V, new: V) -> bool:
    done: list[bool] = []
    hits = map(done.append, compress((True,), map(is_, map(table.get, (key,)), (old,))))
    table |= compress(((key, new),), map(not_, hits))
    return done == [True]


def _remove_locked(table: dict[K, V], key: K, old: V) -> bool:
    return _remove_all_locked(table, (key,), (old,)) != []


def _remove_all_locked(table: dict[K, V], keys: Sequence[K], olds: Sequence[V]) -> list[V]:
    return _pop_each(table, compress(keys, map(is_, map(table.get, keys), olds)))


def _remove_empty_locked(table: dict[K, V], key: K) -> bool:
    return _pop_each(table, compress((key,), map(not_, map(table.get, (key,), (True,))))) != []


def _pop_each(table: dict[K, V], keys: Iterable[K]) -> list[V]:
    taken: list[V] = []
    nothing: Iterable[Any] = filter(None, map(taken.append, map(table.pop, keys)))
    table |= nothing
    return taken


replace = _replace_locked if FREE_THREADED else _replace
remove = _remove_locked if FREE_THREADED else _remove
remove_all = _remove_all_locked if FREE_THREADED else _remove_all
remove_empty = _remove_empty_locked if FREE_THREADED else _remove_empty


# -- copies -----------------------------------------------------------------------------------------------


def _copied(box: deque[T]) -> deque[T]:
    """Copy a deque that others change meanwhile."""
    while True:
        try:
            return box.copy()
        except RecursionError:
            raise
        except RuntimeError:
            # Changed meanwhile. One step in today's CPython, which promises that of appends and pops only.
            continue


copied: Callable[[deque[T]], deque[T]] = _copied if FREE_THREADED else deque.copy


# -- numbers ----------------------------------------------------------------------------------------------

_call: Callable[[Callable[[], Any]], Any]
if sys.version_info >= (3, 11):
    _call = operator.call
else:

    def _call(function: Callable[[], Any]) -> Any:
        return function()


def _alone(guard: LockType, step: Callable[[], T]) -> T:
    """Take a lock, do a step that is one call of C, and free the lock, all in one call of C.

    An interrupt may end the wait for the lock, and then nothing was done.
    """
    done: list[Any] = []
    steps: tuple[Callable[[], Any], ...] = (guard.acquire, step, guard.release)
    try:
        # Not by a call, behind which an interrupt could come when the step is done.
        done += map(_call, steps)
    except BaseException:
        if 0 < len(done) < 3:
            guard.release()
        raise
    return done[1]  # type: ignore[no-any-return]  # what the step returned


class _Counter(Iterator[int]):
    """As ``itertools.count``, for several threads."""

    __slots__ = ("_guard", "_next")

    def __init__(self, start: int = 0, step: int = 1) -> None:
        self._guard = lock()
        self._next = itertools.count(start, step).__next__

    def __next__(self) -> int:
        return _alone(self._guard, self._next)


counter: Callable[..., Iterator[int]] = _Counter if FREE_THREADED else itertools.count
"""Makes what counts: ``next`` gives each number once, in whichever thread."""


def _sum(thing: object, name: str, by: int, above: float) -> Callable[[], object]:
    """A call of C that adds to an attribute which is above something, and returns None; else False."""
    read = attrgetter(name)
    found = compress((thing,), map(gt, map(read, (thing,)), (above,)))
    return partial(next, map(setattr, found, (name,), map(plus, map(read, (thing,)), (by,))), False)


def _increase(thing: object, name: str, by: int = 1, above: float = LEAST) -> bool:
    """Add to a number that is an attribute, in one step that no other of these comes between.

    Where there is a GIL, ``thing.name += by`` in code without a call is such a step, and costs a tenth. So
    who is called often asks ``FREE_THREADED``, and writes that out.

    Args:
        above: only if the number is above this; False, and nothing happens, if it isn't.
    """
    return _sum(thing, name, by, above)() is None


def _make_increase_locked() -> Callable[..., bool]:
    guard = lock()

    def increase(thing: object, name: str, by: int = 1, above: float = LEAST) -> bool:
        return _alone(guard, _sum(thing, name, by, above)) is None

    return increase


increase: Callable[..., bool] = _make_increase_locked() if FREE_THREADED else _increase


# -- the stacks of others ---------------------------------------------------------------------------------


def _frame_of_mine() -> dict[int, FrameType]:
    return {_thread.get_ident(): sys._getframe(1)}


frames = _frame_of_mine if FREE_THREADED else sys._current_frames
"""The innermost frames of all threads into which may be looked: without a GIL only the caller's own, since a
look into one that runs meanwhile may crash the interpreter.
"""
