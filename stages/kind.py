"""The kinds of children that a tree file calls `producer`, `consumer` and `consumer_supervisor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import attrs

from ..actors import ChildSpec, SpecError, Task
from ..supervision.tree_kinds import (
    Arguments,
    Bound,
    Common,
    Reference,
    WorkerChild,
    above_zero,
    not_negative,
    parameters_of,
    plain,
    refused,
)
from .consumer_supervisor import ConsumerSupervisor
from .dispatchers.partition import Partition
from .options import SubscriptionOptions, dispatcher_spec
from .running import Configured
from .stage import Consumer, Producer, ProducerConsumer

_INDEX: Final = "{index}"
_OPTIONS: Final = ("dispatcher", "demand", "buffer_size", "buffer_keep")


def _not_empty(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
    if not value:
        raise ValueError(f"expected {attribute.name} to be a text that is not empty, got: {value!r}")


def _size(instance: object, attribute: attrs.Attribute[Any], value: int | str | None) -> None:
    if isinstance(value, int) and value < 0:
        raise ValueError(f"expected {attribute.name} to be a whole number >= 0 or infinity, got: {value}")


def _function(name: str, reference: object, common: Common) -> Any:
    """The function that a file names.

    Raises:
        ValueError: It cannot be imported, or is none.
    """
    if not isinstance(reference, str):
        raise ValueError(f'expected {name} to be "module:function", got: {reference!r}')
    function = common.resolve(reference)
    if not callable(function):
        got = type(function).__name__
        raise ValueError(f"expected {name} to name a function, got: {reference}, which is of type {got}")
    return function


def _entries(owner: str, subscribe_to: Sequence[Any], common: Common) -> list[tuple[Any, dict[str, Any]]]:
    """What `subscribe_to` of a file says: for each producer its name and the options.

    Raises:
        SpecError: An entry is none, or an option is wrong. A selector is imported here.
    """
    entries = []
    for entry in plain(list(subscribe_to)):
        options = dict(entry) if isinstance(entry, Mapping) else {"to": entry}
        to = options.pop("to", None)
        if not isinstance(to, str) or not to:
            wanted = "expected the name of a producer, or {to: name, max_demand: ...}"
            raise SpecError(owner, "subscribe_to", f"{wanted}, got: {entry!r}")
        try:
            SubscriptionOptions.of(options)
            if "selector" in options:
                options["selector"] = _function("selector", options["selector"], common)
        except ValueError as error:
            raise SpecError(owner, "subscribe_to", f"in the subscription to {to!r}: {error}") from None
        entries.append((to, options))
    return entries


def _needs(subscribe_to: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
    """The names in `subscribe_to`, each with where it stands."""
    found: list[tuple[Any, ...]] = []
    for place, entry in enumerate(subscribe_to):
        if isinstance(entry, Mapping):
            if isinstance(entry.get("to"), str):
                found.append((entry["to"], "subscribe_to", place, "to"))
        elif isinstance(entry, str):
            found.append((entry, "subscribe_to", place))
    return tuple(found)


class _StageChild:
    """What the two kinds of stages have in common: a worker that is configured by the file."""

    start: Reference
    args: Arguments | None
    name: str | None
    replicas: int | None
    subscribe_to: tuple[Any, ...]

    _kind: ClassVar[str]
    _classes: ClassVar[tuple[type, ...]]

    @property
    def _called(self) -> str:
        """Its id, unless the file says another: what stands behind the kind."""
        called: str = getattr(self, self._kind)
        return called

    @property
    def _name(self) -> str | None:
        return self.name

    def _options(self, common: Common) -> dict[str, Any]:
        return {}

    @property
    def registers(self) -> tuple[object, ...]:
        """The names that it takes."""
        return self._worker().registers

    @property
    def needs(self) -> tuple[tuple[Any, ...], ...]:
        """The producers, which must have been started before."""
        return _needs(self.subscribe_to)

    def _worker(self) -> WorkerChild:
        return WorkerChild(self._called, self.start, args=self.args, name=self._name, replicas=self.replicas)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """A spec for each replica."""
        target = self.start.target
        if not (isinstance(target, type) and issubclass(target, self._classes)):
            wanted = " or a ".join(each.__name__ for each in self._classes)
            raise SpecError(
                self._called, "start", f"expected the class of a {wanted}, got: {self.start.text}"
            )
        if self.subscribe_to and issubclass(target, Producer):
            problem = f"expected none, as {self.start.text} is a Producer, which subscribes to nobody"
            raise SpecError(self._called, "subscribe_to", problem)
        options = self._options(common)
        entries = _entries(self._called, self.subscribe_to, common)
        return [
            self._configured(spec, options, entries, index)
            for index, spec in enumerate(self._worker().child_specs(common))
        ]

    @staticmethod
    def _configured(
        spec: ChildSpec, options: dict[str, Any], entries: list[tuple[Any, dict[str, Any]]], index: int
    ) -> ChildSpec:
        more = dict(options)
        if entries:
            more["subscribe_to"] = [
                (to, {key: index if value == _INDEX else value for key, value in each.items()})
                for to, each in entries
            ]
        if not more:
            return spec
        start, args, kwargs = spec.start
        return attrs.evolve(spec, start=(start, (Configured(args[0] if args else None, more),), kwargs))


@attrs.frozen(kw_only=True)
class ProducerChild(_StageChild):
    """`- {producer: numbers, start: "shop:Numbers"}`: a `Producer` or a `ProducerConsumer`.

    It is registered under `name`, by default what stands behind `producer:`, since somebody has to find it.

    Args:
        producer: Its id, unless the file says another.
        start: The class; its `init` gets `args`.
        args: The argument of its `init`.
        name: The name to register it under.
        replicas: How many of it; `{index}` in the name is the number of each.
        subscribe_to: For a producer-consumer: names, or mappings `{to: name, max_demand: 10, ...}`.
        dispatcher: `demand`, `broadcast`, or `{partitions: 4}`, with `hash: "module:function"` if need be.
        demand, buffer_size, buffer_keep: As the `init` of the stage may give them; the file counts more.
    """

    producer: str = attrs.field(validator=_not_empty)
    start: Reference
    args: Arguments | None = None
    name: str | None = None
    replicas: int | None = attrs.field(default=None, validator=not_negative)
    subscribe_to: tuple[Any, ...] = ()
    dispatcher: str | Mapping[str, Any] | None = None
    demand: Literal["forward", "accumulate"] | None = None
    buffer_size: int | Literal["infinity"] | None = attrs.field(default=None, validator=_size)
    buffer_keep: Literal["first", "last"] | None = None

    _kind = "producer"
    _classes = (Producer, ProducerConsumer)

    @property
    def _name(self) -> str:
        return self.name or self.producer

    def _options(self, common: Common) -> dict[str, Any]:
        if self.demand is not None and issubclass(self.start.target, ProducerConsumer):  # type: ignore[arg-type]  # a class, as was seen
            problem = (
                f"expected none, as {self.start.text} is a ProducerConsumer, which forwards what is wanted"
            )
            raise SpecError(self.producer, "demand", problem)
        said = {name: getattr(self, name) for name in _OPTIONS}
        options = {name: value for name, value in said.items() if value is not None}
        if self.dispatcher is not None:
            try:
                options["dispatcher"] = self._dispatcher(common)
            except (ValueError, TypeError) as error:
                raise SpecError(self.producer, "dispatcher", str(error)) from None
        return options

    def _dispatcher(self, common: Common) -> Any:
        if not isinstance(self.dispatcher, Mapping):
            return dispatcher_spec(self.dispatcher)
        given = plain(dict(self.dispatcher))
        if not {"partitions"} <= set(given) <= {"partitions", "hash"}:
            raise ValueError(f"expected demand, broadcast, or {{partitions: ..., hash: ...}}, got: {given!r}")
        hash = given.get("hash")
        return Partition(given["partitions"], None if hash is None else _function("hash", hash, common))


@attrs.frozen(kw_only=True)
class ConsumerChild(_StageChild):
    """`- {consumer: printer, start: "shop:Printer", subscribe_to: [numbers]}`: a `Consumer`.

    Args:
        consumer: Its id, unless the file says another.
        start: The class; its `init` gets `args`.
        args: The argument of its `init`.
        name: The name to register it under.
        replicas: How many of it; `partition: "{index}"` in `subscribe_to` is the number of each.
        subscribe_to: Names of producers of the tree, or mappings `{to: name, max_demand: 10, ...}`.
    """

    consumer: str = attrs.field(validator=_not_empty)
    start: Reference
    args: Arguments | None = None
    name: str | None = None
    replicas: int | None = attrs.field(default=None, validator=not_negative)
    subscribe_to: tuple[Any, ...] = ()

    _kind = "consumer"
    _classes = (Consumer,)


@attrs.frozen(kw_only=True)
class ConsumerSupervisorChild:
    """`- {consumer_supervisor: mails, run: "shop:send", subscribe_to: [orders]}`: a child for each event.

    Args:
        consumer_supervisor: Its id, unless the file says another.
        run: A function or coroutine function that is called with the event, in a process of its own.
        start: Instead of `run`: a class with `start_link`, or a function that starts a process, called with
            the event.
        args: Keywords of that call.
        child_restart: `temporary`, or `transient`: one that crashes is started again for the same event.
        max_restarts: How often that may be ...
        max_seconds: ... within so many seconds.
        name: The name to register it under.
        subscribe_to: As of a `consumer`; `max_demand` is how many children there may be at once.
    """

    consumer_supervisor: str = attrs.field(validator=_not_empty)
    run: Reference | None = None
    start: Reference | None = None
    args: Arguments | None = None
    child_restart: Literal["temporary", "transient"] = "temporary"
    max_restarts: int = attrs.field(default=3, validator=not_negative)
    max_seconds: float = attrs.field(default=5.0, validator=above_zero)
    name: str | None = None
    subscribe_to: tuple[Any, ...] = ()

    @property
    def registers(self) -> tuple[object, ...]:
        """The names that it takes."""
        return () if self.name is None else (self.name,)

    @property
    def needs(self) -> tuple[tuple[Any, ...], ...]:
        """The producers, which must have been started before."""
        return _needs(self.subscribe_to)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the supervisor."""
        name = common.id or self.consumer_supervisor
        options = {
            "subscribe_to": _entries(self.consumer_supervisor, self.subscribe_to, common),
            "max_restarts": self.max_restarts,
            "max_seconds": self.max_seconds,
            "name": self.name,
        }
        start = (ConsumerSupervisor.start_link, (self._template(name),), options)
        return [ChildSpec(name, start, type="supervisor")]

    def _template(self, name: str) -> ChildSpec:
        called = self.run or self.start
        if called is None or (self.run is not None and self.start is not None):
            got = "neither" if called is None else "both"
            raise SpecError(name, "run", f"expected either run: or start:, got {got}")
        args = {} if self.args is None else plain(self.args)
        target: Any = called.target
        call = getattr(target, "start_link", target) if self.run is None else target
        problem = refused(call, ("the event",), args)
        if problem is not None:
            takes = f"{called.text} gets the event and takes: {parameters_of(call)}"
            raise SpecError(name, "args" if args else "run" if self.run else "start", f"{problem}; {takes}")
        if self.run is not None:
            work = Bound(target, **args) if args else target
            return ChildSpec(name, (Task.start_link, (work,), {}), restart=self.child_restart)
        return ChildSpec(name, (call, (), dict(args)), restart=self.child_restart)
