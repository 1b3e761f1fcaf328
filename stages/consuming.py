"""The second part of the core of a stage: the side of a consumer."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from ..actors import BadReturn, Pid, Ref, Stop
from .errors import UnknownProducer
from .giving import Giving
from .messages import Ask, Automatic, Cancel, Cancellation, Events, From, Manual, Subscribe, SubscribeTo
from .options import SubscriptionOptions, ends_consumer
from .outside import ALREADY_SUBSCRIBED, NOPROC, UNKNOWN, Invoke, Steps
from .records import Arrived, Ended, ProducerRecord
from .subscription import Inflow


class Consuming(Giving):
    """See the module."""

    def subscribe_to(
        self, request: SubscribeTo
    ) -> Generator[Invoke, Any, tuple[From | Exception | None, Stop[Any] | None]]:
        """See there.

        Returns:
            What the asker is told, and whether the stage ends of it.
        """
        if self.kind == "producer":
            return TypeError(f"{self._outside.me} is a producer, which subscribes to nobody"), None
        try:
            options = SubscriptionOptions.of(request.options)
            pid = self._outside.find(request.to)
        except (ValueError, TypeError) as error:
            return error, None
        if pid is None:
            if options.cancel == "temporary":
                return None, None
            return UnknownProducer(request.to), Stop(NOPROC, self.state)
        self._cancel_former(pid, request.replaces)
        from_ = From(pid, self._outside.monitor(pid))
        mine = From(self._outside.me, from_.tag)
        subscribe = Subscribe(mine, options.mapping, request.replaces)
        self._opening = from_
        self._say(pid, subscribe)
        result = yield Invoke("handle_subscribe", ("producer", options.mapping, from_, self.state))
        kind = result.__class__
        if kind is Stop:
            return from_, self._stopping(result)
        if kind is not Automatic and kind is not Manual:
            allowed = "Automatic(state), Manual(state) or Stop(reason, state)"
            raise BadReturn(self._actor, "handle_subscribe", result, allowed)
        inflow = Inflow(options.max_demand, options.min_demand) if kind is Automatic else None
        producer = ProducerRecord(from_, mine, options.cancel, inflow)
        first = () if inflow is None else ((pid, Ask(mine, options.max_demand)),)
        self.state = result.state
        self.producers[from_.tag] = producer
        self._outbox += first
        self._opening = None
        self._send()
        self._tell_producers()
        return from_, None

    def _cancel_former(self, pid: Pid, replaces: tuple[Ref, object] | None) -> None:
        """Cancel the subscription that another one replaces, where its producer is not the one that is told
        of that.
        """
        former = None if replaces is None else self.producers.get(replaces[0])
        if former is not None and former.from_.pid != pid and replaces is not None:
            self._say(former.from_.pid, Cancel(former.mine, replaces[1]))

    def _tell_producers(self) -> None:
        self._outside.subscribed_to([producer.from_.pid for producer in self.producers.values()])

    def _events(self, message: Events) -> Steps:
        if self.kind == "producer":
            self._outside.warn("it is a producer, and got events from %s", message.from_.pid)
            return None
        producer = self.producers.get(message.from_.tag)
        if producer is None:
            mine = From(self._outside.me, message.from_.tag)
            self._outside.send(message.from_.pid, Cancel(mine, UNKNOWN))
            return None
        if producer.read is not message.mark:
            arrived = Arrived(producer, message.events)
            self._queue += (arrived,)
            producer.read = message.mark
        return (yield from self._take_from_queue())

    def _handle(self, arrived: Arrived) -> Steps:
        """Handle the next batch of what came first."""
        producer, events = arrived.producer, arrived.events
        from_, start, total = producer.from_, arrived.start, len(arrived.events)
        inflow = producer.inflow
        if inflow is None or from_.tag not in self.producers:
            del self._queue[0]
            return (yield from self._call("handle_events", events, from_))
        if not start:
            arrived.expected = inflow.pending
            if total > inflow.pending:
                excess = total - inflow.pending
                self._outside.warn("it got %d events more than it asked for, from %s", excess, from_.pid)
        step = inflow.max_demand - inflow.min_demand
        end = min(total, start + step)
        counted = min(end - start, arrived.expected)
        if end < total:
            arrived.start = end
        else:
            del self._queue[0]
        arrived.expected -= counted
        inflow.pending -= counted
        stop = yield from self._call("handle_events", events if total <= step else events[start:end], from_)
        if stop is None:
            self._ask_again(producer, inflow)
        return stop

    def _ask_again(self, producer: ProducerRecord, inflow: Inflow) -> None:
        if inflow.pending <= inflow.min_demand:
            more = Ask(producer.mine, inflow.max_demand - inflow.pending)
            inflow.pending = inflow.max_demand
            self._outbox += ((producer.from_.pid, more),)
            self._send()

    def _unsubscribed(self, tag: Ref, why: Cancellation) -> Steps:
        producer = self.producers.get(tag)
        if producer is None:
            return None
        ended = Ended(producer, why)
        self._queue += (ended,)
        del self.producers[tag]
        self._outside.demonitor(tag)
        self._tell_producers()
        return (yield from self._take_from_queue())

    def _ended(self, ended: Ended) -> Steps:
        producer, reason = ended.producer, ended.why.reason
        stop = None
        if not ended.told:
            ended.told = True
            stop = yield from self._call("handle_cancel", ended.why, producer.from_)
        if stop is None and ends_consumer(producer.cancel, reason):
            already = isinstance(reason, str) and reason == ALREADY_SUBSCRIBED
            stop = None if already else Stop(reason, self.state)
        del self._queue[0]
        return stop

    def _take_from_queue(self) -> Steps:
        """Handle what came, as long as anybody wants what comes of it."""
        queue = self._queue
        while queue:
            entry: Any = queue[0]
            stop = None
            if entry.__class__ is Arrived:
                if self._requested <= 0 and not entry.start and self.kind == "producer_consumer":
                    break
                stop = yield from self._handle(entry)
            elif entry.__class__ is Ended:
                stop = yield from self._ended(entry)
            else:
                del queue[0]
                if not self.buffer.put_behind(entry.message):
                    self._deliver_due((entry.message,))
            if stop is not None:
                return stop
        return None
