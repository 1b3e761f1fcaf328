"""Plain functions as supervised processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...actors import Future, Pid, process
from .references import is_async


def start_function(function: Callable[..., Any], arguments: Mapping[str, Any], name: Any = None) -> Pid:
    """Runs a function as a process linked to the caller; the process ends when the function does.

    It suits a loop that needs no messages: a poller, a consumer of somebody else's client. It is no
    GenServer, so nobody can call it.

    Args:
        function: A function, which has a thread for as long as it runs, or a coroutine function, which runs
            on the runtime's event loop.
        arguments: Its keyword arguments.
        name: What to register the process under before the function is called.

    Returns:
        The process; it has its name.

    Raises:
        AlreadyRegistered: The name is taken.
    """
    named: Future[None] = Future()

    def take_name() -> bool:
        try:
            if name is not None:
                _register(name)
        except Exception as error:
            named.set_exception(error)
            return False
        named.set(None)
        return True

    def run() -> None:
        if take_name():
            function(**arguments)

    async def arun() -> None:
        if take_name():
            await function(**arguments)

    body = arun if is_async(function) else run
    # What reports and lists of processes call it.
    body.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)
    pid = process.spawn_link(body)
    named.result()
    return pid


def _register(name: Any) -> None:
    me = process.current()
    if isinstance(name, str):
        process.register(me, name)
    else:
        name.register_name(me)
