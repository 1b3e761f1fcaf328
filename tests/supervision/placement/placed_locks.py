"""A server that tests place into another OS process, where it uses the locks of the tree."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from resprout import throttle
from resprout.actors import GenServer, NoReply, Ok, Reply
from resprout.supervision import Supervisor


class Locker(GenServer):
    """Does what it is told; says what went wrong."""

    def init(self, arg: Any) -> Any:
        if arg is not None:
            throttle.acquire(arg)
        return Ok({})

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        try:
            return Reply(DOES[message[0]](*message[1:]), state)
        except Exception as error:
            return Reply((type(error).__name__, str(error)), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        DOES[message[0]](*message[1:])
        return NoReply(state)


def _pid() -> int:
    return os.getpid()


async def _apid() -> int:
    return os.getpid()


def _slot(name: str) -> int:
    with throttle.slot(name) as grant:
        return grant.token


async def _aslot(name: str) -> int:
    async with throttle.slot(name) as grant:
        return grant.token


async def _aacquire(name: str) -> int:
    grant = await throttle.aacquire(name, timeout=20.0)
    grant.release()
    return grant.token


async def _aattempt(name: str) -> int | None:
    grant = await throttle.aattempt(name)
    if grant is None:
        return None
    grant.release()
    return grant.token


def _acquire(name: str) -> int:
    grant = throttle.acquire(name, timeout=20.0)
    throttle.release(name)
    return grant.token


def _attempt(name: str) -> int | None:
    grant = throttle.attempt(name)
    if grant is None:
        return None
    grant.release()
    return grant.token


FORMS: dict[str, Callable[[str], Any]] = {
    "run": lambda name: throttle.run(name, _pid),
    "slot": _slot,
    "acquire": _acquire,
    "attempt": _attempt,
    "execute": lambda name: throttle.execute(name, _pid).result(20.0),
    "execute a coroutine": lambda name: throttle.execute(name, _apid).result(20.0),
    "limited": lambda name: throttle.limited(name)(_pid)(),
    "arun": lambda name: asyncio.run(throttle.arun(name, _apid)),
    "async slot": lambda name: asyncio.run(_aslot(name)),
    "aacquire": lambda name: asyncio.run(_aacquire(name)),
    "aattempt": lambda name: asyncio.run(_aattempt(name)),
    "aexecute": lambda name: asyncio.run(throttle.aexecute(name, _pid)),
}


def _hold(name: str, **options: Any) -> int:
    return throttle.acquire(name, **{"timeout": 20.0, **options}).token


def _wait_elsewhere(name: str, count: int, path: str, **options: Any) -> None:
    """Has threads wait for a slot, each of which writes a line with its number when it has it."""

    def wait(number: int) -> None:
        try:
            with throttle.slot(name, **options), open(path, "a") as file:
                file.write(f"{number}\n")
        except Exception as error:
            with open(path, "a") as file:
                file.write(f"{type(error).__name__}\n")

    for number in range(count):
        threading.Thread(target=wait, args=(number,), daemon=True).start()
        while len(throttle.waiters(name)) <= number:
            time.sleep(0)


def _hold_in_thread(name: str) -> None:
    held = threading.Event()

    def hold() -> None:
        with throttle.slot(name):
            held.set()
            threading.Event().wait()

    threading.Thread(target=hold, daemon=True).start()
    held.wait()


def _dropped(name: str) -> None:
    with throttle.slot(name) as grant:
        grant.dropped()


def _fails(name: str) -> None:
    with throttle.slot(name):
        raise ConnectionError("too much")


def _assert_held_in(url: str, name: str) -> list[str]:
    """What the database says of a grant while it is held, and afterwards."""
    import psycopg

    from resprout import cluster

    said = []
    with throttle.slot(name) as grant, psycopg.connect(url) as connection:
        cluster.assert_held(connection, grant)
        said.append("good")
    with psycopg.connect(url) as connection:
        try:
            cluster.assert_held(connection, grant)
        except throttle.LockLost as error:
            said.append(type(error).__name__)
    return said


_open: list[Any] = []
"""Connections with a transaction."""


def _release_asserted(url: str, name: str) -> None:
    """Gives back what a transaction has asserted, which stays open until `commit`."""
    import psycopg

    from resprout import cluster

    grant = throttle.acquire(name)  # once more, by who has it
    _open.append(psycopg.connect(url))
    cluster.assert_held(_open[0], grant)
    while grant.held:
        grant.release()


def _commit() -> None:
    _open[0].commit()
    _open.pop().close()


def _close_pipe() -> None:
    """As a program does that closes files which are not its own."""
    from resprout.supervision.placement.parent import parents

    parents[0]._writer.end.shutdown(socket.SHUT_RDWR)


def _forked(name: str) -> str:
    """What a process says of the lock that is forked here."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            throttle.acquire(name, timeout=0)
            said = "held"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    said = os.read(reading, 10_000).decode()
    os.close(reading)
    return said


