"""What may be said of a subscription and of a stage, checked before anything is sent or started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import attrs

from ..actors import INFINITY, Named, Pid, is_orderly
from .buffer import Keep
from .dispatchers.broadcast import Broadcast
from .dispatchers.demand import Demand
from .dispatchers.dispatcher import DispatcherSpec, check_most
from .dispatchers.partition import Partition
from .messages import Mode

CancelMode: TypeAlias = Literal["permanent", "transient", "temporary"]
MAX_DEMAND: Final = 1000
_SUBSCRIPTION: Final = ("max_demand", "min_demand", "cancel")
_OF_DISPATCHERS: Final = ("partition", "selector")
_BY_NAME: Final[Mapping[str, Any]] = MappingProxyType(
    {"demand": Demand, "broadcast": Broadcast, "partition": Partition}
)


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses what is none of the choices.

    Raises:
        ValueError: It is not; the message lists them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"expected {name} to be {', '.join(map(repr, choices))}, got: {value!r}")


@attrs.frozen
class SubscriptionOptions:
    """How a consumer is subscribed.

    Attributes:
        max_demand: How many events may be on their way to it, or being handled, at once.
        min_demand: At how few that are left it asks for more; half of `max_demand` unless given.
        cancel: Whether it ends with the subscription.
        others: What else was given: `partition` and `selector` for dispatchers, anything for callbacks.
    """

    max_demand: int = MAX_DEMAND
    min_demand: int = MAX_DEMAND // 2
    cancel: CancelMode = "permanent"
    others: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> SubscriptionOptions:
        """From keyword arguments, or the mapping that a tree file or `subscribe_to` has.

        Raises:
            ValueError: One is wrong.
        """
        maximum = options.get("max_demand", MAX_DEMAND)
        check_most("max_demand", maximum)
        minimum = options.get("min_demand")
        if minimum is None:
            minimum = maximum // 2
        elif not isinstance(minimum, int) or isinstance(minimum, bool) or not 0 <= minimum < maximum:
            raise ValueError(
                f"expected min_demand to be an integer from 0 to {maximum - 1}, one less than max_demand, "
                f"got: {minimum!r}"
            )
        cancel = options.get("cancel", "permanent")
        one_of("cancel", cancel, ("permanent", "transient", "temporary"))
        others = {key: value for key, value in options.items() if key not in _SUBSCRIPTION}
        for name in others:
            # Others are for callbacks and dispatchers, but not what one of ours was meant by.
            near = get_close_matches(str(name), (*_SUBSCRIPTION, *_OF_DISPATCHERS), 1, 0.8)
            if near and name not in _OF_DISPATCHERS:
                raise ValueError(f"unknown option {name!r} of a subscription; did you mean {near[0]!r}?")
        return cls(maximum, minimum, cancel, others)

    @property
    def mapping(self) -> Mapping[str, Any]:
        """All of them, as `handle_subscribe` and dispatchers get them."""
        own = {"max_demand": self.max_demand, "min_demand": self.min_demand, "cancel": self.cancel}
        return MappingProxyType({**own, **self.others})


def ends_consumer(cancel: CancelMode, reason: object) -> bool:
    """Whether a consumer ends when its subscription does.

    Semantics: the `:cancel` option of GenStage.sync_subscribe/3.
    """
    return cancel == "permanent" or (cancel == "transient" and not is_orderly(reason))


def subscriptions(subscribe_to: object) -> tuple[tuple[Any, SubscriptionOptions], ...]:
    """What `subscribe_to` says: server arguments, or pairs of one and its options.

    Raises:
        ValueError, TypeError: It is something else; an option is wrong.
    """
    if isinstance(subscribe_to, (str, bytes, Pid, Mapping)) or not isinstance(subscribe_to, Iterable):
        raise TypeError(f"expected subscribe_to to be a list of producers, got: {subscribe_to!r}")
    return tuple(_subscription(each) for each in subscribe_to)


def _subscription(entry: Any) -> tuple[Any, SubscriptionOptions]:
    to: Any = entry
    options: Mapping[str, Any] = {}
    if isinstance(entry, tuple) and not isinstance(entry, Named):
        if len(entry) != 2 or not isinstance(entry[1], Mapping):
            raise TypeError(f"expected a producer or (producer, options) in subscribe_to, got: {entry!r}")
        to, options = entry
    try:
        return to, SubscriptionOptions.of(options)
    except ValueError as error:
        raise ValueError(f"in the subscription to {to!r}: {error}") from None


def dispatcher_spec(dispatcher: Any) -> DispatcherSpec:
    """What a stage was told of its dispatcher: `Demand(...)` and the like, the class, or its name.

    Raises:
        ValueError, TypeError: It is none.
    """
    if isinstance(dispatcher, str):
        one_of("dispatcher", dispatcher, tuple(_BY_NAME))
        dispatcher = _BY_NAME[dispatcher]
    if isinstance(dispatcher, type):
        if dispatcher is Partition:
            raise ValueError("expected Partition(partitions=...), got no partitions")
        dispatcher = dispatcher()
    if not callable(getattr(dispatcher, "make", None)):
        raise TypeError(f"expected dispatcher to be Demand, Broadcast or Partition, got: {dispatcher!r}")
    spec: DispatcherSpec = dispatcher
    return spec


@attrs.frozen
class StageSettings:
    """What the `Ok` of a stage's `init` says beside the state.

    Attributes:
        dispatcher: Who gets the events.
        demand: Whether demand is forwarded to `handle_demand` from the start.
        buffer_size: How many events are kept that nobody has asked for; None for any number.
        buffer_keep: Which of them are kept when there are more.
        subscribe_to: The producers to begin with.
    """

    dispatcher: DispatcherSpec = attrs.field(factory=Demand)
    demand: Mode = "forward"
    buffer_size: int | None = None
    buffer_keep: Keep = "last"
    subscribe_to: tuple[tuple[Any, SubscriptionOptions], ...] = ()

    @classmethod
    def of(
        cls, options: Mapping[str, Any], allowed: tuple[str, ...], buffer_size: object, kind: str
    ) -> StageSettings:
        """Checked, for one kind of stage.

        Args:
            options: As given.
            allowed: Those that this kind of stage has.
            buffer_size: The default of that.
            kind: What it is called, with an article.

        Raises:
            ValueError, TypeError: One is wrong, or not for this kind.
        """
        for name in options:
            if name not in allowed:
                raise TypeError(f"{kind} has no option {name!r} of init; it has: {', '.join(allowed)}")
        size = options.get("buffer_size", buffer_size)
        if size is INFINITY or size == "infinity":
            size = None
        elif not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ValueError(f"expected buffer_size to be an integer >= 0 or INFINITY, got: {size!r}")
        keep = options.get("buffer_keep", "last")
        one_of("buffer_keep", keep, ("first", "last"))
        demand = options.get("demand", "forward")
        one_of("demand", demand, ("forward", "accumulate"))
        return cls(
            dispatcher=dispatcher_spec(options.get("dispatcher", Demand)),
            demand=demand,
            buffer_size=size,
            buffer_keep=keep,
            subscribe_to=subscriptions(options.get("subscribe_to", ())),
        )
