"""The process of one partition: it hands message after message to the handler, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Generator
from typing import Any, ClassVar

import attrs

from ...actors import IGNORE, GenServer, LockNotFound, NoReply, Ok, QueueFull, process, telemetry
from ...actors.engine import LibraryServer
from ...throttle import slot
from .assignment import Assignment, Run
from .events import DEAD_LETTERED, RETRIED
from .messages import DeadLetter, Family, Fetched, TookOver
from .retrying import Again, GiveUp, PutAside

TAKE_OVER = object()
LOOK = 0.01
"""Seconds between two looks, where nothing tells."""
LETTER = 60.0
"""Seconds that writing a dead letter may take."""


@attrs.frozen
class Origin:
    """What the process of a partition is started with."""

    family: Family
    assignment: Assignment
    coordinator: Any


@attrs.frozen
class _Wait:
    """A step: wait for so many seconds, or until the partition is given up."""

    delay: float


@attrs.frozen
class _PutAside:
    """A step: have the message put aside."""

    message: Any
    error: Exception


class PartitionServer(LibraryServer):
    """See the module. It keeps nothing that its assignment does not know, so it may die at any moment.

    What is done in which order is written once, in `_batch`, as steps: a message for which the handler is to
    be called, or what stands above. `_drive` and its twin for coroutine functions carry them out.
    """

    _what: ClassVar[str] = "the process of a partition of Kafka"
    _use: ClassVar[str] = "kafka.positions"

    origin: Origin
    run: Run

    def init(self, origin: Origin) -> Any:
        assignment = origin.assignment
        self.origin = origin
        assignment.pid = self.pid
        if assignment.closing:
            return IGNORE
        if assignment.run is not None:
            return Ok(None, continue_with=TAKE_OVER)
        self.run = assignment.run = Run(self.pid)
        return Ok(None)

    def handle_continue(self, token: Any, state: None) -> Any:
        self._drive(self._take_over())
        return NoReply(None)

    def handle_info(self, message: Any, state: None) -> Any:
        if not isinstance(message, Fetched):
            return super().handle_info(message, state)
        run = self.run
        run.busy = True
        try:
            self._drive(self._batch(message.messages))
        finally:
            self._rest()
        return NoReply(None)

    # Steps ----------------------------------------------------------------------------------------

    def _take_over(self) -> Generator[Any, Any, None]:
        """Go on where the process before this one has come to, when its code has left.

        Python cannot stop a handler. If it leaves in time, what it did counts; if not, its message is handled
        once more, as it is when a whole program dies.
        """
        family, assignment = self.origin.family, self.origin.assignment
        left = family.options.drain
        while left > 0 and assignment.busy and not assignment.closing:
            yield _Wait(LOOK)
            left -= LOOK
        self.run = Run(self.pid, assignment.position)
        self.origin.coordinator.send(TookOver(assignment, self.run))

    def _batch(self, messages: tuple[Any, ...]) -> Generator[Any, Any, None]:
        assignment, run = self.origin.assignment, self.run
        flow = self.origin.family.options.flow
        marks = (flow.full, flow.low)
        bell = assignment.bell
        early = self.origin.family.options.commit == "before"
        for message in messages:
            if assignment.closing:
                # They are for whoever is given the partition next.
                return
            if early:
                # At most once: a restarted process goes on behind it.
                run.done = message.offset() + 1
            error = yield message
            if error is not None and not (yield from self._failed(message, error)):
                return
            if not early:
                run.done = message.offset() + 1
            run.handled += 1
            if run.sent - run.handled in marks:
                bell.set()

    def _failed(self, message: Any, error: Exception) -> Generator[Any, Any, bool]:
        """Retry, put aside or crash; whether the message is done."""
        options = self.origin.family.options
        failures = 0
        while True:
            if isinstance(error, LockNotFound) and error.name == options.throttle:
                raise error
            if isinstance(error, QueueFull) and error.name == options.throttle:
                # Nobody has looked at the message.
                delay = max(LOOK, options.backoff.delay(0, random.random()))
            else:
                failures += 1
                step = options.retrying.after(failures, random.random())
                match step:
                    case Again(delay):
                        self._tell(RETRIED, message, error, failures)
                    case PutAside():
                        yield _PutAside(message, error)
                        self._tell(DEAD_LETTERED, message, error, failures)
                        return True
                    case GiveUp():
                        raise error
            yield _Wait(delay)
            if self.origin.assignment.closing:
                return False
            again = yield message
            if again is None:
                return True
            error = again

    def _tell(self, event: tuple[str, ...], message: Any, error: Exception, failures: int) -> None:
        if telemetry.enabled(event):
            where = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
            group = self.origin.family.options.group
            telemetry.emit(event, {"failures": failures}, {**where, "group": group, "error": error})

    def _rest(self) -> None:
        """It is at work no more; also when it has died, so nothing here looks at that."""
        self.run.busy = False
        if self.origin.assignment.closing or self.pid.dead:
            self.origin.assignment.bell.set()

    # Carried out ----------------------------------------------------------------------------------

    def _drive(self, steps: Generator[Any, Any, None]) -> None:
        options = self.origin.family.options
        handler, throttle = options.handler, options.throttle
        me = self.pid
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration:
                return
            result = None
            if step.__class__ is _Wait:
                self._wait(step.delay)
                continue
            if step.__class__ is _PutAside:
                self._put_aside(step)
                continue
            if me.dead:
                process.current()  # raises Killed
            try:
                if throttle is None:
                    handler(step)
                else:
                    with slot(throttle):
                        handler(step)
            except Exception as error:
                result = error

    def _wait(self, delay: float) -> None:
        while delay > 0 and not self.origin.assignment.closing:
            process.sleep(min(delay, LOOK))
            delay -= LOOK

    def _put_aside(self, step: _PutAside) -> None:
        family = self.origin.family
        put_aside = family.options.dead_letter
        if callable(put_aside):
            put_aside(step.message, step.error)
        else:
            GenServer.call(family.dead_letters, DeadLetter(step.message, step.error), LETTER)


class AsyncPartitionServer(PartitionServer):
    """The same for a handler that is a coroutine function."""

    async def handle_continue(self, token: Any, state: None) -> Any:
        await self._adrive(self._take_over())
        return NoReply(None)

    async def handle_info(self, message: Any, state: None) -> Any:
        if not isinstance(message, Fetched):
            return super().handle_info(message, state)
        self.run.busy = True
        try:
            await self._adrive(self._batch(message.messages))
        finally:
            self._rest()
        return NoReply(None)

    async def _adrive(self, steps: Generator[Any, Any, None]) -> None:
        options = self.origin.family.options
        handler: Any = options.handler
        throttle = options.throttle
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration:
                return
            result = None
            if step.__class__ is _Wait:
                await self._await(step.delay)
                continue
            if step.__class__ is _PutAside:
                await self._aput_aside(step)
                continue
            try:
                if throttle is None:
                    await handler(step)
                else:
                    async with slot(throttle):
                        await handler(step)
            except Exception as error:
                result = error

    async def _await(self, delay: float) -> None:
        while delay > 0 and not self.origin.assignment.closing:
            await asyncio.sleep(min(delay, LOOK))
            delay -= LOOK

    async def _aput_aside(self, step: _PutAside) -> None:
        family = self.origin.family
        put_aside: Any = family.options.dead_letter
        if callable(put_aside):
            made = put_aside(step.message, step.error)
            if hasattr(made, "__await__"):
                await made
        else:
            await GenServer.acall(family.dead_letters, DeadLetter(step.message, step.error), LETTER)
