"""What a forked child knows of what its parent had: the names, to say so in errors, and what to start anew.

After ``os.fork`` the child has one thread and an empty runtime. A program that forks (gunicorn with
``--preload``, Celery's prefork pool, multiprocessing) has often made its locks and trees before, and uses
them after. Locks of ``throttle.new`` come back by themselves, since they are declarations; of everything else
the error says that it was made before the fork.
"""

from __future__ import annotations

import logging
import os
from _thread import get_ident
from asyncio import _get_running_loop
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from threading import Thread
from typing import Any, TypeVar

from ..primitives.fork_locks import lock
from .thread_state import current_if_any

logger = logging.getLogger("resprout")
F = TypeVar("F", bound=Callable[[], Any])

_wanted: list[Callable[[], Any]] = []
"""What ``after_fork`` was given, in order."""
_due: list[Callable[[], Any]] = []
"""Of a forked child: what is still to be called, or being called. Another list after each fork."""
_names: dict[str, frozenset[object]] = {}
"""Of a forked child: what its parent had, and that one's parent, by kind."""
_calling = lock()
"""Held while they are called. Others wait for it."""
_caller: int | None = None
"""The thread that calls them."""
_flow: ContextVar[object] = ContextVar("resprout.after_fork", default=None)
"""The list that is being called in this flow; it goes along into the tasks that a function starts."""

ADVICE = (
    "start what you need in the child, after the fork (resprout.after_fork(fn) has that done on first use)"
)


def after_fork(fn: F) -> F:
    """Have a function called in every forked child, when the child uses resprout for the first time.

    For what a program starts at import, and its forked workers need, too: a tree, a registry. Not in the fork
    itself, so a child that does nothing with resprout starts nothing. Nothing is called in the process that
    says this, nor for a fork that was before. Also usable as a decorator.

    Args:
        fn: called without arguments, once a child, in the order of registration, in the thread that needs it
            first (in an event loop, in a thread that the loop waits for). Another thread that misses a name
            meanwhile (of a process, registry or lock) waits until all are over; so fn must not wait for a
            thread of a plain thread pool that does so (``asyncio.to_thread`` and actors are fine). What it
            raises is raised in the thread that needed it, when all have been called (of a second one it is
            logged); none is called again.

    Returns:
        fn.

    Raises:
        TypeError: fn is not callable.

    Semantics: children of children call it as well, but not a child that fn itself forks.

    Example:
        >>> from resprout import Agent, after_fork
        >>> @after_fork
        ... def start_settings():
        ...     Agent.start(dict, name="settings")
    """
    if not callable(fn):
        raise TypeError(f"expected fn to be callable, got: {fn!r}")
    _wanted.append(fn)
    return fn


def first_use() -> bool:
    """In a forked child: see to it that what ``after_fork`` was given has been called.

    Returns:
        Whether to look again for what was missing: something was called, here or in another thread. False
        also in what those functions themselves do.
    """
    if not _due or _is_callers():
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
    global _caller
    due = _due
    first: Exception | None = None
    with _calling:
        _caller = get_ident()
        flow = _flow.set(due)
        try:
            while True:
                if not due or due is not _due:
                    break
                # It stays in the list until it is over, so that nobody takes it for done.
                try:
                    due[0]()
                except Exception as error:
                    if first is None:
                        first = error
                    else:
                        name = getattr(due[0], "__qualname__", due[0])
                        logger.exception("the function %s of after_fork raised", name)
                finally:
                    del due[0]
        finally:
            _flow.reset(flow)
            _caller = None
            if due is not _due and not _calling.locked():
                # This is a child that one of the functions has forked, where nobody holds it.
                _calling.acquire()
    if first is not None:
        raise first
    return True


def _is_callers() -> bool:
    """Tell whether one of the functions that are being called has led to what runs here."""
    if _caller is None:
        return False
    if _caller == get_ident() or _flow.get() is _due:
        return True
    above = current_if_any()
    while above is not None and above.parent is not None:
        above = above.parent
    return above is not None and getattr(above, "thread_id", None) == _caller


def was_there(kind: str, name: object) -> bool:
    """Tell whether the parent had something of this kind (``"process"``, say) and name at the fork."""
    try:
        return name in _names.get(kind, ())
    except TypeError:
        # A Via with a key that has no hash.
        return False


def remember(kind: str, names: Iterable[object]) -> None:
    """In a forked child: note what the parent had."""
    _names[kind] = _names.get(kind, frozenset()).union(names)


def _begin_anew() -> None:
    global _due, _caller
    # What they fork themselves would otherwise call them, fork, and so on.
    _due = [] if _is_callers() else list(_wanted)
    _caller = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
