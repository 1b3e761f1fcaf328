"""The events of producers as a stream: `stream(...)`, to be iterated over with `for` or `async for`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..actors import Down, GenServer, NoReply, Ok, Pid, ServerExit, Stop, forbid_loop, process
from .client import ask, cancel, demand
from .errors import UnknownProducer
from .messages import Cancellation, From, Manual, Mode
from .options import CancelMode, SubscriptionOptions, ends_consumer, one_of, subscriptions
from .stage import Consumer
from .subscription import Batch, Inflow

_HOW = "cancel_of_stream"


@attrs.frozen
class _Next:
    """Give the next batch; the one before has been used up."""


@attrs.frozen
class _Leave:
    """Nobody wants more."""


@attrs.frozen
class _Over:
    """There is no next batch. `producer` has ended with a reason that ends the stream as well, if it is
    given.
    """

    reason: object = None
    producer: Pid | None = None


@attrs.define
class _Tapped:
    """What a tap knows: its subscriptions, what it has not given yet, and who waits for it."""

    inflows: dict[From, tuple[Inflow, CancelMode]] = attrs.field(factory=dict)
    ready: deque[tuple[Batch, From]] = attrs.field(factory=deque)
    over: _Over | None = None
    owed: tuple[From, int] | None = None
    waiter: Any = None


class Tap(Consumer[_Tapped]):
    """The consumer behind a stream, which hands out one batch at a time, and asks for more when it is used
    up.
    """

    blocking = False

    def init(self, arg: tuple[Pid, list[tuple[Any, Mapping[str, Any]]]]) -> Ok[_Tapped]:
        owner, pairs = arg
        process.monitor(owner)
        return Ok(_Tapped(over=None if pairs else _Over()), subscribe_to=pairs)

    def handle_subscribe(
        self, kind: Any, options: Mapping[str, Any], from_: From, state: _Tapped
    ) -> Manual[_Tapped]:
        state.inflows[from_] = (Inflow(options["max_demand"], options["min_demand"]), options[_HOW])
        ask(from_, options["max_demand"])
        return Manual(state)

    def handle_events(self, events: list[Any], from_: From, state: _Tapped) -> NoReply[_Tapped]:
        inflow, _ = state.inflows[from_]
        state.ready += [(batch, from_) for batch in inflow.receive(events).batches]
        return self._serve(state)

    def handle_cancel(self, reason: Cancellation, from_: From, state: _Tapped) -> NoReply[_Tapped]:
        _, how = state.inflows.pop(from_)
        why = reason.reason
        normal = isinstance(why, str) and why == "normal"
        if state.over is None and not normal and ends_consumer(how, why):
            state.over = _Over(why, from_.pid)
        elif state.over is None and not state.inflows:
            state.over = _Over()
        return self._serve(state)

    def handle_call(self, message: Any, from_: Any, state: _Tapped) -> Any:
        if not isinstance(message, _Next):
            return super().handle_call(message, from_, state)
        if state.owed is not None:
            producer, count = state.owed
            state.owed = None
            if producer in state.inflows:
                ask(producer, count)
        if state.over is None and not state.inflows:
            # None of those that it was to subscribe to was there.
            state.over = _Over()
        state.waiter = from_
        return self._serve(state)

    def _serve(self, state: _Tapped) -> NoReply[_Tapped]:
        if state.waiter is not None:
            answer: Any = state.over
            if state.ready:
                batch, producer = state.ready.popleft()
                state.owed = (producer, batch.ask)
                answer = batch.events
            if answer is not None:
                waiter, state.waiter = state.waiter, None
                GenServer.reply(waiter, answer)
        return NoReply(state)

    def handle_info(self, message: Any, state: _Tapped) -> Any:
        if isinstance(message, (_Leave, Down)):
            for from_ in state.inflows:
                cancel(from_, "normal")
            return Stop("normal", state)
        return super().handle_info(message, state)


@attrs.frozen
class Stream:
    """See `stream`. Each iteration subscribes anew."""

    _subscriptions: tuple[tuple[Any, SubscriptionOptions], ...]
    _demand: Mode
    _producers: tuple[Any, ...] | None

    def _open(self) -> Pid:
        pairs: list[tuple[Any, Mapping[str, Any]]] = []
        for to, options in self._subscriptions:
            if process.whereis(to) is None and options.cancel != "temporary":
                raise UnknownProducer(to)
            pairs.append((to, {**options.mapping, "cancel": "temporary", _HOW: options.cancel}))
        tap = Tap.start((process.current(), pairs))
        producers = [to for to, _ in self._subscriptions] if self._producers is None else self._producers
        for producer in producers:
            demand(producer, self._demand)
        return tap

    def __iter__(self) -> Iterator[Any]:
        """Iterate in a thread, or in a callback that may block.

        Raises:
            BlockingInLoop: An event loop runs in this thread.
        """
        forbid_loop("iterating over a stream", "async for ...")
        tap = self._open()
        try:
            while True:
                batch = GenServer.call(tap, _Next(), None)
                if _is_over(batch):
                    break
                yield from batch
        finally:
            # Perhaps in a finalizer, so that nothing of it may run here.
            tap.deliver_from_afar(_Leave())

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate in a coroutine."""
        tap = self._open()
        try:
            while True:
                batch = await GenServer.acall(tap, _Next(), None)
                if _is_over(batch):
                    break
                for event in batch:
                    yield event
        finally:
            tap.deliver_from_afar(_Leave())


def _is_over(answer: Any) -> bool:
    if not isinstance(answer, _Over):
        return False
    if answer.producer is not None:
        raise ServerExit(answer.reason, answer.producer, "its stream")
    return True


def stream(
    subscribe_to: Iterable[Any], *, demand: Mode = "forward", producers: Iterable[Any] | None = None
) -> Stream:
    """The events of some producers, one by one: to be iterated over with `for`, or with `async for` in a
    coroutine.

    Whoever iterates is the consumer: it is asked for more when a batch has been used up. Leaving the loop
    ends the subscriptions. The mailbox of the process that iterates is left alone.

    Args:
        subscribe_to: The producers, each a server argument or a pair of one and the options of `subscribe`.
        demand: What the mode of the producers is set to once all are subscribed to.
        producers: Whose mode that is, if not theirs: the producers behind producer-consumers, say.

    Raises:
        TypeError, ValueError: An argument is wrong.

    When it is iterated over:
        UnknownProducer: A producer is not there (and its `cancel` is not `"temporary"`).
        ServerExit: A producer has ended, or has cancelled, and the subscription is `"permanent"`, or
            `"transient"` and the reason is none of the orderly ones. What came before is given first.

    Semantics: GenStage.stream/2.
    Differs from OTP: a producer that ends with `"normal"` ends the iteration as the end of an iterable does,
    also for a `"permanent"` subscription.
    """
    one_of("demand", demand, ("forward", "accumulate"))
    return Stream(subscriptions(subscribe_to), demand, None if producers is None else tuple(producers))
