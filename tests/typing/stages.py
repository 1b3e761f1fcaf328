"""What checkers know of stages: the state, the results with events, the options of a subscription."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import assert_type, override

from resprout import NoReply, Ok, Pid, Reply, Stop
from resprout.stages import Cancellation, Consumer, From, Manual, Producer, ProducerConsumer, subscribe


class Numbers(Producer[int, str, int]):
    @override
    def init(self, start: int) -> Ok[int]:
        return Ok(start, dispatcher="broadcast", buffer_size=10)

    @override
    def handle_demand(self, demand: int, count: int) -> NoReply[int]:
        return NoReply(count + demand, events=range(count, count + demand))

    @override
    def handle_call(self, message: str, from_: object, count: int) -> Reply[int, int]:
        return Reply(count, count, events=[1])


class Doubler(ProducerConsumer[None]):
    @override
    async def init(self, arg: object) -> Ok[None]:
        return Ok(None, subscribe_to=["numbers", ("more numbers", {"max_demand": 1})])

    @override
    async def handle_events(self, events: list[int], from_: From, state: None) -> NoReply[None] | Stop[None]:
        return NoReply(None, events=[2 * event for event in events])


class Collector(Consumer[list[int]]):
    @override
    def handle_subscribe(
        self, kind: str, options: Mapping[str, Any], from_: From, state: list[int]
    ) -> Manual[list[int]]:
        return Manual(state)

    @override
    def handle_cancel(self, reason: Cancellation, from_: From, state: list[int]) -> NoReply[list[int]]:
        return NoReply(state)

    @override
    def handle_events(self, events: list[int], from_: From, state: list[int]) -> NoReply[list[int]]:
        return NoReply([*state, *events])


class Forgetful(Producer[int]):
    @override
    def handle_demand(self, demand: int, state: int) -> NoReply[int]:
        return NoReply("state", events=[])  # mistake: arg-type, reportReturnType


numbers = Numbers.start_link(3)
assert_type(numbers, Pid[str, int])
assert_type(subscribe(Collector.start_link([]), to=numbers, max_demand=3, partition=1), From | None)
Numbers.start_link("three")  # mistake: arg-type, reportArgumentType
subscribe(numbers, to="numbers", cancel="sometimes")  # mistake: arg-type, reportArgumentType
Ok(1, buffersize=3)  # mistake: call-arg, reportCallIssue
