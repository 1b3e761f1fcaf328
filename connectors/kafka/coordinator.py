"""The coordinator of a group subscriber: it owns the consumer, and has a process for each partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ...actors import ChildSpec, NoReply, NotFound, Ok, ProcessExit, Reply
from ...actors.engine import LibraryServer
from ...supervision import DynamicSupervisor
from .assignment import Assignment, Position, Run
from .membership import Membership
from .messages import Family, Fetched, GetPositions, TookOver, Turn
from .partition import AsyncPartitionServer, Origin, PartitionServer


class Coordinator(LibraryServer):
    """See the module. It polls in turns, each a message to itself, so it hears others between two of them.

    The consumer is its own (`process.own`): however it ends, what is done is committed, and the group left,
    before its supervisor is told of the end and stops the partitions' processes.
    """

    _what: ClassVar[str] = "the coordinator of a group subscriber"
    _use: ClassVar[str] = "kafka.positions"

    family: Family
    membership: Membership

    def init(self, family: Family) -> Ok[Membership]:
        self.family = family
        self.membership = membership = Membership(family.options, self)
        self.own(membership, close=membership.leave)
        membership.join()
        self.pid.send(Turn())
        return Ok(membership)

    def handle_info(self, message: Any, membership: Membership) -> Any:
        match message:
            case Turn():
                membership.turn()
                self.pid.send(message)
            case TookOver():
                membership.took_over(message.assignment, message.run)
            case _:
                return super().handle_info(message, membership)
        return NoReply(membership)

    def handle_call(self, message: Any, from_: Any, membership: Membership) -> Any:
        if isinstance(message, GetPositions):
            found = tuple(Position.of(each) for each in list(membership.assignments.values()))
            return Reply(found, membership)
        return super().handle_call(message, from_, membership)

    # For its membership ---------------------------------------------------------------------------

    def begin(self, assignment: Assignment) -> None:
        """Start the process of a partition."""
        server = AsyncPartitionServer if self.family.options.asynchronous else PartitionServer
        origin = Origin(self.family, assignment, self.pid)
        topic, number = assignment.key
        spec = ChildSpec(f"{topic}/{number}", (server.start_link, (origin,), {}))
        DynamicSupervisor.start_child(self.family.partitions, spec)

    def end(self, assignment: Assignment) -> None:
        """Stop it. One that is just being restarted sees that it is not wanted."""
        try:
            DynamicSupervisor.terminate_child(self.family.partitions, assignment.pid)
        except (NotFound, ProcessExit):
            pass

    def give(self, run: Run, messages: Sequence[Any]) -> None:
        """Hand messages to it."""
        run.pid.send(Fetched(tuple(messages)))
