"""The kind of child that a tree file calls ``registry``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import attrs

from ..actors import ChildSpec
from ..actors.engine import check_engine
from .registry import Registry
from .via import Via

_MOST_PARTITIONS: Final = 65_536
"""Each is a dict from the start, and beyond the number of threads more of them help nobody."""


class CommonOptions(Protocol):
    """What this kind needs to know of the options that every child of a tree file has."""

    @property
    def id(self) -> str | None:
        """The id that the file gives, if any."""


def _not_empty(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not value:
        raise ValueError(f"expected {attribute.name} to be a text that is not empty, got: {value!r}")


def _positive(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if isinstance(value, bool) or value < 1:
        raise ValueError(f"expected {attribute.name} to be a positive integer, got: {value!r}")
    if value > _MOST_PARTITIONS:
        raise ValueError(f"expected {attribute.name} to be at most {_MOST_PARTITIONS:,}, got: {value:,}")


def _engine(instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    check_engine(value)


@attrs.frozen
class RegistryChild:
    """``- {registry: partitions, keys: unique}``; the options are those of `Registry.start_link`.

    Listeners are names of processes that the tree starts before the registry.
    """

    registry: str = attrs.field(validator=_not_empty)
    keys: Literal["unique", "duplicate"] = "unique"
    partitions: int = attrs.field(default=1, validator=_positive)
    listeners: tuple[str, ...] = ()
    meta: Mapping[str, Any] | None = None
    linger: bool = False
    engine: str | None = attrs.field(default=None, validator=_engine)
    on_lost: Literal["exit", "tell"] = "exit"
    on_unreachable: Literal["wait", "raise"] = "wait"

    @property
    def needs(self) -> tuple[tuple[str, str], ...]:
        """The engine, which must have been started before."""
        return () if self.engine is None else ((self.engine, "engine"),)

    def child_specs(self, common: CommonOptions) -> list[ChildSpec]:
        """The registry."""
        spec = Registry.child_spec(
            keys=self.keys,
            name=self.registry,
            partitions=self.partitions,
            listeners=self.listeners,
            meta=self.meta,
            linger=self.linger,
            engine=self.engine,
            on_lost=self.on_lost,
            on_unreachable=self.on_unreachable,
        )
        return [attrs.evolve(spec, id=common.id or self.registry)]

    @property
    def names_processes(self) -> bool:
        """Whether a key is somebody's own, so that it can be a name."""
        return self.keys == "unique"

    @staticmethod
    def via_name(registry: str, key: object) -> Via:
        """What ``via: [registry, key]`` of another child means."""
        return Via(registry, key)
