"""The kind of child that a tree file calls ``throttle``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import attrs

from ..actors import ChildSpec
from ..actors.engine import check_engine
from .ledger.adaptive import adaptive_of
from .ledger.rate import Rate
from .ledger.values import check_max_waiting, check_positive
from .lock.server import child_spec
from .lock.table import cores


class CommonOptions(Protocol):
    """What this kind needs to know of the options that every child of a tree file has."""

    @property
    def id(self) -> str | None:
        """The id that the file gives, if any."""

    @property
    def restart(self) -> Literal["permanent", "transient", "temporary"] | None:
        """The restart type that the file gives, if any."""


def _not_empty(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
    if not value:
        raise ValueError(f"expected {attribute.name} to be a text that is not empty, got: {value!r}")


def _positive(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    check_positive(attribute.name, value)


def _bound(instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    check_max_waiting(value)


def _rate(instance: object, attribute: attrs.Attribute[Any], value: str | float | None) -> None:
    Rate.of(value)


def _engine(instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    check_engine(value)


@attrs.frozen
class ThrottleChild:
    """``- {throttle: kafka_consumer_throttle, num_slots: 2}``; the options are those of ``throttle.new``."""

    throttle: str = attrs.field(validator=_not_empty)
    num_slots: int = attrs.field(validator=_positive)
    max_waiting: int | None = attrs.field(default=None, validator=_bound)
    fairness: Literal["strict", "eventual"] = "strict"
    rate: str | float | None = attrs.field(default=None, validator=_rate)
    adaptive: Literal["aimd", "gradient"] | Mapping[str, Mapping[str, Any]] | None = None
    paused: bool = False
    engine: str | None = attrs.field(default=None, validator=_engine)
    on_lost: Literal["exit", "tell"] = "exit"
    on_unreachable: Literal["wait", "raise"] = "wait"

    def __attrs_post_init__(self) -> None:
        adaptive_of(self.adaptive, self.num_slots)

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """The engine, which must have been started before."""
        return () if self.engine is None else ((self.engine, "engine"),)

    def child_specs(self, common: CommonOptions) -> list[ChildSpec]:
        """The lock."""
        return [
            child_spec(
                self.throttle,
                self.num_slots,
                max_waiting=self.max_waiting,
                fairness=self.fairness,
                rate=self.rate,
                adaptive=self.adaptive,
                paused=self.paused,
                engine=self.engine,
                on_lost=self.on_lost,
                on_unreachable=self.on_unreachable,
                id=common.id or self.throttle,
                restart=common.restart or "permanent",
            )
        ]

    def close(self) -> None:
        """The tree has ended for good: so has the lock, whoever holds it."""
        core = cores.get(self.throttle)
        if core is not None and core.process is None:
            core.end()
