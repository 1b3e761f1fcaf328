"""A program for test_interrupts: signals that raise in the main thread, at random moments of what it does.

Prints how many hit; ends with status 1 and a line for each thing that is left over.
"""

from __future__ import annotations

import contextvars
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from resprout import throttle
from resprout.actors import CallTimeout, GenServer, NotHeld, Ok, Pid, Reply, process
from resprout.actors.servers.dispatch import Interrupted
from resprout.registry import Registry
from resprout.throttle.lock.table import cores

SECONDS = 3.0
SOON = 20.0
REGISTRY = "a storm of interrupts"
JOBS, HELD, BLOCKS, BOTH, FAIR = NAMES = ["jobs", "held", "blocks", "both", "fair"]
SAFE = sys.version_info >= (3, 11)
"""Before, CPython looks for signals between any two opcodes: then a slot may stay with the main thread."""


class Storm(KeyboardInterrupt):
    """What the signal handler raises."""


class Gust(Exception):
    """The same, of a class that code may catch."""


class Counter(GenServer):
    blocking = False

    def init(self, arg: Any) -> Ok:
        return Ok(0)

    def handle_call(self, message: Any, from_: Any, state: int) -> Reply:
        return Reply(state + 1, state + 1)


class Interrupts:
    """Each operation is hit once at most: an interrupt may be interrupted, but not what mends it for ever."""

    def __init__(self) -> None:
        self.hits = 0
        self.armed: type[BaseException] | None = None
        self.over = False
        self._chance = random.Random(1)
        signal.signal(signal.SIGUSR1, self._handle)
        self.thread = threading.Thread(target=self._send)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        kind, self.armed = self.armed, None
        if kind is not None:
            self.hits += 1
            raise kind

    def _send(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self.over:
            signal.pthread_kill(main, signal.SIGUSR1)
            # A storm comes at moments that nobody chooses.
            time.sleep(self._chance.random() * 0.003)

    def hit(self, operation: Callable[[], object], kind: type[BaseException]) -> bool:
        """Do it; whether it was interrupted."""
        try:
            self.armed = kind
            operation()
            self.armed = None
        except (Storm, Gust):
            return True
        return False


def in_main() -> bool:
    return threading.current_thread() is threading.main_thread()


counter, heir_of_main, heir = Counter.start(), Counter.start(), Counter.start()
futures: list[Any] = []


def execute() -> None:
    some = [throttle.execute(JOBS, int) for _ in range(3)]
    futures.extend(some)
    for future in some:
        future.result(SOON)


def acquire() -> None:
    throttle.acquire(HELD, SOON)
    throttle.release(HELD)


def attempt() -> None:
    if throttle.attempt(HELD):
        throttle.release(HELD)


def nested() -> None:
    with throttle.slot(BOTH, SOON) as grant, throttle.slot(BOTH):
        with throttle.slot(BLOCKS, SOON), throttle.slot(BOTH, within=grant):
            pass


def run() -> None:
    assert throttle.run(BLOCKS, int, timeout=SOON) == 0


def fair() -> None:
    with throttle.slot(FAIR, SOON):
        pass


def transfer() -> None:
    with throttle.slot(HELD, SOON) as grant:
        grant.transfer(heir_of_main if in_main() else heir).release()


def lock_key() -> None:
    assert Registry.lock(REGISTRY, "key", int, SOON) == 0


def register() -> None:
    Registry.register(REGISTRY, in_main() or threading.get_ident())
    Registry.unregister(REGISTRY, in_main() or threading.get_ident())


def call() -> None:
    try:
        GenServer.call(counter, "count", SOON)
    except Interrupted:
        # The main thread ran the callback for it.
        assert not in_main()


OPERATIONS = [execute, acquire, attempt, nested, run, fair, transfer, lock_key, register, call]


def bystand(seed: int, calm: threading.Event, faults: list[str]) -> None:
    chance = random.Random(seed)
    try:
        while not calm.is_set():
            chance.choice(OPERATIONS)()
    except BaseException as error:
        faults.append(f"a bystander met {error!r}")


def undo(me: Pid) -> None:
    """What was cut either has happened or has not; what has, is undone."""
    try:
        while True:
            throttle.release(HELD)
    except NotHeld:
        pass
    for hold in list(cores[HELD].ledger.holders.values()):
        if hold.pid is heir_of_main and hold.held:
            hold.release()
    Registry.unregister(REGISTRY, True)
    for name in [] if SAFE else NAMES:
        hold = cores[name].ledger.holders.get(me.id)
        while hold is not None and hold.held:
            hold.release()


def storm(faults: list[str]) -> int:
    interrupts = Interrupts()
    chance = random.Random(4)
    calm = threading.Event()
    bystanders = [threading.Thread(target=bystand, args=(seed, calm, faults)) for seed in range(3)]
    me = process.current()
    for thread in [*bystanders, interrupts.thread]:
        thread.start()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not faults:
        operation = chance.choice(OPERATIONS)
        # A server whose callback met another exception ends, as with one of its own.
        kind = Storm if operation is call else chance.choice([Storm, Gust])
        try:
            if interrupts.hit(partial(contextvars.copy_context().run, operation), kind):
                undo(me)
        except CallTimeout as error:
            faults.append(f"{operation.__name__} met {error!r}")
    interrupts.over = True
    calm.set()
    for thread in [interrupts.thread, *bystanders]:
        thread.join(2 * SOON)
        if thread.is_alive():
            faults.append("a thread goes on")
    return interrupts.hits


def settled(condition: Callable[[], bool]) -> bool:
    """Wait for what other threads are about to do."""
    deadline = time.monotonic() + SOON
    while not condition():
        if time.monotonic() > deadline:
            return False
        process.sleep(0)
    return True


def look(faults: list[str]) -> None:
    """At what is left, and whether all goes on."""
    gc.collect()
    for name in NAMES:
        if not settled(lambda name=name: throttle.lock_state(name) == throttle.LockState(0, 0, 0)):  # type: ignore[misc]  # bound at once
            faults.append(f"{throttle.lock_state(name)} of {name}, held by {throttle.holders(name)}")
        elif throttle.run(name, int, timeout=SOON) or throttle.execute(name, int).result(SOON):
            faults.append(f"{name} does not go on")
    faults += [f"a job was lost: {future}" for future in futures if not future.done()]
    statistics = Registry.statistics(REGISTRY)
    if not settled(lambda: Registry.statistics(REGISTRY).locked == 0) or Registry.count(REGISTRY):
        faults.append(f"keys are left: {statistics}")
    if Registry.lock(REGISTRY, "key", int, SOON) != 0:
        faults.append("the lock of a key does not go on")
    faults += [
        f"{server} does not answer"
        for server in (counter, heir, heir_of_main)
        if not GenServer.call(server, "count", SOON)
    ]


def main() -> None:
    sys.setswitchinterval(1e-4)
    # Python itself ignores an exception in a finalizer, and prints it.
    sys.unraisablehook = lambda _: None
    Registry.start_link(keys="unique", name=REGISTRY)
    for name in NAMES:
        throttle.new(
            name, 2 if name in (JOBS, BOTH) else 1, fairness="eventual" if name == FAIR else "strict"
        )
    faults: list[str] = []
    hits = storm(faults)
    if not faults:
        try:
            look(faults)
        except BaseException as error:
            faults.append(repr(error))
    sys.stdout.write("\n".join(faults) or str(hits))
    sys.stdout.flush()
    # At once: what is left over might wait for ever.
    os._exit(bool(faults))


if __name__ == "__main__":
    main()
