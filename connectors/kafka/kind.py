"""The kind of child that a tree file calls `kafka`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from ...actors import Backoff, ChildSpec, SpecError
from ...supervision.tree_kinds import Common, Reference, Seconds, above_zero, not_negative
from .client import MissingExtra
from .group_subscriber import GroupSubscriber
from .options import DEFAULT_BACKOFF, PREFETCH, text


def _not_empty(instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and not value.strip():
        raise ValueError(f"expected {attribute.name} to be a text that is not empty, got: {value!r}")


def _positive(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 1:
        raise ValueError(f"expected {attribute.name} to be a whole number >= 1, got: {value}")


@attrs.frozen(kw_only=True)
class KafkaChild:
    """`- {kafka: orders, topics: [orders], group: shop, handler: "shop.orders:process"}`: a group subscriber.

    It is registered under `name`, by default what stands behind `kafka:`.

    Args:
        kafka: Its id, unless the file says another.
        topics: Names of topics, or patterns that begin with `^`.
        group: The name of the consumer group.
        handler: A function or coroutine function that is called with each message.
        throttle: The name of a lock that the tree starts before.
        commit, prefetch, retries, drain, commit_interval, max_restarts, max_seconds: As `GroupSubscriber` has
            them.
        backoff: The waits before retries: `{initial: 100ms, maximum: 10s}`.
        dead_letter: The name of a topic, or `module:function`.
        config: Options of librdkafka, such as `bootstrap.servers`.
        name: The name to register its supervisor under.
    """

    kafka: str = attrs.field(validator=_not_empty)
    topics: tuple[str, ...]
    group: str = attrs.field(validator=_not_empty)
    handler: Reference
    throttle: str | None = attrs.field(default=None, validator=_not_empty)
    commit: Literal["after", "before"] = "after"
    prefetch: int = attrs.field(default=PREFETCH, validator=_positive)
    retries: int = attrs.field(default=3, validator=not_negative)
    backoff: Backoff = DEFAULT_BACKOFF
    dead_letter: str | None = attrs.field(default=None, validator=_not_empty)
    drain: Seconds = attrs.field(default=Seconds(5.0))
    commit_interval: Seconds = attrs.field(default=Seconds(1.0))
    max_restarts: int = attrs.field(default=3, validator=not_negative)
    max_seconds: Seconds = attrs.field(default=Seconds(5.0), validator=above_zero)
    config: Mapping[str, object] = attrs.field(factory=dict)
    name: str | None = None

    @property
    def registers(self) -> tuple[object, ...]:
        """The names that it takes."""
        return (self.name or self.kafka,)

    @property
    def needs(self) -> tuple[tuple[Any, ...], ...]:
        """The lock, which must have been started before."""
        return () if self.throttle is None else ((self.throttle, "throttle"),)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the subscriber."""
        try:
            subscriber = GroupSubscriber(
                self.topics,
                text(self.kafka, "group", self.group),
                self.handler.target,
                throttle=self.throttle,
                commit=self.commit,
                prefetch=self.prefetch,
                retries=self.retries,
                backoff=self.backoff,
                dead_letter=self._dead_letter(common),
                drain=self.drain,
                commit_interval=self.commit_interval,
                max_restarts=self.max_restarts,
                max_seconds=self.max_seconds,
                config=self.config,
            )
        except MissingExtra as error:
            raise SpecError(self.kafka, "kafka", str(error)) from None
        return [subscriber.child_spec(name=self.name or self.kafka, id=common.id or self.kafka)]

    def _dead_letter(self, common: Common) -> str | Callable[..., object] | None:
        """A topic or, as no topic's name has a colon, a function."""
        if self.dead_letter is None or ":" not in self.dead_letter:
            return self.dead_letter
        try:
            found = common.resolve(self.dead_letter)
        except ValueError as error:
            raise SpecError(self.kafka, "dead_letter", str(error)) from None
        if not callable(found):
            problem = f"expected a topic or a function, {self.dead_letter} is: {type(found).__name__}"
            raise SpecError(self.kafka, "dead_letter", problem)
        return found