def _work(name: str, path: str, threads: int, seed: int) -> None:
    """Has threads work under a lock, for ever."""
    for number in range(threads):
        threading.Thread(target=work, args=(name, path, number, seed, threading.Event()), daemon=True).start()


def work(name: str, path: str, number: int, seed: int, over: threading.Event) -> None:
    """Works under a lock, in one way after the other; notes when it began each time and when it ended."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    me = os.getpid()

    def note(turn: int) -> None:
        os.write(file, f"{me} {number} {turn} begin {time.monotonic_ns()}\n".encode())
        time.sleep(0.0005 * (1 + turn % 3))
        os.write(file, f"{me} {number} {turn} end {time.monotonic_ns()}\n".encode())

    async def anote(turn: int) -> None:
        note(turn)

    async def briefly(turn: int) -> None:
        """Is cancelled if it waits too long."""
        waits = asyncio.ensure_future(throttle.arun(name, anote, turn))
        await asyncio.wait([waits], timeout=0.003)
        waits.cancel()
        await asyncio.wait([waits])

    turn = 0
    while not over.is_set():
        turn += 1
        way = (seed + number + turn) % 5
        if way == 0:
            throttle.execute(name, note, turn).result(30.0)
        elif way == 1:
            try:
                with throttle.slot(name, timeout=0.002):
                    note(turn)
            except TimeoutError:
                continue
        elif way == 4:
            asyncio.run(briefly(turn))
        elif way == 2:
            grant = throttle.attempt(name)
            if grant is not None:
                note(turn)
                grant.release()
        else:
            throttle.run(name, note, turn)
    os.close(file)


DOES: dict[str, Callable[..., Any]] = {
    "os": _pid,
    "form": lambda form, name: FORMS[form](name),
    "hold": _hold,
    "hold weight": lambda name, weight: _hold(name, weight=weight),
    "hold within": lambda name, timeout: _hold(name, timeout=timeout),
    "hold in a thread": _hold_in_thread,
    "execute": lambda name: throttle.execute(name, _pid).result(20.0),
    "release": throttle.release,
    "wait": _wait_elsewhere,
    "wait first": lambda name, count, path: _wait_elsewhere(name, count, path, priority=1),
    "held": lambda name: [str(each.pid) for each in throttle.holders(name)],
    "holders": lambda name: [
        (str(each.pid), each.token, each.weight) for each in throttle.holders(name, everywhere=True)
    ],
    "waiters": lambda name: [str(each.pid) for each in throttle.waiters(name, everywhere=True)],
    "state": throttle.lock_state,
    "info": throttle.lock_info,
    "locks": throttle.locks,
    "pause": throttle.pause,
    "resume": throttle.resume,
    "resize": throttle.resize,
    "new": lambda name, slots: str(throttle.new(name, slots)),
    "stop": throttle.stop_lock,
    "dropped": _dropped,
    "fails": _fails,
    "forked": _forked,
    "work": _work,
    "nest": lambda spec: str(Supervisor.start_link([spec])),
    "through": lambda name, message: GenServer.call(name, message, 20.0),
    "assert held in": _assert_held_in,
    "release what is asserted in": _release_asserted,
    "commit": _commit,
    "close the pipe": _close_pipe,
    "hang": lambda: threading.Event().wait(),
}
