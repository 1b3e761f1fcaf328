"""A server that tests place into another OS process, where it uses the registries of the tree."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import attrs

from resprout import throttle
from resprout.actors import Agent, GenServer, NoReply, Ok, Reply, process
from resprout.registry import Registry, Via
from resprout.supervision import Supervisor


@attrs.frozen
class User:
    """A key that is equal to another one of the same number."""

    number: int


class Twin:
    """A key that nothing else is equal to."""


gate = threading.Event()
"""Whether who needs a `Held` may go on."""
gate.set()
at_gate = threading.Event()


class Held:
    """A key that whoever reads it, or whoever looks for it, waits at a gate with."""

    def __init__(self, step: str) -> None:
        self.step = step

    def __reduce__(self) -> Any:
        return _read, (self.step,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held)

    def __hash__(self) -> int:
        if self.step == "look":
            _wait_at_gate()
        return 1


def _read(step: str) -> Held:
    if step == "read":
        _wait_at_gate()
    return Held(step)


def _wait_at_gate() -> None:
    at_gate.set()
    gate.wait(30)


class Keeper(GenServer):
    """Does what it is told; says what went wrong. It may begin with a key."""

    def init(self, arg: Any) -> Any:
        if arg is not None:
            Registry.register(*arg)
        return Ok({})

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        try:
            return Reply(DOES[message[0]](*message[1:]), state)
        except Exception as error:
            return Reply((type(error).__name__, str(error)), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        DOES[message[0]](*message[1:])
        return NoReply(state)


_others: dict[str, Any] = {}
"""Agents that own keys, by name."""


def _other(name: str) -> Any:
    if name not in _others:
        _others[name] = Agent.start(dict)
    return _others[name]


def _register_of_another(name: str, registry: str, key: Any, value: Any = None) -> str:
    return str(Agent.get(_other(name), lambda _: Registry.register(registry, key, value)))


def _end_other(name: str) -> None:
    pid = _others.pop(name)
    ref = process.monitor(pid)
    process.exit(pid, "kill")
    process.receive(lambda message: getattr(message, "ref", None) is ref, timeout=20.0)


def _other_is_alive(name: str) -> bool:
    return bool(_others[name].alive)


_leave = threading.Event()


def _linger(registry: str, key: Any) -> None:
    """Has a process killed whose code goes on, until it is told to leave."""
    begun = threading.Event()

    def work() -> None:
        Registry.register(registry, key)
        begun.set()
        _leave.wait(20)

    pid = process.spawn(work)
    begun.wait(20)
    process.exit(pid, "kill")


def _forms(registry: str) -> list[Any]:
    async def main() -> list[Any]:
        me = await Registry.aregister(registry, "a", 1, timeout=20)
        said = [me is process.current(), await Registry.alookup(registry, "a") == [(me, 1)]]
        said += [await Registry.awhereis(registry, "a") is me, await Registry.awhereis(registry, "b")]
        said += [str(await Registry.awhereis(registry, "parents"))]
        await Registry.aunregister(registry, "a")
        return [*said, await Registry.alookup(registry, "a")]

    return asyncio.run(main())


def _of_this_process(registry: str, key: Any) -> list[Any]:
    """What is not asked of the parent."""
    me = Registry.register(registry, key, [1])
    pairs: list[Any] = []
    Registry.dispatch(registry, key, pairs.extend)
    said = [pairs == [(me, [1])], Registry.count(registry), Registry.keys(registry, me)]
    said += [Registry.values(registry, key, me), Registry.select(registry, result=lambda key, *_: key)]
    return [*said, Registry.update_value(registry, key, lambda value: [*value, 2])]


def _close_pipe() -> None:
    """As a program does that closes files which are not its own."""
    from resprout.supervision.placement.parent import parents

    parents[0]._writer.end.shutdown(socket.SHUT_RDWR)


def _forked(registry: str) -> str:
    """What a process says of the registry that is forked here."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = str(Registry.register(registry, 1))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    said = os.read(reading, 10_000).decode()
    os.close(reading)
    return said


def _raise_count(registry: str, key: Any, path: str) -> str:
    """Reads a number, and writes the next one, unless somebody else is at it."""
    try:
        Registry.register(registry, key)
    except Exception as error:
        return type(error).__name__
    with open(path) as file:
        number = int(file.read())
    with open(path, "w") as file:
        file.write(str(number + 1))
    Registry.unregister(registry, key)
    return "raised"


DOES: dict[str, Callable[..., Any]] = {
    "os": os.getpid,
    "register": lambda *args, **options: str(Registry.register(*args, **options)),
    "register within": lambda name, key, timeout: str(Registry.register(name, key, timeout=timeout)),
    "register of step": lambda name, step: Registry.register(name, Held(step)),
    "register twin": lambda name: Registry.register(name, Twin()),
    "register lambda": lambda name: Registry.register(name, lambda: 0),
    "register of another": _register_of_another,
    "end other": _end_other,
    "other is alive": _other_is_alive,
    "unregister": Registry.unregister,
    "unregister match": Registry.unregister_match,
    "update": lambda name, key, value: Registry.update_value(name, key, lambda _: value),
    "lookup": lambda *args: [(str(pid), value) for pid, value in Registry.lookup(*args)],
    "whereis": lambda *args: str(Registry.whereis(*args)),
    "kind of owner": lambda *args: type(Registry.whereis(*args)).__name__,
    "forms": _forms,
    "of this process": _of_this_process,
    "keys": lambda name: Registry.keys(name, process.current()),
    "meta": Registry.meta,
    "send": lambda *via: process.send(Via(*via), 1),
    "agent": lambda *via: str(Agent.start(dict, name=Via(*via))),
    "linger": _linger,
    "leave": _leave.set,
    "stop": Registry.stop,
    "new": lambda name: str(Registry.start_link(keys="unique", name=name)),
    "registries": Registry.registries,
    "raise count": _raise_count,
    "close the pipe": _close_pipe,
    "forked": _forked,
    "nest": lambda spec: str(Supervisor.start_link([spec])),
    "through": lambda name, message: GenServer.call(name, message, 20.0),
    "hold": lambda name: throttle.acquire(name).token,
}
