"""Engines that keep locks for several processes, by name. They stand above this room, which knows no more of
them than what is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ...actors.engine import engine_named
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
    return engine_named(name, engines, "lock")


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
