"""The side door for the room of the engines: what a registry needs of one that keeps its keys for several
processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs

from ..actors import Future, Pid
from ..actors.engine import Alarm, engine_named
from .errors import KeyLost

OnLost = Literal["exit", "tell"]
OnUnreachable = Literal["wait", "raise"]


class Owned(Protocol):
    """An entry of the table."""

    pid: Pid
    value: Any

    @property
    def key(self) -> Any:
        """As it was registered."""


class Claim(Protocol):
    """An attempt to register, and what came of it.

    Attributes:
        answer: True when it has its key, False when it was given up; raises what it was refused for.
        over: it has no key, and will never have one.
    """

    answer: Future[bool]
    over: bool


@attrs.frozen
class SharedSettings:
    """What a registry wants of its engine.

    Attributes:
        on_unreachable: whether claims and searches wait for an engine that can't be reached.
        lose: told, in a process of its own, of an entry whose key is gone; may be told twice.
        ended: makes the error for whoever waits when the registry ends.
    """

    name: str
    on_unreachable: OnUnreachable
    lose: Callable[[Any], object]
    ended: Callable[[], BaseException]


class SharedKeys(Protocol):
    """The keys of one registry, where other processes have theirs, too."""

    def stored_key(self, key: object) -> str:
        """What stands for a key there.

        Raises:
            TypeError, ValueError: it can't be stored.
        """

    def stored_value(self, value: object) -> str:
        """What stands for a value there; raises as stored_key."""

    def claim(self, key: str, value: str, owner: Owned) -> Any:
        """Make a Claim, which is not asked for yet."""

    def ask(self, claim: Any) -> None:
        """Ask for its key; its answer tells what came of that."""

    def expire(self, claim: Any, timeout: float) -> Alarm:
        """Have a claim answered with CallTimeout if it takes so long; the alarm is to be cancelled."""

    def take(self, claim: Any) -> bool:
        """Its owner is in the table now; False when it has lost its key meanwhile, and has a new answer."""

    def drop(self, claim: Any) -> None:
        """Give a claim up; the engine is told without waiting. Never blocks, may be repeated."""

    def leave(self, claim: Any) -> Future[None]:
        """Give a claim up; the answer comes when the engine knows of that, or can't be reached."""

    def change(self, claim: Any, value: str) -> None:
        """An owner has another value; told as by drop."""

    def hide(self, claim: Any) -> None:
        """An owner is dead, and its key stays taken; told as by drop."""

    def find(self, key: str) -> list[tuple[Any, Any]]:
        """The owner of a key with its value, or nobody. One round trip.

        Raises:
            EngineDown: the engine can't be reached.
        """

    async def afind(self, key: str) -> list[tuple[Any, Any]]:
        """The form of find for coroutines."""

    def valid(self) -> bool:
        """Whether the engine was heard of lately enough for what is owned here to be owned."""

    def close(self) -> None:
        """The registry has ended, and all its claims with it."""


class KeyEngine(Protocol):
    """Keeps keys."""

    def check_keys(self) -> None:
        """Refuse where it can't do that.

        Raises:
            ResproutError: says why not, and what can.
        """

    def make_keys(self, settings: SharedSettings) -> SharedKeys:
        """Keep those of a registry."""


key_engines: dict[str, KeyEngine] = {}
"""By name."""


def find_key_engine(name: str) -> KeyEngine:
    """Return an engine.

    Raises:
        ValueError: there is none of that name.
        ResproutError: it can't keep keys.
    """
    engine = engine_named(name, key_engines, "registry")
    engine.check_keys()
    return engine


__all__ = [
    "Claim",
    "KeyEngine",
    "KeyLost",
    "OnLost",
    "OnUnreachable",
    "Owned",
    "SharedKeys",
    "SharedSettings",
    "find_key_engine",
    "key_engines",
]
