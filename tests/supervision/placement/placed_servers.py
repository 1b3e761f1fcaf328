"""Servers that tests place into other OS processes, which find them by the name of this module."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from resprout import throttle
from resprout.actors import (
    IGNORE,
    Agent,
    Bounded,
    Exited,
    GenServer,
    NoReply,
    Ok,
    Reply,
    Shutdown,
    Stop,
    process,
)
from resprout.registry import Registry
from resprout.supervision import Supervisor, ready


class LocalError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} and {two}")


class Echo(GenServer):
    """Answers with what it is sent, or does what it is told."""

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == ("later",):
            self.caller = from_
        if isinstance(message, tuple) and message and message[0] in DOES:
            return DOES[message[0]](self, state, *message[1:])
        return Reply(message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        if isinstance(message, tuple) and message and message[0] in DOES:
            DOES[message[0]](self, state, *message[1:])
            return NoReply(state)
        return NoReply(message)

    handle_info = handle_cast

    def terminate(self, reason: Any, state: Any) -> None:
        if isinstance(state, Path):
            state.write_text(repr(reason))


class Traps(Echo):
    """The same, and told of exits."""

    trap_exit = True

    def handle_info(self, message: Any, state: Any) -> Any:
        return NoReply(message if isinstance(message, Exited) else state)


class Small(Echo):
    """With a mailbox of few places."""

    mailbox = Bounded(3, on_full="reject")


class Blocks(Echo):
    mailbox = Bounded(3, on_full="block")


class Newest(Echo):
    mailbox = Bounded(3, on_full="drop_oldest")


class Async(Echo):
    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(("awaited", message), state)


class Quick(Echo):
    blocking = False


class Refuses(GenServer):
    def init(self, arg: Any) -> Any:
        if arg == "raise":
            raise LocalError("this", "that")
        if isinstance(arg, Path):
            arg.write_text(str(os.getpid()))
            threading.Event().wait()
        if arg == "exit":
            os._exit(7)
        return IGNORE if arg == "ignore" else Stop(arg)


class Readies(Echo):
    def init(self, arg: Any) -> Any:
        return Ok(arg, continue_with="load")

    def handle_continue(self, token: Any, state: Any) -> Any:
        if state == "soon":
            ready()
        return NoReply(state)


class Stubborn(Traps):
    """Does not end when it is asked."""

    def terminate(self, reason: Any, state: Any) -> None:
        if state is not None:
            Path(state).write_text("asked")
        threading.Event().wait()


def _raise(server: Any, state: Any, one: object) -> Any:
    raise LocalError(one, "that")


def _later(server: Any, state: Any) -> Any:
    """Is answered by a later cast; see `handle_call`."""
    return NoReply(state)


def _answer(server: Any, state: Any, value: object) -> None:
    GenServer.reply(server.caller, value)


def _flood(server: Any, state: Any, count: int) -> Any:
    for number in range(count):
        logging.getLogger("placed.flood").warning("%d", number)
    return Reply(count, state)


def _said(function: Any) -> Any:
    try:
        return function()
    except Exception as error:
        return type(error).__name__, str(error)


def _log(server: Any, state: Any, level: int, text: str) -> Any:
    logging.getLogger("placed").log(level, text)
    return Reply(None, state)


def _log_error(server: Any, state: Any) -> Any:
    try:
        raise LocalError(1, 2)
    except LocalError:
        logging.getLogger("placed").exception("it went wrong")
    return Reply(None, state)


def _take(server: Any, state: Any, what: str, name: str) -> Any:
    """Uses a name that the parent's tree may have."""
    ways: dict[str, Any] = {
        "lock": lambda: ("held", str(throttle.acquire(name, timeout=1))),
        "new lock": lambda: str(throttle.new(name, 1)),
        "lookup": lambda: Registry.lookup(name, 1),
        "new registry": lambda: str(Registry.start_link(keys="unique", name=name)),
        "call": lambda: GenServer.call(name, 1),
        "agent": lambda: str(Agent.start(dict, name=name)),
    }
    return Reply(_said(ways[what]), state)


DOES: dict[str, Any] = {
    "later": _later,
    "nest": lambda server, state, spec: Reply("ok" if Supervisor.start_link([spec]) else "", state),
    "through": lambda server, state, name, message: Reply(GenServer.call(name, message, 20.0), state),
    "answer": _answer,
    "os": lambda server, state: Reply(os.getpid(), state),
    "raise": _raise,
    "stop": lambda server, state, reason: Stop(reason, state, reply="stopping"),
    "exit": lambda server, state, reason: process.exit(reason),
    "_exit": lambda server, state, code: os._exit(code),
    "keep": lambda server, state, value: Reply(value, value),
    "lambda": lambda server, state: Reply({"f": [lambda: 1]}, state),
    "lock": lambda server, state: Reply(threading.Lock(), state),
    "pid": lambda server, state: Reply({"me": server.pid}, state),
    "hang": lambda server, state: Reply(threading.Event().wait(), state),
    "flood": _flood,
    "log": _log,
    "log error": _log_error,
    "take": _take,
    "signals": lambda server, state: Reply(
        [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)], state
    ),
    "modules": lambda server, state, *names: Reply([name in sys.modules for name in names], state),
    "shutdown": lambda server, state, detail: Stop(Shutdown(detail), state, reply=None),
    "big": lambda server, state, size: Reply(b"x" * size, state),
}


def start_function(arg: Any) -> Any:
    """Starts a server from a function."""
    return Echo.start_link(arg)


def starts_nothing() -> Any:
    return 42


def works(path: str, then: str = "stay") -> None:
    """Work for `run:`."""
    Path(path).write_text(str(os.getpid()))
    if then == "raise":
        raise LocalError(3, 4)
    if then == "stay":
        process.receive()


class Writes(Traps):
    """Writes a file when it begins, and how it ends."""

    def init(self, arg: Any) -> Any:
        Path(arg).write_text("")
        return Ok(Path(arg))


def writes(path: str) -> Any:
    return Writes.start_link(path)


def spin(count: int) -> int:
    """Work for a processor."""
    return sum(number & 1 for number in range(count))


class Spins(GenServer):
    def handle_call(self, message: int, from_: Any, state: Any) -> Any:
        return Reply(spin(message), state)


class NotLoaded:
    """Can be pickled, and not be read elsewhere."""

    def __reduce__(self) -> Any:
        return _only_in, (os.getpid(),)


def _only_in(pid: int) -> Any:
    if os.getpid() != pid:
        raise ImportError("no such thing here")
    return NotLoaded()
