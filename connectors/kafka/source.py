"""What a producer stage of Kafka has: a consumer of a group, and which of its messages were acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs

from ...actors import SpecError, one_of, seconds
from .acknowledged import Acknowledged
from .assignment import Key
from .client import confluent, make_consumer, place_of, places_of
from .events import ASSIGNED, COMMITTED, LOST, NOT_COMMITTED, REFETCHED, REVOKED, Reports
from .lagging import ends_of, watching
from .options import CLOSING, PREFETCH, config_of, text, topics_of

When: TypeAlias = Literal["ack", "delivery"]
IDLE: Final = 0.05
"""Seconds that a poll waits for messages, and after which a producer that nobody asks is paused."""


@attrs.frozen
class SourceOptions:
    """What a `KafkaProducer` is started with; see there."""

    topics: tuple[str, ...]
    group: str
    commit: When = "ack"
    drain: float = 5.0
    commit_interval: float = 1.0
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @classmethod
    def of(cls, options: object) -> SourceOptions:
        """Checked.

        Raises:
            SpecError: One is wrong.
            MissingExtra: confluent-kafka is not installed.
        """
        owner = "KafkaProducer"
        if not isinstance(options, Mapping):
            wanted = "expected a mapping such as {'topics': ['orders'], 'group': 'shop'}"
            raise SpecError(owner, "options", f"{wanted}, got: {options!r}")
        known = tuple(each.name for each in attrs.fields(cls))
        for name in options:
            one_of(owner, str(name), name, known)
        for name in known[:2]:
            if name not in options:
                raise SpecError(owner, name, "it is missing")
        made = cls(**options)
        one_of(owner, "commit", made.commit, ("ack", "delivery"))
        seconds(owner, "drain", made.drain)
        seconds(owner, "commit_interval", made.commit_interval)
        return attrs.evolve(
            made,
            topics=topics_of(owner, made.topics),
            group=text(owner, "group", made.group),
            config=config_of(owner, made.config),
        )


class Source:
    """A member of a group that fetches as many messages as it is told.

    The consumer is touched by one thread at a time: the producer's, or the one that closes it.

    Args:
        options: Of the producer.
        more_acks: Waits so many seconds for acknowledgements, and has them counted; false if none came.
    """

    def __init__(self, options: SourceOptions, more_acks: Callable[[float], bool]) -> None:
        self.options = options
        self.offsets: dict[Key, Acknowledged] = {}
        self.ends: dict[Key, int] = {}
        """Where partitions end, as was last heard while somebody watched."""
        self.wanted = 0
        """How many messages the consumers have asked for and have not got."""
        self._more_acks = more_acks
        self._gate = threading.Lock()
        self._left = False
        self._paused = False
        self._reports = Reports(options.group)
        self._firsts: dict[Key, int] = {}
        self._to_rewind: set[Key] = set()
        self._committed: dict[Key, int] = {}
        self._committing = False
        self._commit_at = 0.0
        self._consumer = make_consumer(
            options.config, options.group, PREFETCH, self._answered, self._reports.client
        )

    def join(self) -> None:
        """Become a member."""
        with self._gate:
            self._consumer.subscribe(
                list(self.options.topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )

    def turn(self, idle: bool) -> list[Any]:
        """Serve the consumer: the messages that came, no more than are wanted.

        Args:
            idle: Nobody has asked for a while.

        Raises:
            KafkaException: The client cannot go on.
        """
        with self._gate:
            if self._left:
                return []
            found: list[Any] = []
            if self._to_rewind:
                self._rewind([*self._to_rewind])
            if self.wanted:
                self._pause(False)
                found = self._fetch()
            elif idle:
                self._pause(True)
                # For its callbacks, and so that it counts as alive.
                found = self._given([self._consumer.poll(0.0)])
            self._commit_if_due()
            return found

    def _fetch(self) -> list[Any]:
        first = self._consumer.poll(IDLE)
        if first is None:
            return []
        more = min(self.wanted, PREFETCH) - 1
        return self._given([first, *(self._consumer.consume(more, 0.0) if more else ())])

    def _given(self, messages: Sequence[Any]) -> list[Any]:
        given = []
        at_once = self.options.commit == "delivery"
        for message in messages:
            if message is None:
                continue
            error = message.error()
            if error is not None:
                self._reports.came_as_message(error)
                continue
            key, offset = (message.topic(), message.partition()), message.offset()
            offsets = self.offsets.get(key)
            if offsets is None:
                continue
            self._firsts.setdefault(key, offset)
            offsets.gave(offset)
            if at_once:
                offsets.ack(offset)
            given.append(message)
        self.wanted = max(0, self.wanted - len(given))
        return given

    def _pause(self, wish: bool) -> None:
        if self._paused is not wish:
            places = [place_of(key) for key in self.offsets]
            (self._consumer.pause if wish else self._consumer.resume)(places)
            self._paused = wish

    # Acknowledgements and commits -----------------------------------------------------------------

    def ack(self, places: Iterable[tuple[str, int, int]]) -> None:
        """These messages are done."""
        for topic, partition, offset in places:
            offsets = self.offsets.get((topic, partition))
            if offsets is not None:
                offsets.ack(offset)

    def committed(self, key: Key) -> int | None:
        """The offset that the broker has accepted."""
        return self._committed.get(key)

    def first(self, key: Key) -> int | None:
        """The offset of the first message that came."""
        return self._firsts.get(key)

    def rewind(self) -> None:
        """A consumer is gone: fetch once more what was given out and is not done."""
        with self._gate:
            if self._left or self.options.commit == "delivery":
                return
            self._rewind([key for key, offsets in self.offsets.items() if offsets.open])

    def _rewind(self, keys: Iterable[Key]) -> None:
        for key in keys:
            offsets = self.offsets[key]
            offset = self._firsts[key] if offsets.position is None else offsets.position
            try:
                self._consumer.seek(place_of(key, offset))
            except confluent().KafkaException as error:
                # Such as one that was assigned a moment ago: with the next turn.
                self._reports.note("seek", error.args[0])
                self._to_rewind.add(key)
                continue
            self._to_rewind.discard(key)
            again = self.offsets[key] = Acknowledged()
            again.position = offsets.position
            self._reports.tell(REFETCHED, {"offset": offset}, [key])

    def _commit_if_due(self) -> None:
        now = time.monotonic()
        if now < self._commit_at or self._committing:
            return
        self._commit_at = now + self.options.commit_interval
        if watching.wanted:
            self.ends.update(ends_of(self._consumer, self.offsets))
        offsets = self._uncommitted(self.offsets)
        if offsets:
            try:
                self._consumer.commit(offsets=places_of(offsets), asynchronous=True)
                self._committing = True
            except confluent().KafkaException as error:
                self._not_committed(error.args[0], offsets)

    def _uncommitted(self, keys: Iterable[Key]) -> dict[Key, int]:
        found = {}
        for key in keys:
            offsets = self.offsets.get(key)
            position = None if offsets is None else offsets.position
            if position is not None and position != self._committed.get(key):
                found[key] = position
        return found

    def _answered(self, error: Any, places: Any) -> None:
        self._committing = False
        accepted = {}
        for place in places or ():
            key, wrong = (place.topic, place.partition), place.error or error
            if wrong is not None:
                self._not_committed(wrong, {key: place.offset})
            elif key in self.offsets:
                accepted[key] = self._committed[key] = place.offset
        if accepted:
            self._reports.tell(COMMITTED, {}, list(accepted), offsets=accepted)

    def _not_committed(self, error: Any, offsets: dict[Key, int]) -> None:
        self._reports.tell(NOT_COMMITTED, {}, list(offsets), offsets=offsets, error=error)
        self._reports.note("commit", error)

    def _settle(self, keys: Sequence[Key], patience: float, *, last: bool = False) -> None:
        """Wait for acknowledgements, and commit what is done; for the last time, outside of callbacks, behind
        what is committed in the background, which may be tried again and would put the group back.
        """
        deadline = time.monotonic() + patience
        while any(self.offsets[key].open for key in keys):
            if not self._more_acks(max(0.0, deadline - time.monotonic())):
                break
        if last:
            self._await_answer()
        offsets = self._uncommitted(keys)
        if offsets:
            try:
                self._answered(None, self._consumer.commit(offsets=places_of(offsets), asynchronous=False))
            except confluent().KafkaException as error:
                self._not_committed(error.args[0], offsets)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + CLOSING
        while self._committing and (left := deadline - time.monotonic()) > 0:
            # What else comes is for whoever is given the partition next.
            self._consumer.poll(min(left, IDLE))

    # Callbacks of the consumer, within its poll ---------------------------------------------------

    def _assigned(self, consumer: Any, places: Sequence[Any]) -> None:
        if self._left:
            return
        keys = [(each.topic, each.partition) for each in places]
        for key in keys:
            self.offsets.setdefault(key, Acknowledged())
        # They are not paused, whatever the others are.
        self._paused = False
        self._reports.tell(ASSIGNED, {"count": len(keys)}, keys)

    def _revoked(self, consumer: Any, places: Sequence[Any]) -> None:
        if not self._left:
            keys = [(each.topic, each.partition) for each in places]
            self._settle([key for key in keys if key in self.offsets], self.options.drain)
            self._forget(REVOKED, keys)

    def _lost(self, consumer: Any, places: Sequence[Any]) -> None:
        if not self._left:
            self._forget(LOST, [(each.topic, each.partition) for each in places])

    def _forget(self, event: tuple[str, ...], keys: Sequence[Key]) -> None:
        for key in keys:
            for known in (self.offsets, self.ends, self._firsts, self._committed):
                known.pop(key, None)
            self._to_rewind.discard(key)
        self._reports.tell(event, {"count": len(keys)}, keys)

    # The end --------------------------------------------------------------------------------------

    def settle(self, patience: float) -> None:
        """Before an end in order: wait for acknowledgements, and commit what is done."""
        with self._gate:
            if not self._left:
                self._settle(list(self.offsets), patience, last=True)

    def leave(self) -> None:
        """Commit what is done, and leave the group; by whichever thread.

        Raises:
            TimeoutError: The producer's thread is still with the consumer.
        """
        if not self._gate.acquire(timeout=self.options.drain + CLOSING):
            raise TimeoutError(f"a thread is still at work with the consumer of group {self.options.group!r}")
        try:
            if not self._left:
                self._more_acks = _none
                self._settle(list(self.offsets), 0.0, last=True)
                self._left = True
                self._consumer.close()
        finally:
            self._gate.release()


def _none(patience: float) -> bool:
    """The process that has heard of acknowledgements is dead."""
    return False
