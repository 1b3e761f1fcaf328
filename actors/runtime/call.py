"""A request that wants an answer: envelope and future in one object."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from typing_extensions import TypeVar

from ..primitives.atomic import counter
from ..vocabulary.errors import CallTimeout, ServerExit, Unhandled, brief
from .call_cycles import begin_wait
from .future import Future
from .loop_bells import bells_of
from .parking import LoopBell, check_timeout
from .unanswered import LOOK, Beat, other_loop, ring_or_why, tell_of_wait

_keys = counter(1)
T = TypeVar("T", default=Any)


class Call(Future[T]):
    """What a server gets as ``from_``: opaque to it, except for ``pid``, who asked."""

    __slots__ = ("key", "message", "pid", "server")

    def __init__(self, message: object, server: Any, pid: Any) -> None:
        # Future.__init__ written out: this runs once a call.
        self._box = []
        self._callbacks = []
        self.message = message
        self.server = server
        self.pid = pid

    def answer(self, value: object) -> bool:
        """Give the answer; False when nobody waits for it any more."""
        outcome = (value, None)
        box = self._box
        box.append(outcome)
        if self._callbacks:
            self._call_back()
        if self.server._calls:
            self._forget()
        return box[0] is outcome

    def answer_error(self, error: BaseException) -> bool:
        """Give an error for an answer."""
        won = self._complete((None, error))
        self._forget()
        return won

    def take(self) -> Any:
        """The outcome of a call that only its caller has: an error leaves the call, or its traceback would
        refer to itself.
        """
        value, error = self._box[0]
        if error is None:
            return value
        self._box[0] = (None, None)
        try:
            raise error
        finally:
            del error

    def fail(self, pid: Any) -> None:
        """The server is dead and will not answer."""
        self._complete((None, ServerExit(pid.exit_reason, pid, self.message)))

    def fail_unhandled(self, pid: Any) -> None:
        """The server died with this in its mailbox."""
        self._complete((None, Unhandled(pid.exit_reason, pid, self.message)))

    def promise(self) -> None:
        """It was not answered at once: have it failed if the server dies first."""
        self.key = next(_keys)
        self.server.expect(self)

    def wait(self, timeout: float | None = None) -> None:
        if not self._box:
            begin_wait(self.server, self)
        why = self._wait(timeout)
        if why is not None:
            raise CallTimeout(f"no answer within {timeout:g} s{why}")

    def _wait(self, timeout: float | None) -> str | None:
        """Wait in a thread: None when it has ended, else what is to be said of why not. Who may wait for ever
        on a loop that does not serve tells of it.
        """
        look = LOOK if timeout is None else timeout
        while not self._box and other_loop(self.server) is not None:
            check_timeout(timeout)
            beat = Beat(self.server, look)
            try:
                super().wait(look - beat.lead)
                return None
            except CallTimeout:
                beat.send()
            try:
                super().wait(beat.lead)
                return None
            except CallTimeout:
                why = beat.why()
            if timeout is not None:
                return why
            if why:
                tell_of_wait(self.server, self.message, look, why)
                break
            look *= 2
        try:
            super().wait(timeout)
        except CallTimeout:
            return ""
        return None

    async def _wait_for_ever(self, bell: LoopBell) -> None:
        """The form of _wait for coroutines whose server lives on another loop."""
        look = LOOK
        while not self._box:
            why = await ring_or_why(bell, self.server, look)
            if why is None:
                return
            if why:
                tell_of_wait(self.server, self.message, look, why)
                return
            look *= 2

    def _too_late(self, timeout: float, why: str) -> CallTimeout:
        return CallTimeout(
            f"{self.server} did not answer {brief(self.message)} within {timeout:g} s; "
            f"its answer will be dropped{why}"
        )

    def _await_end(self) -> Generator[Any, None, None]:
        if not self._box:
            begin_wait(self.server, self)
        return super()._await_end()

    def _forget(self) -> None:
        calls = self.server._calls
        if calls:
            key = getattr(self, "key", None)
            if key is not None:
                calls.pop(key, None)

    def cancel(self) -> bool:
        won = super().cancel()
        self._forget()
        return won

    async def wait_async(self, timeout: float | None) -> bool:
        """Wait in a coroutine without giving up; False when the time is over."""
        if not self._box:
            bell = LoopBell(asyncio.get_running_loop())
            self.add_done_callback(bell)
            if timeout is None and other_loop(self.server) is not None:
                await self._wait_for_ever(bell)
            await bell.wait(timeout)
        return bool(self._box)

    async def await_answer(self, timeout: float | None, loop: asyncio.AbstractEventLoop) -> Any:
        """The coroutine form of wait_for_answer, in a coroutine of that loop; its cancellation drops the
        answer. Whoever calls it has looked for circles of waits.
        """
        bells, bell = bells_of(loop), LoopBell(loop)
        self._callbacks.append(bell)
        if self._box:
            self._call_back()
        afar = other_loop(self.server) is not None
        why: str | None = ""
        try:
            if timeout is None:
                if afar:
                    await self._wait_for_ever(bell)
                await bell
                while True:
                    if self._box:
                        break
                    # Woken by a cancellation that was taken back.
                    await bell
            elif afar:
                why = await ring_or_why(bell, self.server, timeout)
            else:
                bells.end_after(timeout, bell)
                await bell
            if timeout is not None and not self._box and self.cancel():
                raise self._too_late(timeout, why or "")
        except BaseException:
            self.cancel()
            raise
        finally:
            if timeout is not None:
                bells.ended(bell)
        return self.take()

    def wait_for_answer(self, timeout: float | None) -> None:
        """Wait, and give up for good when the time is over: a late answer is dropped.

        Raises:
            CallTimeout, ServerExit, Killed.
        """
        self.promise()
        try:
            why = self._wait(timeout)
        except BaseException:
            self.cancel()
            raise
        if why is not None and timeout is not None and self.cancel():
            raise self._too_late(timeout, why)
