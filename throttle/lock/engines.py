"""Engines that keep locks for several processes, by name. They stand above this room, which knows no more of
them than what is here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ..ledger.ledger import Ledger
from ..ledger.values import Holder, Waiter
from .settings import Settings

T = TypeVar("T")


class Steps(Protocol):
    """The core of a lock, as far as an engine needs it."""

    settings: Settings

    def decide(self, step: Callable[[], T]) -> T | None:
        """Do a step of the ledger here and return what it decides."""

    def tell_ledger(self, step: Callable[[], object]) -> None:
        """Have a step done by whoever is inside, and what it leaves told elsewhere."""

    def later(self, tell: Callable[[], object]) -> None:
        """Have something told that may run user code, after the step."""


class Engine(Protocol):
    """Keeps the claims of locks where other processes have theirs, too."""

    def check(self, settings: Settings) -> None:
        """Refuse what it can't do.

        Raises:
            ValueError: which says what was expected.
        """

    def make_ledger(self, settings: Settings, core: Steps, token: int) -> Ledger:
        """Make the ledger of a lock."""

    def everywhere(self, ledger: Any) -> tuple[list[Holder], list[Waiter]]:
        """List who holds and who waits, in all processes, in the order of the engine. One round trip.

        Raises:
            EngineDown: it can't be reached.
        """


engines: dict[str, Engine] = {}


def find_engine(name: str) -> Engine:
    """Return an engine.

    Raises:
        ValueError: there is none of that name.
    """
    engine = engines.get(name)
    if engine is None:
        near = difflib.get_close_matches(name, engines, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        there = f" (there are: {', '.join(sorted(engines))})" if engines else ""
        raise ValueError(
            f"expected engine to be the name of an engine that was started before, got: {name!r}{there}"
            f"{meant}; declare it in front of the lock, as in `{{engine: {name}, url: ...}}` or "
            f"cluster.Engine.start_link(url, name={name!r})"
        )
    return engine


def check_engine(engine: object) -> str | None:
    """Return the name of an engine, or raise the ValueError that says what is wrong."""
    if engine is None:
        return None
    if isinstance(engine, str) and "://" in engine:
        raise ValueError(
            f"expected engine to be the name of an engine, got a URL ({engine.partition('://')[0]}://...); "
            f"declare it, as in `{{engine: shared, url: ...}}` or "
            f"cluster.Engine.start_link(url, name='shared'), and name it here"
        )
    if not isinstance(engine, str) or not engine:
        raise ValueError(f"expected engine to be the name of an engine, or None, got: {engine!r}")
    return engine


def make_ledger(settings: Settings, core: Steps, token: int) -> Ledger:
    """Make the ledger of a lock, in memory or on its engine."""
    if settings.engine is not None:
        return find_engine(settings.engine).make_ledger(settings, core, token)
    return Ledger(
        settings.name,
        settings.num_slots,
        max_waiting=settings.max_waiting,
        fairness=settings.fairness,
        token=token,
    )
