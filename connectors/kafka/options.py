"""What a group subscriber is told, checked before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from ...actors import Backoff, SpecError, one_of, seconds, whole_number
from .client import check_config
from .flow import Flow
from .retrying import Retrying

Commit: TypeAlias = Literal["after", "before"]
DEFAULT_BACKOFF: Final = Backoff(initial=0.1, maximum=10.0)
PREFETCH: Final = 1000
CLOSING: Final = 5.0
"""Seconds that committing and leaving the group may take, when the handlers have ended."""


def topics_of(owner: str, topics: object) -> tuple[str, ...]:
    """Names of topics, or patterns of names that begin with `^`.

    Raises:
        SpecError: They are something else.
    """
    if isinstance(topics, (str, bytes, Mapping)) or not isinstance(topics, Iterable):
        raise SpecError(owner, "topics", f"expected a list of names of topics, got: {topics!r}")
    names = tuple(topics)
    for name in names:
        if not isinstance(name, str) or not name:
            raise SpecError(owner, "topics", f"expected names of topics, got: {name!r}")
    if not names:
        raise SpecError(owner, "topics", "expected at least one topic, got none")
    if len(set(names)) < len(names):
        raise SpecError(owner, "topics", f"expected each topic once, got: {list(names)!r}")
    return names


def text(owner: str, field: str, value: object) -> str:
    """A text that is not empty.

    Raises:
        SpecError: It is something else.
    """
    if not isinstance(value, str) or not value:
        raise SpecError(owner, field, f"expected a text that is not empty, got: {value!r}")
    return value


def config_of(owner: str, config: object) -> dict[str, Any]:
    """The options of librdkafka.

    Raises:
        SpecError: One is wrong.
        MissingExtra: confluent-kafka is not installed.
    """
    try:
        return check_config({} if config is None else config)
    except (ValueError, TypeError) as error:
        raise SpecError(owner, "config", str(error)) from None


def is_async(function: object) -> bool:
    """Whether a call of it is to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # of an object: the method, not whether there is one
    )


def _check_takes_one(owner: str, field: str, what: str, function: Callable[..., object]) -> None:
    """Refuses a function that cannot be called with one argument.

    Raises:
        SpecError: It cannot.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Some functions in C do not tell.
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = getattr(function, "__qualname__", repr(function))
        problem = f"expected a function of {what}, got: {name}{signature}: {error}"
        raise SpecError(owner, field, problem) from None


@attrs.frozen
class GroupOptions:
    """A group subscriber's options; see `GroupSubscriber`.

    Raises:
        SpecError: One is wrong; it names the option.
        MissingExtra: confluent-kafka is not installed.
    """

    topics: tuple[str, ...]
    group: str
    handler: Callable[[Any], object]
    throttle: str | None = None
    commit: Commit = "after"
    prefetch: int = PREFETCH
    retries: int = 3
    backoff: Backoff = DEFAULT_BACKOFF
    dead_letter: str | Callable[[Any, Exception], object] | None = None
    drain: float = 5.0
    commit_interval: float = 1.0
    max_restarts: int = 3
    max_seconds: float = 5.0
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @classmethod
    def of(cls, topics: object, group: object, handler: object, **options: Any) -> GroupOptions:
        """Checked."""
        owner = group if isinstance(group, str) and group else "kafka"
        known = [each.name for each in attrs.fields(cls)][3:]
        for name in options:
            if name not in known:
                one_of(owner, name, name, tuple(known))
        text(owner, "group", group)
        if not callable(handler):
            raise SpecError(owner, "handler", f"expected a function of a message, got: {handler!r}")
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            raise SpecError(owner, "handler", f"expected a function that does the work, got: {handler!r}")
        _check_takes_one(owner, "handler", "a message", handler)
        made = cls(topics_of(owner, topics), owner, handler, **options)
        made._check(owner)
        return attrs.evolve(made, config=config_of(owner, made.config))

    def _check(self, owner: str) -> None:
        if self.throttle is not None:
            text(owner, "throttle", self.throttle)
        one_of(owner, "commit", self.commit, ("after", "before"))
        whole_number(owner, "prefetch", self.prefetch, 1)
        whole_number(owner, "retries", self.retries)
        if not isinstance(self.backoff, Backoff):
            raise SpecError(owner, "backoff", f"expected a Backoff, got: {self.backoff!r}")
        if self.dead_letter is not None and not callable(self.dead_letter):
            text(owner, "dead_letter", self.dead_letter)
        if self.dead_letter in self.topics:
            raise SpecError(owner, "dead_letter", f"expected another topic than {self.dead_letter!r}")
        seconds(owner, "drain", self.drain)
        seconds(owner, "commit_interval", self.commit_interval)
        whole_number(owner, "max_restarts", self.max_restarts)
        seconds(owner, "max_seconds", self.max_seconds, above_zero=True)

    @property
    def flow(self) -> Flow:
        """How many messages may be where."""
        return Flow(self.prefetch)

    @property
    def retrying(self) -> Retrying:
        """What becomes of a message that cannot be handled."""
        return Retrying(self.retries, self.backoff, self.dead_letter is not None)

    @property
    def asynchronous(self) -> bool:
        """Whether the handler is a coroutine function."""
        return is_async(self.handler)
