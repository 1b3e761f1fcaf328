"""What may be asked of a stage from outside, and what its callbacks may ask of the stages around it."""

from __future__ import annotations

from typing import Any, Literal, cast, overload

from ..actors import BlockingInLoop, GenServer, Ref, process
from .messages import Ask, Cancel, CountBuffered, From, GetDemand, Mode, PutBehind, SetDemand, SubscribeTo
from .options import MAX_DEMAND, CancelMode, SubscriptionOptions, one_of


def _request(
    to: Any,
    max_demand: int,
    min_demand: int | None,
    cancel: CancelMode,
    others: dict[str, Any],
    replaces: tuple[Ref, object] | None = None,
) -> SubscribeTo:
    options = {"max_demand": max_demand, "min_demand": min_demand, "cancel": cancel, **others}
    return SubscribeTo(to, SubscriptionOptions.of(options).mapping, replaces)


def _call(stage: Any, request: object, timeout: float | None, instead: str) -> Any:
    try:
        return GenServer.call(stage, request, timeout)
    except BlockingInLoop:
        what = f"waiting for {stage} would block the running event loop"
        raise BlockingInLoop(f"{what}; use `{instead}(...)` instead") from None


def subscribe(
    consumer: Any,
    to: Any,
    *,
    max_demand: int = MAX_DEMAND,
    min_demand: int | None = None,
    cancel: CancelMode = "permanent",
    timeout: float | None = 5.0,
    **others: Any,
) -> From | None:
    """Have a consumer subscribe to a producer.

    It returns when the consumer has sent its wish; what becomes of that, the callbacks of both are told.

    Args:
        consumer: The consumer or producer-consumer, a server argument.
        to: The producer or producer-consumer, another one.
        max_demand: How many events may be on their way or being handled at once.
        min_demand: At how few that are left more are asked for; by default half of `max_demand`. The batches
            are at most `max_demand - min_demand` long.
        cancel: What the end of the subscription does to the consumer, be it cancelled or the producer dead:
            `"permanent"`, it ends with the same reason; `"transient"`, unless that is `"normal"`,
            `"shutdown"` or `Shutdown(...)`; `"temporary"`, nothing.
        timeout: Seconds to wait for the consumer.
        others: `partition=` and `selector=` for dispatchers; anything else for `handle_subscribe`.

    Returns:
        The subscription, as the consumer sees it; None if the producer is not there and that ends nothing
        (`cancel="temporary"`).

    Raises:
        ValueError: A number is wrong: a demand below 1, a minimum that is not below the maximum. Or the
            producer is a consumer.
        SubscriptionCycle: The producer gets its events from the consumer.
        UnknownProducer: There is no such producer; the consumer ends with `"noproc"`, as under OTP.
        NoProcess: There is no such consumer.
        TypeError: The consumer is a producer.

    Semantics: GenStage.sync_subscribe/3.
    """
    request = _request(to, max_demand, min_demand, cancel, others)
    return cast("From | None", _call(consumer, request, timeout, "await stages.asubscribe"))


async def asubscribe(
    consumer: Any,
    to: Any,
    *,
    max_demand: int = MAX_DEMAND,
    min_demand: int | None = None,
    cancel: CancelMode = "permanent",
    timeout: float | None = 5.0,
    **others: Any,
) -> From | None:
    """The form of `subscribe` for coroutines."""
    request = _request(to, max_demand, min_demand, cancel, others)
    return cast("From | None", await GenServer.acall(consumer, request, timeout))


def subscribe_later(
    consumer: Any,
    to: Any,
    *,
    max_demand: int = MAX_DEMAND,
    min_demand: int | None = None,
    cancel: CancelMode = "permanent",
    **others: Any,
) -> None:
    """The form of `subscribe` that waits for nothing, for callbacks of the consumer itself. What is wrong
    with the producer is logged.

    Raises:
        ValueError: A number is wrong.

    Semantics: GenStage.async_subscribe/2.
    """
    GenServer.cast(consumer, _request(to, max_demand, min_demand, cancel, others))


def resubscribe(
    consumer: Any,
    former: From,
    reason: object,
    to: Any,
    *,
    max_demand: int = MAX_DEMAND,
    min_demand: int | None = None,
    cancel: CancelMode = "permanent",
    timeout: float | None = 5.0,
    **others: Any,
) -> From | None:
    """Have a consumer subscribe in the place of a former subscription, which is cancelled with the reason.

    A former subscription that is `"permanent"` takes the consumer along when it is cancelled, as under OTP.
    It is cancelled at its own producer, whichever that is; if it is over, or another consumer's, nothing is.

    Semantics: GenStage.sync_resubscribe/5.
    """
    _check_from(former)
    request = _request(to, max_demand, min_demand, cancel, others, (former.tag, reason))
    return cast("From | None", _call(consumer, request, timeout, "await stages.aresubscribe"))


