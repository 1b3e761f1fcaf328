"""What a member of a group does with its consumer, which is scripted here."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from resprout import process
from resprout.connectors.kafka import membership
from resprout.connectors.kafka.assignment import Assignment, Run
from resprout.connectors.kafka.membership import Membership
from resprout.connectors.kafka.options import GroupOptions

KEY = ("orders", 0)


@attrs.frozen
class Message:
    at: int

    def topic(self) -> str:
        return KEY[0]

    def partition(self) -> int:
        return KEY[1]

    def offset(self) -> int:
        return self.at

    def error(self) -> None:
        return None


class Consumer:
    """Gives what it is told to, and refuses as many seeks as it is told to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refusals = 0
        self.sought: list[int] = []
        self.committed: list[dict[tuple[str, int], int]] = []
        self.answers: list[Any] = []

    def subscribe(self, topics: Any, *, on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.assign = lambda: on_assign(self, [TopicPartition(*KEY)])
        self.revoke = lambda: on_revoke(self, [TopicPartition(*KEY)])

    def poll(self, timeout: float) -> Message | None:
        if self.answers:
            self.on_commit(None, self.answers.pop(0))
        return self.messages.pop(0) if self.messages else None

    def consume(self, most: int, timeout: float) -> list[Message]:
        found, self.messages = self.messages[:most], self.messages[most:]
        return found

    def seek(self, place: TopicPartition) -> None:
        if self.refusals:
            self.refusals -= 1
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sought.append(place.offset)

    def pause(self, places: Any) -> None:
        """Nothing: messages come from the script."""

    resume = pause

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> Any:
        self.committed.append({(each.topic, each.partition): each.offset for each in offsets})
        if asynchronous:
            self.answers.append(offsets)
        return offsets

    def close(self) -> None:
        self.messages = []


class Partitions:
    """Keeps what processes would get."""

    def __init__(self) -> None:
        self.given: list[int] = []
        self.assignment: Assignment | None = None

    def begin(self, assignment: Assignment) -> None:
        self.assignment = assignment
        assignment.run = Run(process.current())

    def end(self, assignment: Assignment) -> None:
        self.assignment = None

    def give(self, run: Run, messages: Any) -> None:
        self.given += [each.offset() for each in messages]


@attrs.frozen
class World:
    consumer: Consumer
    partitions: Partitions
    member: Membership

    @property
    def assignment(self) -> Assignment:
        assert self.partitions.assignment is not None
        return self.partitions.assignment

    @property
    def run(self) -> Run:
        assert self.assignment.run is not None
        return self.assignment.run

    def comes(self, *offsets: int) -> None:
        """Have messages come in one turn."""
        self.consumer.messages += map(Message, offsets)
        self.member.turn()

    def handles(self, behind: int) -> None:
        """What a process does that comes to an offset."""
        self.run.handled += behind - (self.run.done or 0)
        self.run.done = behind


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    consumer, partitions = Consumer(), Partitions()

    def make(config: Any, group: str, prefetch: int, on_commit: Any, on_error: Any) -> Consumer:
        consumer.on_commit = on_commit  # type: ignore[attr-defined]
        return consumer

    monkeypatch.setattr(membership, "make_consumer", make)
    options = GroupOptions.of(["orders"], "shop", print, commit_interval=0.0, prefetch=8)
    member = Membership(options, partitions)
    member.join()
    consumer.assign()
    return World(consumer, partitions, member)


def test_what_is_done_is_committed_and_nothing_else_is(world: World) -> None:
    world.comes(0, 1)
    assert world.consumer.committed == []
    world.handles(1)
    world.comes()
    world.comes()
    assert world.consumer.committed == [{KEY: 1}]
    assert world.assignment.committed == 1


def test_one_commit_is_on_its_way_at_a_time(world: World) -> None:
    world.comes(0, 1)
    world.handles(1)
    world.comes()
    world.handles(2)
    answers, world.consumer.answers = world.consumer.answers, []
    world.comes()
    assert world.consumer.committed == [{KEY: 1}]
    world.consumer.answers = answers
    world.comes()
    assert world.consumer.committed == [{KEY: 1}, {KEY: 2}]


def test_a_refused_seek_is_tried_again_and_what_comes_meanwhile_is_thrown_away(world: World) -> None:
    world.comes(0, 1)
    world.handles(1)
    world.consumer.refusals = 2
    world.member.took_over(world.assignment, Run(process.current(), done=1))
    # One more is refused in this turn, whose messages are from before the seek.
    world.comes(2)
    assert (world.consumer.sought, world.partitions.given) == ([], [0, 1])
    world.comes(1)
    assert (world.consumer.sought, world.partitions.given) == ([1], [0, 1, 1])


def test_a_process_that_dies_before_the_first_message_is_done_begins_with_that_one(world: World) -> None:
    world.comes(7, 8)
    world.member.took_over(world.assignment, Run(process.current()))
    assert world.consumer.sought == [7]


def test_a_process_that_dies_before_a_message_came_has_nothing_to_fetch_again(world: World) -> None:
    world.member.took_over(world.assignment, Run(process.current()))
    assert world.consumer.sought == []


def test_a_completion_from_before_a_rebalance_is_never_committed_after_it(world: World) -> None:
    world.comes(0, 1)
    before, run = world.assignment, world.run
    world.consumer.revoke()
    world.consumer.assign()
    assert world.assignment is not before
    run.done = 2
    run.handled = 2
    world.comes()
    world.member.leave()
    assert world.consumer.committed == []


def test_a_process_from_before_a_rebalance_does_not_take_over_after_it(world: World) -> None:
    world.comes(0, 1)
    before = world.assignment
    world.consumer.revoke()
    world.consumer.assign()
    run = world.run
    world.member.took_over(before, Run(process.current(), done=2))
    assert world.run is run
    assert world.consumer.sought == []


def test_messages_of_a_partition_that_was_given_up_go_nowhere(world: World) -> None:
    world.consumer.revoke()
    world.comes(0)
    assert world.partitions.given == []
