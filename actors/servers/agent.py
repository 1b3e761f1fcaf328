"""Agent: a piece of state in a process, with functions that look at it and change it.

Use it where a GenServer would have no behaviour of its own. Not for work: the functions run inside the
agent, one at a time.

Semantics: Elixir's ``Agent``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..runtime.parking import forbid_loop
from ..runtime.thread_state import check_alive
from ..vocabulary.errors import BlockingInLoop
from ..vocabulary.messages import Done, NoReply, Ok, Reply
from .genserver import GenServer
from .library_server import LibraryServer


@attrs.frozen
class _Get:
    function: Callable[..., Any]
    args: tuple[Any, ...]


@attrs.frozen
class _Update:
    function: Callable[..., Any]
    args: tuple[Any, ...]


@attrs.frozen
class _GetAndUpdate:
    function: Callable[..., Any]
    args: tuple[Any, ...]


class Agent(LibraryServer):
    """See the module. A message that it does not know does not end it: a call raises `UnknownMessage`.

    Example:
        >>> counter = Agent.start(lambda: 1)
        >>> Agent.update(counter, lambda n: n + 1)
        >>> Agent.get(counter, lambda n: n)
        2
        >>> Agent.get_and_update(counter, lambda n: (n, n * 10))
        2
        >>> Agent.stop(counter)
    """

    _what = "an Agent"
    _use = "Agent.get, update, get_and_update or cast"

    def init(self, arg: Callable[[], Any]) -> Any:
        """Run the function that makes the first state."""
        return Ok(arg())

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        """Run a function inside the agent."""
        match message:
            case _Get(function, args):
                return Reply(function(state, *args), state)
            case _Update(function, args):
                return Reply(None, function(state, *args))
            case _GetAndUpdate(function, args):
                answer = function(state, *args)
                if not isinstance(answer, tuple) or len(answer) != 2:
                    raise TypeError(
                        f"expected get_and_update's function to return (value, new_state), got: {answer!r}"
                    )
                return Reply(*answer)
            case _:
                return super().handle_call(message, from_, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        """Run an update that nobody waits for."""
        if isinstance(message, _Update):
            return NoReply(message.function(state, *message.args))
        return super().handle_cast(message, state)

    @classmethod
    def start(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """Start an agent whose first state is what the function returns; raises as GenServer.start does."""
        return super().start(_callable(arg), name=name, timeout=timeout)

    @classmethod
    def start_link(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """Start a linked agent; raises as GenServer.start_link does."""
        return super().start_link(_callable(arg), name=name, timeout=timeout)

    @classmethod
    async def astart(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """The form of start for coroutines."""
        return await super().astart(_callable(arg), name=name, timeout=timeout)

    @classmethod
    async def astart_link(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """The form of start_link for coroutines."""
        return await super().astart_link(_callable(arg), name=name, timeout=timeout)

    @staticmethod
    def get(agent: Any, function: Callable[..., Any], *args: Any, timeout: float | None = 5.0) -> Any:
        """Return ``function(state, *args)``, run inside the agent; a function that raises crashes the
        agent.
        """
        try:
            return GenServer.call(agent, _Get(_callable(function), args), timeout)
        except BlockingInLoop as error:
            raise _refused("get", error) from None

    @staticmethod
    async def aget(agent: Any, function: Callable[..., Any], *args: Any, timeout: float | None = 5.0) -> Any:
        """The form of get for coroutines. The function is a plain one in this form, too."""
        return await GenServer.acall(agent, _Get(_callable(function), args), timeout)

    @staticmethod
    def update(agent: Any, function: Callable[..., Any], *args: Any, timeout: float | None = 5.0) -> None:
        """Make ``function(state, *args)`` the state, and wait for that."""
        try:
            GenServer.call(agent, _Update(_callable(function), args), timeout)
        except BlockingInLoop as error:
            raise _refused("update", error) from None

    @staticmethod
    async def aupdate(
        agent: Any, function: Callable[..., Any], *args: Any, timeout: float | None = 5.0
    ) -> None:
        """The form of update for coroutines."""
        await GenServer.acall(agent, _Update(_callable(function), args), timeout)

    @staticmethod
    def get_and_update(
        agent: Any, function: Callable[..., Any], *args: Any, timeout: float | None = 5.0
    ) -> Any:
        """The function returns ``(value, new_state)``; returns the value."""
        try:
            return GenServer.call(agent, _GetAndUpdate(_callable(function), args), timeout)
        except BlockingInLoop as error:
            raise _refused("get_and_update", error) from None

    @staticmethod
    async def aget_and_update(
        agent: Any, function: Callable[..., Any], *args: Any, timeout: float | None = 5.0
    ) -> Any:
        """The form of get_and_update for coroutines."""
        return await GenServer.acall(agent, _GetAndUpdate(_callable(function), args), timeout)

    @staticmethod
    def cast(agent: Any, function: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]  # its own words
        """Update without waiting."""
        GenServer.cast(agent, _Update(_callable(function), args))

    @staticmethod
    def acast(agent: Any, function: Callable[..., Any], *args: Any) -> Done:  # type: ignore[override]  # as cast
        """The form of cast for coroutines: done at once by an agent that is idle, if it runs in the caller
        (``blocking = False``). There is nothing to await; ``await`` is allowed and does not wait.
        """
        return GenServer.acast(agent, _Update(_callable(function), args))


def _refused(what: str, refused: BlockingInLoop) -> BlockingInLoop:
    """The error of a call in an event loop, with the form of what was called. Not looked for before: an agent
    that never blocks may be called there.
    """
    try:
        forbid_loop(f"Agent.{what}", f"Agent.a{what}(...)")
    except BlockingInLoop as ours:
        return ours
    return refused


def _callable(function: Any) -> Any:
    check_alive()
    if not callable(function):
        raise TypeError(f"expected a function, got: {function!r}")
    return function