async def aresubscribe(
    consumer: Any,
    former: From,
    reason: object,
    to: Any,
    *,
    max_demand: int = MAX_DEMAND,
    min_demand: int | None = None,
    cancel: CancelMode = "permanent",
    timeout: float | None = 5.0,
    **others: Any,
) -> From | None:
    """The form of `resubscribe` for coroutines."""
    _check_from(former)
    request = _request(to, max_demand, min_demand, cancel, others, (former.tag, reason))
    return cast("From | None", await GenServer.acall(consumer, request, timeout))


def ask(from_: From, demand: int) -> None:
    """Ask a producer for so many events more; in a consumer, for a subscription that is `Manual`.

    Args:
        from_: The subscription, as `handle_subscribe` got it.
        demand: How many; 0 asks for nothing.

    Raises:
        ValueError: It is no number, or negative.
        TypeError: That is no subscription.

    Semantics: GenStage.ask/3.
    """
    _check_from(from_)
    if not isinstance(demand, int) or isinstance(demand, bool) or demand < 0:
        raise ValueError(f"expected demand to be an integer >= 0, got: {demand!r}")
    if demand:
        from_.pid.send(Ask(From(process.current(), from_.tag), demand))


def _check_from(from_: object) -> None:
    if not isinstance(from_, From):
        raise TypeError(f"expected from_ to be a subscription (a From), got: {from_!r}")


def cancel(from_: From, reason: object) -> None:
    """Have a subscription end; it goes by way of the producer, and the consumer ends as it was subscribed.

    Args:
        from_: The subscription, as the consumer's `handle_subscribe` or `subscribe` got it.
        reason: What both sides are told.

    Raises:
        TypeError: That is no subscription.

    Semantics: GenStage.cancel/3.
    """
    _check_from(from_)
    from_.pid.send(Cancel(From(process.current(), from_.tag), reason))


@overload
def demand(stage: Any) -> Mode: ...


@overload
def demand(stage: Any, mode: Mode) -> None: ...


def demand(stage: Any, mode: Any = None) -> Any:
    """Say whether a producer forwards demand to its `handle_demand`, or accumulates it; or ask which.

    While it accumulates, events that its callbacks return are kept, too, in order, until it forwards.
    With a mode it waits for nothing.

    Raises:
        ValueError: The mode is neither `"forward"` nor `"accumulate"`.

    Semantics: GenStage.demand/1 and demand/2.
    """
    if mode is None:
        return _call(stage, GetDemand(), 5.0, "await stages.ademand")
    one_of("mode", mode, ("forward", "accumulate"))
    GenServer.cast(stage, SetDemand(mode))
    return None


async def ademand(stage: Any) -> Literal["forward", "accumulate"]:
    """The form of `demand` for coroutines that asks for the mode. (The other one never waits.)"""
    return cast("Literal['forward', 'accumulate']", await GenServer.acall(stage, GetDemand()))


def estimate_buffered_count(stage: Any, timeout: float | None = 5.0) -> int:
    """How many events a stage has made and not sent: those that nobody has asked for, that it accumulates, or
    that wait for the consumer of their partition.

    Raises:
        TypeError: It is a consumer.

    Semantics: GenStage.estimate_buffered_count/2.
    """
    return cast("int", _call(stage, CountBuffered(), timeout, "await stages.aestimate_buffered_count"))


async def aestimate_buffered_count(stage: Any, timeout: float | None = 5.0) -> int:
    """The form of `estimate_buffered_count` for coroutines."""
    return cast("int", await GenServer.acall(stage, CountBuffered(), timeout))


def sync_info(stage: Any, message: object, timeout: float | None = 5.0) -> None:
    """Have a stage's `handle_info` get a message when all events that it keeps now have been sent. Returns
    when the message is in line.

    Semantics: GenStage.sync_info/3.
    """
    _call(stage, PutBehind(message), timeout, "stages.async_info")


def async_info(stage: Any, message: object) -> None:
    """The form of `sync_info` that waits for nothing, for callbacks of the stage itself and for coroutines.

    Semantics: GenStage.async_info/2.
    """
    GenServer.cast(stage, PutBehind(message))
