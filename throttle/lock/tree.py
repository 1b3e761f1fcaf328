"""The library's own supervision tree: it owns the locks that nobody else owns, and all slot workers.

::

    resprout.throttle              rest_for_one
    ├── resprout.throttle.workers  DynamicSupervisor: slot workers; stopped last, as jobs may end before
    ├── resprout.throttle.locks    DynamicSupervisor: the lock processes
    └── restorer                   starts the locks again when their supervisor was restarted

It starts on first use, tolerates 1,000 restarts a second, since a restart loses nothing, and stops with the
interpreter and not before: should somebody end its root, it is started again.
"""

from __future__ import annotations

import logging
import threading
from asyncio import _get_running_loop
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

import attrs

from ...actors import (
    IGNORE,
    AlreadyStarted,
    CallTimeout,
    ChildSpec,
    Down,
    GenServer,
    NoProcess,
    NotFound,
    Pid,
    ProcessExit,
    Shutdown,
    StartError,
    at_exit,
    process,
)
from ...actors.engine import Worker, kernel, lock
from ...supervision import DynamicSupervisor, FailedToStartChild, Supervisor
from .lock_core import LockCore
from .server import start_lock
from .settings import Life, Settings
from .table import cores, table
from .workers import WorkerHandle

T = TypeVar("T")
logger = logging.getLogger("resprout.throttle")
ROOT = "resprout.throttle"
LOCKS = "resprout.throttle.locks"
WORKERS = "resprout.throttle.workers"
MAX_RESTARTS = 1000
MAX_SECONDS = 1.0
RETRIES = 10
"""How often a slot worker is asked for, of a supervisor that is ended meanwhile."""
END_SECONDS = 10.0
"""How long the next root waits for the children of one that was killed."""


class Restorer(GenServer):
    """Runs once after each start of the supervisor of the locks, and is no process afterwards."""

    def init(self, arg: object) -> Any:
        for core in list(cores.values()):
            if _waits(core):
                try:
                    _restore(LOCKS, core)
                except StartError:
                    # That one's trouble is not the others'.
                    logger.exception("lock %r did not start again; another try follows", core.settings.name)
                    kernel.pool.submit(_rebuild)
        return IGNORE


def spec_of(settings: Settings) -> ChildSpec:
    """Make the child spec of a lock of this tree."""
    return ChildSpec(settings.name, (start_lock, (settings,), {}))


def _children() -> list[ChildSpec]:
    intensity = {"max_restarts": MAX_RESTARTS, "max_seconds": MAX_SECONDS}
    return [
        ChildSpec(
            "workers", (DynamicSupervisor.start_link, (), {"name": WORKERS, **intensity}), type="supervisor"
        ),
        ChildSpec(
            "locks", (DynamicSupervisor.start_link, (), {"name": LOCKS, **intensity}), type="supervisor"
        ),
        ChildSpec("restorer", (Restorer.start_link, (), {})),
    ]


_starting = lock()


def ensure(name: str) -> Pid:
    """Return one of the tree's supervisors; starts the tree, or waits until it is restarted, if need be."""
    pid = process.whereis(name)
    if pid is not None:
        return pid
    with _starting:
        root = process.whereis(ROOT)
        if root is None:
            root = _start()
    # It answers when all of its children have been started.
    Supervisor.which_children(root)
    pid = process.whereis(name)
    if pid is None:
        raise NoProcess(name)
    return pid


def _start() -> Pid:
    root: Pid | None = None
    while root is None:
        try:
            root = Supervisor.start_link(
                _children(),
                strategy="rest_for_one",
                max_restarts=MAX_RESTARTS,
                max_seconds=MAX_SECONDS,
                name=ROOT,
            )
        except AlreadyStarted:
            root = process.whereis(ROOT)
        except StartError as error:
            orphan = _orphan(error)
            if orphan is None:
                raise
            # A child of a root that was killed has its name until it has come to its end, too.
            await_end(orphan, END_SECONDS)
    # It belongs to nobody: whoever was the first to need it may end before it.
    process.unlink(root)
    root.parent = None
    at_exit(root, last=True)
    root.attach(_rebuild)
    return root


def _orphan(error: StartError) -> Pid | None:
    """Return the process that still has the name of a child that did not start."""
    why = error.reason.detail if isinstance(error.reason, Shutdown) else None
    taken = why.reason if isinstance(why, FailedToStartChild) else None
    return taken.pid if isinstance(taken, AlreadyStarted) else None


