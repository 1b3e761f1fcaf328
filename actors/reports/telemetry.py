"""Events that observers may listen to: Elixir's ``:telemetry``, with tuples of str for event names.

A handler runs in the thread that emits, synchronously; it must be quick and must not block. One that raises
is detached and reported, as in ``:telemetry``, so that an observer can never break what it observes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeAlias

import attrs

from ..primitives.fork_locks import rlock
from ..runtime.thread_state import check_alive, dead_but_running
from ..vocabulary.errors import Killed, ResproutError

Event: TypeAlias = tuple[str, ...]
Handler: TypeAlias = Callable[[Event, Mapping[str, Any], Mapping[str, Any]], object]

logger = logging.getLogger("resprout.telemetry")


@attrs.frozen
class _Attached:
    id: Hashable
    prefix: Event
    handler: Handler


# Replaced whole on every change, so that emit reads one consistent tuple without a lock; changes take turns.
_attached: tuple[_Attached, ...] = ()
_changes = rlock()
_on_change: list[Callable[[], object]] = []


class HandlerExists(ResproutError):
    """A handler is attached under that id already; detach it first."""


def attach(id: Hashable, event_or_prefix: Event, handler: Handler) -> None:
    """Call ``handler(event, measurements, metadata)`` for an event, or for all events that begin with a
    prefix.

    Args:
        id: names the handler for detach.
        event_or_prefix: a tuple of str; ``()`` listens to everything.
        handler: called in the emitting thread.

    Raises:
        HandlerExists: when the id is in use.
        TypeError: when the event is not a tuple of str or the handler not callable.
    """
    check_alive()
    global _attached
    if not isinstance(event_or_prefix, tuple) or not all(isinstance(part, str) for part in event_or_prefix):
        raise TypeError(f"expected event to be a tuple of str, got: {event_or_prefix!r}")
    if not callable(handler):
        raise TypeError(f"expected handler to be callable, got: {handler!r}")
    with _changes:
        if any(each.id == id for each in _attached):
            raise HandlerExists(f"a telemetry handler is attached as {id!r} already; detach it first")
        _attached = (*_attached, _Attached(id, event_or_prefix, handler))
    _tell_change()


def detach(id: Hashable) -> bool:
    """Take a handler away; False when there is none of that id."""
    check_alive()
    return _detach(id)


def _detach(id: Hashable) -> bool:
    global _attached
    with _changes:
        before = _attached
        _attached = tuple(each for each in before if each.id != id)
        gone = len(_attached) != len(before)
    if gone:
        _tell_change()
    return gone


def on_change(told: Callable[[], object]) -> None:
    """Have a function called after every attach and detach, for as long as the program runs.

    For code so often run that it should not even ask ``enabled``: it keeps the answer, and asks anew in
    ``told``, which must be quick and must not raise. Two changes at once may call it twice at the same time.
    """
    check_alive()
    _on_change.append(told)


def _tell_change() -> None:
    for each in _on_change:
        each()


def enabled(event: Event) -> bool:
    """Tell cheaply whether anybody listens, so that measurements need not be made for nobody."""
    if dead_but_running:
        check_alive()
    return heard(event)


def heard(event: Event) -> bool:
    """Tell it to the runtime, whoever's code this thread runs."""
    return bool(_attached) and any(event[: len(each.prefix)] == each.prefix for each in _attached)


def emit(event: Event, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Tell everybody who listens."""
    check_alive()
    tell(event, measurements, metadata)


def tell(event: Event, measurements: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Emit an event of the runtime's own, whoever's code this thread runs: it may be that of the dead."""
    for each in _attached:
        if event[: len(each.prefix)] == each.prefix:
            try:
                each.handler(event, measurements, metadata)
            except Killed:
                raise
            except Exception:
                _detach(each.id)
                logger.exception("telemetry handler %r raised at %r and was detached", each.id, event)
