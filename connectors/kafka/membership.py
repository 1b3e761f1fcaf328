"""Being a member of a group: the consumer, the partitions that it is assigned, and what is done with both.

The consumer is touched by one thread at a time: the coordinator's, in whose `turn` also its callbacks run, or
the one that closes it when the coordinator has ended. `_gate` is what they take turns by.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from .assignment import Assignment, Key, Run
from .client import confluent, make_consumer, place_of, places_of
from .events import ASSIGNED, COMMITTED, LOST, NOT_COMMITTED, REFETCHED, REVOKED, Reports
from .lagging import ends_of, watching
from .options import CLOSING, GroupOptions

IDLE: Final = 0.05
"""Seconds that a turn waits for messages; so long may pass before the coordinator hears of other things."""
SOON: Final = 0.01
"""The same while some partitions are paused, which may want to go on."""
HOLD: Final = 0.005
"""Seconds that a partition which has enough is waited for before it is paused: quick handlers are through
with that sooner than a client is that has paused and must fetch once more.
"""


class Partitions(Protocol):
    """Who runs the processes of the partitions."""

    def begin(self, assignment: Assignment) -> None:
        """Start the process of one."""

    def end(self, assignment: Assignment) -> None:
        """Stop it; it is through with everything, or its time is over."""

    def give(self, run: Run, messages: Sequence[Any]) -> None:
        """Hand it its next messages."""


class Membership:
    """See the module."""

    def __init__(self, options: GroupOptions, partitions: Partitions) -> None:
        self.options = options
        self.assignments: dict[Key, Assignment] = {}
        self._partitions = partitions
        self._fed: dict[Key, Assignment] = {}
        """Those that were given something that is not all done and committed."""
        self._bell = threading.Event()
        self._gate = threading.Lock()
        self._left = False
        self._flow = options.flow
        self._paused = 0
        self._reports = Reports(options.group)
        self._commit_at = 0.0
        self._unanswered = 0
        """Commits in the background, one at a time but for the last."""
        self._consumer = make_consumer(
            options.config, options.group, options.prefetch, self._committed, self._reports.client
        )

    def join(self) -> None:
        """Become a member. No broker need be there."""
        with self._gate:
            self._consumer.subscribe(
                list(self.options.topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )

    # A turn ---------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Fetch messages and hand them on, as far as there is room; serve callbacks; commit what is done.

        Raises:
            KafkaException: The client cannot go on.
        """
        with self._gate:
            if self._left:
                return
            self._make_room()
            self._fetch()
            now = time.monotonic()
            if now >= self._commit_at and not self._unanswered:
                self._commit_at = now + self.options.commit_interval
                self._commit_soon(self._fed.values())
                if watching.wanted:
                    for key, end in ends_of(self._consumer, self.assignments).items():
                        self.assignments[key].end = end

    def _make_room(self) -> None:
        flow = self._flow
        if crowded := flow.crowded(self._fed.values()):
            self._bell.clear()
            if flow.crowded(crowded):
                self._bell.wait(HOLD)
            if crowded := flow.crowded(crowded):
                self._pause(crowded)
        if self._paused and (drained := flow.drained(self._fed.values())):
            self._resume(drained)
        for assignment in [each for each in self._fed.values() if each.refetch is not None]:
            self._seek(assignment)

    def _fetch(self) -> None:
        """The first message may be waited for, the others are taken if they are there."""
        consumer, patience = self._consumer, IDLE
        if self._paused:
            patience = SOON
            if self._paused == len(self.assignments):
                # Nothing can come, and the client would not wake up for room.
                self._bell.clear()
                if not self._flow.drained(self._fed.values()):
                    self._bell.wait(IDLE)
                patience = 0.0
        first = consumer.poll(patience)
        if first is None:
            return
        batch = self._flow.batch
        more = consumer.consume(batch - 1, 0.0) if batch > 1 else ()
        self._hand_on((first, *more))

    def _hand_on(self, messages: Sequence[Any]) -> None:
        by_partition: dict[Key, list[Any]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._reports.came_as_message(error)
                continue
            key = (message.topic(), message.partition())
            into = by_partition.get(key)
            if into is None:
                by_partition[key] = [message]
            else:
                into.append(message)
        wanted = []
        for key, batch in by_partition.items():
            assignment = self.assignments.get(key)
            if assignment is not None and assignment.run is not None and assignment.refetch is None:
                wanted.append((assignment, assignment.run, batch))
        if self.options.commit == "before" and wanted:
            self._commit_now({each.key: batch[-1].offset() + 1 for each, _, batch in wanted})
        for assignment, run, batch in wanted:
            if assignment.first is None:
                assignment.first = batch[0].offset()
            run.sent += len(batch)
            self._fed[assignment.key] = assignment
            self._partitions.give(run, batch)

    def _pause(self, assignments: Sequence[Assignment]) -> None:
        self._consumer.pause([place_of(each.key) for each in assignments])
        for each in assignments:
            each.paused = True
        self._paused += len(assignments)

    def _resume(self, assignments: Sequence[Assignment]) -> None:
        self._consumer.resume([place_of(each.key) for each in assignments])
        for each in assignments:
            each.paused = False
        self._paused -= len(assignments)

    # A partition's process was restarted ----------------------------------------------------------

    def took_over(self, assignment: Assignment, run: Run) -> None:
        """Another incarnation of a partition's process handles its messages from now on: what the one before
        was given and has not handled is fetched once more.
        """
        with self._gate:
            if self._left or self.assignments.get(assignment.key) is not assignment:
                return
            assignment.run = run
            assignment.refetch = assignment.begin_at
            if assignment.refetch is not None:
                self._fed[assignment.key] = assignment
                self._seek(assignment)

    def _seek(self, assignment: Assignment) -> None:
        offset = assignment.refetch
        assert offset is not None
        try:
            self._consumer.seek(place_of(assignment.key, offset))
        except confluent().KafkaException as error:
            # Such as one that was assigned a moment ago: with the next turn.
            self._reports.note("seek", error.args[0])
            return
        assignment.refetch = None
        self._reports.tell(REFETCHED, {"offset": offset}, [assignment.key])

    # Commits --------------------------------------------------------------------------------------

    def _commit_soon(self, assignments: Iterable[Assignment]) -> None:
        """Have the broker told what is done; it answers `_committed`."""
        if self.options.commit == "before":
            return
        offsets = self._uncommitted(assignments)
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=places_of(offsets), asynchronous=True)
        except confluent().KafkaException as error:
            self._not_committed(error.args[0], offsets)
        else:
            self._unanswered += 1

    def _uncommitted(self, assignments: Iterable[Assignment]) -> dict[Key, int]:
        offsets = {}
        for each in list(assignments):
            offset = each.uncommitted
            if offset is not None:
                offsets[each.key] = offset
            elif not each.backlog and not each.paused and each.refetch is None:
                self._fed.pop(each.key, None)
        return offsets

    def _committed(self, error: Any, places: Any) -> None:
        """The broker has answered, to what was committed in the background."""
        self._unanswered -= 1
        self._note_answer(error, places)

    def _note_answer(self, error: Any, places: Any) -> None:
        accepted = {}
        for place in places or ():
            wrong = place.error or error
            if wrong is None:
                accepted[place.topic, place.partition] = place.offset
            else:
                self._not_committed(wrong, {(place.topic, place.partition): place.offset})
        self._note_committed(accepted)

    def _note_committed(self, offsets: dict[Key, int]) -> None:
        for key, offset in offsets.items():
            assignment = self.assignments.get(key)
            if assignment is not None and (assignment.committed is None or offset > assignment.committed):
                assignment.committed = offset
        if offsets:
            self._reports.tell(COMMITTED, {}, list(offsets), offsets=offsets)

    def _commit_now(self, offsets: dict[Key, int]) -> None:
        """Tell the broker what is done, and wait for its answer."""
        if not offsets:
            return
        try:
            places = self._consumer.commit(offsets=places_of(offsets), asynchronous=False)
        except confluent().KafkaException as error:
            self._not_committed(error.args[0], offsets)
            if self.options.commit == "before" and not self._left:
                raise
        else:
            self._note_answer(None, places)

    def _not_committed(self, error: Any, offsets: dict[Key, int]) -> None:
        self._reports.tell(NOT_COMMITTED, {}, list(offsets), offsets=offsets, error=error)
        self._reports.note("commit", error)

    # Callbacks of the consumer, within its poll ---------------------------------------------------

    def _assigned(self, consumer: Any, places: Sequence[Any]) -> None:
        if self._left:
            return
        keys = [(each.topic, each.partition) for each in places]
        for key in keys:
            if key not in self.assignments:
                assignment = self.assignments[key] = Assignment(key, self._bell)
                self._partitions.begin(assignment)
        self._reports.tell(ASSIGNED, {"count": len(keys)}, keys)

    def _revoked(self, consumer: Any, places: Sequence[Any]) -> None:
        if not self._left:
            self._give_up(REVOKED, [(each.topic, each.partition) for each in places])

    def _lost(self, consumer: Any, places: Sequence[Any]) -> None:
        """Others may have them already, so there is nothing to wait for and nothing to commit."""
        if not self._left:
            self._give_up(LOST, [(each.topic, each.partition) for each in places])

    def _give_up(self, event: tuple[str, ...], keys: Sequence[Key]) -> None:
        given = [self.assignments[key] for key in keys if key in self.assignments]
        for each in given:
            each.closing = True
        if event is REVOKED:
            self._wait_for(given, time.monotonic() + self.options.drain)
            self._commit_now(self._done(given))
        for each in given:
            del self.assignments[each.key]
            self._fed.pop(each.key, None)
            self._paused -= each.paused
        for each in given:
            self._partitions.end(each)
        self._reports.tell(event, {"count": len(given)}, [each.key for each in given])

    def _wait_for(self, assignments: Sequence[Assignment], deadline: float) -> None:
        """Until no handler is at work for them, or their time is over."""
        while True:
            self._bell.clear()
            left = deadline - time.monotonic()
            if left <= 0 or not any(each.busy for each in assignments):
                return
            self._bell.wait(left)

    def _done(self, assignments: Sequence[Assignment]) -> dict[Key, int]:
        if self.options.commit == "before":
            return {}
        return {each.key: each.uncommitted for each in assignments if each.uncommitted is not None}

    # The end --------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Wait for the handlers that run, commit what is done, and leave the group; by whichever thread.

        Raises:
            TimeoutError: The coordinator's thread is still with the consumer.
        """
        deadline = time.monotonic() + self.options.drain
        for each in list(self.assignments.values()):
            each.closing = True
        # It may be in the middle of a rebalance.
        if not self._gate.acquire(timeout=self.options.drain + CLOSING):
            raise TimeoutError(f"a thread is still at work with the consumer of group {self.options.group!r}")
        try:
            if self._left:
                return
            self._left = True
            given = list(self.assignments.values())
            for each in given:
                each.closing = True
            self._wait_for(given, deadline)
            # The last one behind those before, which may be tried again and would put the group back.
            until = time.monotonic() + CLOSING
            self._await_answers(until)
            self._commit_soon(given)
            self._await_answers(until)
            self._consumer.close()
        finally:
            self._gate.release()

    def _await_answers(self, deadline: float) -> None:
        """Until all commits are answered, or their time is over: brokers may be away for longer."""
        while self._unanswered and (left := deadline - time.monotonic()) > 0:
            # What else comes is for whoever is given the partition next.
            self._consumer.poll(min(left, IDLE))