def await_end(pid: Pid, timeout: float) -> None:
    """Wait until a process is dead.

    Raises:
        CallTimeout: it lives on.
    """
    ref = process.monitor(pid)
    try:
        process.receive(lambda message: isinstance(message, Down) and message.ref is ref, timeout)
    finally:
        process.demonitor(ref, flush=True)


class _Rebuild:
    """A resource of the root: when that ends, and it is not the end of all, locks wait for another one."""

    def owner_died(self, pid: Pid, reason: object) -> None:
        if not kernel.exiting:
            kernel.pool.submit(self)

    def owner_left(self, pid: Pid) -> None:
        """Nothing more."""

    def run(self, worker: Worker) -> None:
        """As a task of the pool: start the tree in a process that may wait."""
        process.spawn(_build_again)


_rebuild = _Rebuild()


def _build_again() -> None:
    """Start the tree, and the locks that it does not know of, as long as there are any that wait for it."""
    pause = 0.001
    while not kernel.exiting and (waiting := [core for core in list(cores.values()) if _waits(core)]):
        try:
            locks = ensure(LOCKS)
            for core in waiting:
                # Its restorer has dealt with most of them.
                if _waits(core):
                    _restore(locks, core)
            return
        except (StartError, ProcessExit, CallTimeout):
            # Ended once more, before it was complete.
            logger.exception("the supervisors of the locks did not start again; another try in %g s", pause)
        process.sleep(pause)
        pause = min(2 * pause, 1.0)


def _waits(core: LockCore) -> bool:
    """Tell whether a lock of this tree has no process."""
    return core.settings.home and not core.ended and (core.process is None or core.process.dead)


def _restore(locks: Pid | str, core: LockCore) -> None:
    try:
        DynamicSupervisor.start_child(locks, spec_of(core.settings))
    except AlreadyStarted:
        # By somebody who was faster.
        pass


def start_home(settings: Settings) -> Pid:
    """Start a lock under this tree.

    Raises:
        AlreadyStarted: there is a process of that name.
    """
    pid = start_in_home(attrs.evolve(settings, home=True, life=Life()))
    assert pid is not None
    return pid


def start_in_home(settings: Settings) -> Pid | None:
    """Start a lock of this tree; None when this very life of it was ended already.

    Raises:
        AlreadyStarted: there is a process of that name.
    """
    return _asked(lambda: DynamicSupervisor.start_child(ensure(LOCKS), spec_of(settings)))


def stop_home(pid: Pid | None) -> None:
    """Stop a lock process of this tree, or see to it that one that has died is not about to be restarted."""
    locks = ensure(LOCKS)
    if pid is not None and pid.alive:
        try:
            DynamicSupervisor.terminate_child(locks, pid)
        except NotFound:
            pass
    # The supervisor answers when it has dealt with every death so far.
    DynamicSupervisor.count_children(locks)


def start_worker(worker: type[GenServer], handle: WorkerHandle) -> Pid:
    """Start a slot worker. One that dies is not restarted: the next job that needs it starts another."""
    id = f"worker of {handle.core.settings.name}"
    spec = ChildSpec(id, (worker.start_link, (handle,), {}), restart="temporary")
    for _ in range(RETRIES):
        try:
            pid = DynamicSupervisor.start_child(ensure(WORKERS), spec)
        except ProcessExit:
            # The supervisor was just ended; the next one is asked.
            continue
        assert pid is not None
        return pid
    raise NoProcess(WORKERS)


def _asked(ask: Callable[[], T]) -> T:
    """Ask a supervisor, once more if it was just being restarted; in an event loop through a thread."""
    if _get_running_loop() is not None:
        return in_thread(ask)
    try:
        return ask()
    except ProcessExit:
        return ask()


def in_thread(fn: Callable[[], T]) -> T:
    """Call a function in a thread and wait for it: quick requests to supervisors from an event loop."""
    answer: list[T] = []
    error: list[BaseException] = []
    # The thread goes on with what was begun here (see after_fork of actors).
    context = copy_context()

    def call() -> None:
        try:
            answer.append(context.run(fn))
        except BaseException as problem:
            error.append(problem)

    thread = threading.Thread(target=call, name="resprout-throttle-request", daemon=True)
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return answer[0]


table.restore = lambda core: kernel.pool.submit(_rebuild)
