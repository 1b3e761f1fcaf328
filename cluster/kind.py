"""The kind of child that a tree file calls ``engine``."""

from __future__ import annotations

from typing import Protocol

import attrs

from ..actors import ChildSpec
from ..supervision.tree_kinds import Seconds
from .driver import find_driver
from .engine import Engine
from .errors import EngineRefused
from .settings import engine_settings

TTL = Seconds(10.0)
GRACE = Seconds(0.15)


class CommonOptions(Protocol):
    """What this kind needs to know of the options that every child of a tree file has."""

    @property
    def id(self) -> str | None:
        """The id that the file gives, if any."""


@attrs.frozen
class EngineChild:
    """``- {engine: shared, url: "${DATABASE_URL}"}``; the options are those of `Engine.start_link`."""

    engine: str
    url: str = attrs.field(repr=False)
    ttl: Seconds = TTL
    grace: Seconds = GRACE
    schema: str = "resprout"
    node: str | None = None

    def __attrs_post_init__(self) -> None:
        settings = engine_settings(
            self.url, name=self.engine, ttl=self.ttl, grace=self.grace, schema=self.schema, node=self.node
        )
        try:
            find_driver(settings)
        except EngineRefused as refused:
            raise ValueError(refused.why) from None

    def child_specs(self, common: CommonOptions) -> list[ChildSpec]:
        """The engine."""
        return [
            Engine.child_spec(
                self.url,
                name=self.engine,
                ttl=self.ttl,
                grace=self.grace,
                schema=self.schema,
                node=self.node,
                id=common.id or self.engine,
            )
        ]
