"""A request that wants an answer: envelope and future in one object."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from .errors import CallTimeout, ProcessExit, ServerExit
from .future import Future, _finish

if TYPE_CHECKING:
    from .pid import Pid

_keys = itertools.count(1)


class Call(Future[Any]):
    """What a server gets as ``from_``: opaque to it, except for ``pid``, who asked."""

    __slots__ = ("key", "message", "pid", "server")

    def __init__(self, message: object, server: Pid, pid: Pid | None) -> None:
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

    def fail(self, pid: Pid) -> None:
        """The server is dead and will not answer."""
        self._complete((None, ServerExit(pid.exit_reason, pid, f"call {_short(self.message)}")))

    def promise(self) -> None:
        """It was not answered at once: have it failed if the server dies first."""
        self.key = next(_keys)
        self.server.expect(self)

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
            loop = asyncio.get_running_loop()
            bell = loop.create_future()
            self.add_done_callback(lambda _: _ring(loop, bell))
            await asyncio.wait({bell}, timeout=timeout)
        return bool(self._box)

    async def await_answer(self, timeout: float | None) -> Any:
        """The coroutine form of wait_for_answer; its cancellation drops the answer."""
        try:
            if not await self.wait_async(timeout) and self.cancel():
                raise CallTimeout(
                    f"{self.server} did not answer {_short(self.message)} within {timeout:g} s; "
                    f"its answer will be dropped"
                )
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.result()

    def wait_for_answer(self, timeout: float | None) -> Any:
        """Wait, and give up for good when the time is over: a late answer is dropped.

        Raises:
            CallTimeout, ServerExit, Killed.
        """
        self.promise()
        try:
            return self.result(timeout)
        except CallTimeout:
            if not self.cancel() and not self.cancelled():
                return self.result()
            raise CallTimeout(
                f"{self.server} did not answer {_short(self.message)} within {timeout:g} s; "
                f"its answer will be dropped"
            ) from None
        except ProcessExit:
            raise
        except BaseException:
            self.cancel()
            raise


def _ring(loop: asyncio.AbstractEventLoop, bell: asyncio.Future[None]) -> None:
    # A loop that has been closed has nobody left who waits.
    try:
        loop.call_soon_threadsafe(_finish, bell)
    except RuntimeError:
        pass


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
