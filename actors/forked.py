"""What a forked child knows of what its parent had: the names, to say so in errors, and what to start anew.

After ``os.fork`` the child has one thread and an empty runtime. A program that forks (gunicorn with
``--preload``, Celery's prefork pool, multiprocessing) has often made its locks and trees before, and uses
them after. Locks of ``throttle.new`` come back by themselves, since they are declarations; of everything else
the error says that it was made before the fork.
"""

from __future__ import annotations

import os
from asyncio import _get_running_loop
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any, TypeVar

from .forks import rlock

F = TypeVar("F", bound=Callable[[], Any])

_wanted: list[Callable[[], Any]] = []
"""What ``after_fork`` was given, in order."""
_due: list[Callable[[], Any]] = []
"""Of a forked child: what is still to be called."""
_names: dict[str, frozenset[object]] = {}
"""Of a forked child: what its parent had, by kind."""
_calling = rlock()

ADVICE = (
    "start what you need in the child, after the fork (resprout.after_fork(fn) has that done on first use)"
)


def after_fork(fn: F) -> F:
    """Have a function called in every forked child, when the child uses resprout for the first time.

    For what a program starts at import, and its forked workers need, too: a tree, a registry. Not in the fork
    itself, so a child that does nothing with resprout starts nothing. Also usable as a decorator.

    Args:
        fn: called without arguments, once a child, in the order of registration, in the thread that needs it
            first (in an event loop, in a thread that the loop waits for). Others wait until it is over. What
            it raises is raised there.

    Returns:
        fn.

    Raises:
        TypeError: fn is not callable.
    """
    if not callable(fn):
        raise TypeError(f"expected fn to be callable, got: {fn!r}")
    _wanted.append(fn)
    return fn


def first_use() -> bool:
    """In a forked child: call what ``after_fork`` was given, once; True if there was anything."""
    if not _due:
        return False
    if _get_running_loop() is None:
        return _call_all()
    error: list[BaseException] = []

    def call() -> None:
        try:
            _call_all()
        except BaseException as problem:
            error.append(problem)

    thread = Thread(target=call, name="resprout-after-fork", daemon=True)
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return True


def _call_all() -> bool:
    with _calling:
        while _due:
            _due.pop(0)()
    return True


def was_there(kind: str, name: object) -> bool:
    """Tell whether the parent had something of this kind (``"process"``, say) and name at the fork."""
    return name in _names.get(kind, ())


def remember(kind: str, names: Iterable[object]) -> None:
    """In a forked child: note what the parent had."""
    _names[kind] = frozenset(names)


def _begin_anew() -> None:
    _names.clear()
    _due[:] = _wanted


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
