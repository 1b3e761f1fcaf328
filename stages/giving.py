"""The first part of the core of a stage: what callbacks return, and how events are given out or kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from ..actors import NOTHING, BadReturn, NoReply, Pid, Ref, Stop
from ..actors.engine import NoReplyWithEvents
from .buffer import Buffer
from .dispatchers.dispatcher import Dispatcher, Outcome
from .messages import Ask, Cancelled, Events, From, LookAgain, Mode, PutBehind
from .options import StageSettings
from .outside import Invoke, Outside, StageKind, Steps
from .records import Arrived, ConsumerRecord, Dropped, Ended, ProducerRecord


class Giving:
    """See the module, and `Core` for the arguments."""

    def __init__(
        self, kind: StageKind, actor: object, outside: Outside, settings: StageSettings, state: Any
    ) -> None:
        self.kind = kind
        self.state = state
        self.timeout: float | None = None
        self.tokens: list[Any] = []
        """What callbacks want to continue with, in order."""
        self.buffer = Buffer(settings.buffer_size, settings.buffer_keep)
        self.dispatcher: Dispatcher = settings.dispatcher.make()
        self.producers: dict[Ref, ProducerRecord] = {}
        self.was_cut = False
        """Whether a step was cut by an interrupt, and what it left half done is to be mended."""
        self._settings = settings
        self._actor = actor
        self._outside = outside
        self._consumers: dict[Ref, ConsumerRecord] = {}
        self._monitors: dict[Ref, ConsumerRecord] = {}
        # What is to be sent, and was not for certain.
        self._outbox: deque[tuple[Pid, Any]] = deque()
        # A subscription that the producer may know of and this stage does not yet.
        self._opening: From | None = None
        self._dropped: Dropped | None = None
        # How many of those that are requested the `handle_demand` that runs now was asked for.
        self._asking = 0
        # How many events were asked for, of `handle_demand` or of the queue, and have not come.
        self._requested = 0
        # Of a producer: what is to be sent when demand is not accumulated any more; None while it is not.
        self._accumulated: list[Any] | None = None
        if kind == "producer" and settings.demand == "accumulate":
            self._accumulated = []
        # What was accumulated and is being sent.
        self._past: deque[Any] = deque()
        # Of a consumer: what came and is not handled yet.
        self._queue: deque[Arrived | Ended | PutBehind] = deque()

    # Events ----------------------------------------------------------------------------------------

    def _tell_cancelled(self, from_: From, reason: object) -> None:
        self._say(from_.pid, Cancelled(From(self._outside.me, from_.tag), reason))

    def _from_buffer(self) -> None:
        """Invariant: while there are events in the buffer, nobody wants more. Else they would be
        overtaken.
        """
        while self.buffer.size:
            taken = self.buffer.take(self.dispatcher.wanted)
            if not taken.events:
                break
            leftover = self._dispatch(taken.events)
            if leftover:
                self.buffer.put_back(leftover, taken.due)
                break
            self._deliver_due(taken.due)

    def emit(self, events: Iterable[Any]) -> None:
        """Send events, or keep those that nobody has asked for."""
        some = events if isinstance(events, list) else list(events)
        requested = self._requested_after(some)
        self._requested = requested
        self._give(some)

    def _give(self, some: list[Any]) -> None:
        """The same for events that are no longer counted among the requested ones."""
        if not some:
            return
        if self.kind == "consumer":
            self._outside.warn("a consumer has nobody to send events to; dropped: %r", some)
            return
        if self._accumulated is not None:
            self._accumulated.append(some)
            return
        self._from_buffer()
        still_wanted = max(0, self.dispatcher.wanted - len(some))
        leftover = self._dispatch(some)
        if leftover:
            stored = self.buffer.store(leftover)
            if stored.dropped:
                self._outside.discarded(stored.dropped)
            self._deliver_due(stored.due)
        elif self.dispatcher.wanted > max(still_wanted, self._requested):
            # It has dropped some. By a message, as there is no telling how often that goes on.
            self._say(self._outside.me, LookAgain())

    def _requested_after(self, some: list[Any]) -> int:
        """How many are requested when these have come."""
        return self._requested if self._accumulated is not None else max(0, self._requested - len(some))

    def _give_past(self) -> None:
        """Send what was accumulated."""
        past = self._past
        while past:
            each = past[0]
            if isinstance(each, PutBehind):
                del past[0]
                self.put_behind(each.message)
            else:
                requested = self._requested_after(each)
                self._requested = requested
                del past[0]
                self._give(each)

    def _dispatch(self, events: list[Any]) -> list[Any]:
        outcome = self.dispatcher.dispatch(events)
        self._carry_out(outcome)
        return outcome.leftover

    def _carry_out(self, outcome: Outcome) -> None:
        outside = self._outside
        for from_, events in outcome.deliveries:
            consumer = self._consumers[from_.tag]
            message: Any = Events(consumer.mine, events)
            left = consumer.demand - len(events)
            self._outbox += ((from_.pid, message),)
            consumer.demand = left
            self._send()
        for message in outcome.due:
            self._say(outside.me, message)
        for from_, demand in outcome.ask_again:
            consumer = self._consumers[from_.tag]
            message = Ask(from_, demand)
            self._outbox += ((outside.me, message),)
            consumer.demand -= demand
            self._send()
        if outcome.warning is not None:
            outside.warn_of_demand(outcome.warning)

    def _say(self, pid: Pid, message: object) -> None:
        self._outbox += ((pid, message),)
        self._send()

    def _send(self) -> None:
        outbox = self._outbox
        while outbox:
            pid, message = outbox[0]
            self._outside.send(pid, message)
            del outbox[0]

    def _deliver_due(self, messages: Iterable[Any]) -> None:
        for message in messages:
            self._carry_out(self.dispatcher.put_behind(message))

    def put_behind(self, message: object) -> None:
        """See `PutBehind`."""
        if self.kind == "consumer":
            self._say(self._outside.me, message)
        elif self._queue:
            self._queue.append(PutBehind(message))
        elif self._accumulated:
            self._accumulated.append(PutBehind(message))
        elif not self.buffer.put_behind(message):
            self._deliver_due((message,))

    @property
    def kept(self) -> int:
        """How many events it keeps that have been made and not sent."""
        waiting = (*(self._accumulated or ()), *self._past)
        accumulated = sum(len(each) for each in waiting if isinstance(each, list))
        return self.buffer.size + accumulated + int(getattr(self.dispatcher, "kept", 0))

    @property
    def requested(self) -> int:
        """How many events it was asked for that have not come."""
        return self._requested

    @property
    def mode(self) -> Mode:
        """Whether demand is forwarded."""
        return "forward" if self._accumulated is None else "accumulate"

    # Callbacks ------------------------------------------------------------------------------------

    def _call(self, name: str, *args: object) -> Steps:
        """Call a callback that returns NoReply or Stop."""
        result = yield Invoke(name, (*args, self.state))
        return self.settle(name, result)

    def settle(self, name: str, result: Any) -> Stop[Any] | None:
        """Take what a callback returned.

        Raises:
            BadReturn: It may not return that.
        """
        kind = result.__class__
        if kind is NoReply or kind is NoReplyWithEvents:
            self.went_on(name, result, kind is NoReplyWithEvents)
            return None
        if kind is Stop:
            return self._stopping(result)
        raise BadReturn(self._actor, name, result, "NoReply(state, events=[...]) or Stop(reason, state)")

    def went_on(self, name: str, result: Any, with_events: bool) -> None:
        """Take the state, and send the events, of a result."""
        some: list[Any] = []
        if with_events:
            events = result.more
            if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
                raise BadReturn(self._actor, name, result, "a list of events")
            some = events if isinstance(events, list) else list(events)
        requested = self._requested_after(some) if some else self._requested
        self.state = result.state
        self.timeout = result.timeout
        self._asking = 0
        self._requested = requested
        if result.continue_with is not NOTHING:
            self.tokens += (result.continue_with,)
        if some:
            self._give(some)

    def _stopping(self, stop: Stop[Any]) -> Stop[Any]:
        if stop.state is NOTHING:
            return Stop(stop.reason, self.state, stop.reply)
        self.state = stop.state
        return stop
