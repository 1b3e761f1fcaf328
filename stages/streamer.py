"""Producers of what an iterable gives: `from_iterable`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import attrs

from ..actors import NoReply, Ok, Pid, Stop, forbid_loop
from .client import async_info
from .dispatchers.demand import Demand
from .messages import Automatic, Cancellation, From, Mode
from .options import dispatcher_spec, one_of
from .stage import Producer

OnCancel = Literal["continue", "stop"]


@attrs.frozen
class _End:
    """Nothing more comes: the iterable is through, or has raised."""

    error: BaseException | None = None


@attrs.define
class _Source:
    iterable: Any
    dispatcher: Any
    demand: Mode
    on_cancel: OnCancel
    iterator: Any = None
    over: bool = False
    consumers: set[From] = attrs.field(factory=set)


class Streamer(Producer[_Source]):
    """Takes as many items as are wanted from an iterator, and ends behind the last one."""

    def init(self, source: _Source) -> Ok[_Source]:
        source.iterator = iter(source.iterable)
        return Ok(source, dispatcher=source.dispatcher, demand=source.demand)

    def handle_demand(self, demand: int, source: _Source) -> NoReply[_Source]:
        events: list[Any] = []
        if not source.over:
            end = None
            try:
                # What came before an error is kept.
                events.extend(islice(source.iterator, demand))
            except Exception as error:
                end = _End(error)
            if end is None and len(events) < demand:
                end = _End()
            self._note(end, source)
        return NoReply(source, events=events)

    def _note(self, end: _End | None, source: _Source) -> None:
        if end is not None:
            source.over = True
            async_info(self.pid, end)

    def handle_info(self, message: Any, source: _Source) -> Any:
        if not isinstance(message, _End):
            return super().handle_info(message, source)
        if message.error is not None:
            raise message.error
        return Stop("normal", source)

    def handle_subscribe(self, kind: Any, options: Any, from_: From, source: _Source) -> Automatic[_Source]:
        source.consumers.add(from_)
        return Automatic(source)

    def handle_cancel(self, reason: Cancellation, from_: From, source: _Source) -> Any:
        source.consumers.discard(from_)
        if source.on_cancel == "stop" and not source.consumers:
            return Stop("normal", source)
        return NoReply(source)

    def terminate(self, reason: object, source: _Source) -> None:
        close = getattr(source.iterator, "close", None)
        if callable(close):
            close()


class QuickStreamer(Streamer):
    """The same for iterables that never block: it runs on the thread of whoever asks."""

    blocking = False


class AsyncStreamer(Streamer):
    """The same for asynchronous iterables."""

    async def init(self, source: _Source) -> Ok[_Source]:  # type: ignore[override]  # either is fine
        source.iterator = aiter(source.iterable)
        return Ok(source, dispatcher=source.dispatcher, demand=source.demand)

    async def handle_demand(self, demand: int, source: _Source) -> NoReply[_Source]:  # type: ignore[override]
        events: list[Any] = []
        end = None
        while not source.over and end is None and len(events) < demand:
            try:
                events.append(await anext(source.iterator))
            except StopAsyncIteration:
                end = _End()
            except Exception as error:
                end = _End(error)
        self._note(end, source)
        return NoReply(source, events=events)

    async def terminate(self, reason: object, source: _Source) -> None:  # type: ignore[override]
        close = getattr(source.iterator, "aclose", None)
        if callable(close):
            await close()


def _prepared(
    iterable: Iterable[Any] | AsyncIterable[Any],
    dispatcher: Any,
    demand: Mode,
    on_cancel: OnCancel,
    blocking: bool,
) -> tuple[type[Streamer], _Source]:
    one_of("demand", demand, ("forward", "accumulate"))
    one_of("on_cancel", on_cancel, ("continue", "stop"))
    source = _Source(iterable, dispatcher_spec(dispatcher), demand, on_cancel)
    if isinstance(iterable, (AsyncIterable, AsyncIterator)):
        return AsyncStreamer, source
    if not isinstance(iterable, (Iterable, Iterator)):
        raise TypeError(f"expected an iterable, got: {iterable!r}")
    return (Streamer if blocking else QuickStreamer), source


def from_iterable(
    iterable: Iterable[Any] | AsyncIterable[Any],
    *,
    name: Any = None,
    link: bool = True,
    dispatcher: Any = Demand,
    demand: Mode = "forward",
    on_cancel: OnCancel = "continue",
    blocking: bool = True,
) -> Pid:
    """Start a producer of the items of an iterable, which takes as many as its consumers ask for.

    It waits until a whole batch is there, so for one that takes its time let consumers ask for less. When the
    items are through, and those that came before have been sent, it ends with `"normal"`: a consumer that
    subscribed with `cancel="permanent"`, the default, ends, too. If the iterable raises, it ends with that,
    behind what came before.

    Args:
        iterable: An iterable or an asynchronous one; it is iterated over once, in the producer's process.
        name: A name for the producer.
        link: Whether it is linked to the current process.
        dispatcher: As of a `Producer`.
        demand: `"accumulate"` to begin when `demand(producer, "forward")` is called.
        on_cancel: `"stop"` ends it when the last of its consumers has gone. (Begin with `"accumulate"`, or
            that may happen before the others are there.)
        blocking: False is a promise that the iterable never blocks.

    Raises:
        TypeError, ValueError: An argument is wrong.
        StartError, AlreadyStarted: As for any server.

    Semantics: GenStage.from_enumerable/2.
    """
    kind, source = _prepared(iterable, dispatcher, demand, on_cancel, blocking)
    if kind is not QuickStreamer:
        forbid_loop("stages.from_iterable", "await stages.afrom_iterable(...)")
    start = kind.start_link if link else kind.start
    return start(source, name=name)


async def afrom_iterable(
    iterable: Iterable[Any] | AsyncIterable[Any],
    *,
    name: Any = None,
    link: bool = True,
    dispatcher: Any = Demand,
    demand: Mode = "forward",
    on_cancel: OnCancel = "continue",
    blocking: bool = True,
) -> Pid:
    """The form of `from_iterable` for coroutines."""
    kind, source = _prepared(iterable, dispatcher, demand, on_cancel, blocking)
    start = kind.astart_link if link else kind.astart
    return await start(source, name=name)
