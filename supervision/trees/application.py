"""A tree file as a running program."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, TypeAlias, TypeVar, cast

import attrs
from typing_extensions import assert_never

from ...actors import (
    AlreadyStarted,
    CallTimeout,
    Crash,
    Future,
    Pid,
    StalePid,
    StartError,
    at_exit,
    dump_processes,
    forbid_loop,
    is_orderly,
    need_loop,
    process,
)
from ...actors.engine import LoopBell, check_alive, in_words, lock, watch_running_loop
from ..supervisors.snapshot import StartingChild, starting_under
from ..supervisors.values import failed_start
from .application_master import Life
from .companions import Company
from .difference import Difference, difference
from .limits import DEFAULTS, Limits
from .overlays import Overlays, absolute
from .reloading import Reloaded, carry_out, planned, told_of
from .tree_file import Tree, load_tree

T = TypeVar("T")
logger: Final = logging.getLogger("resprout.application")

_LOOK: Final = 0.5
"""Seconds after which the main thread notices a signal at the latest."""
_SAME_SIGNAL: Final = 0.05
_SAME_HANGUP: Final = 1.0
"""A closed terminal sends SIGHUP, its shell sends it, too, and so does the shell's end."""


def _named(*names: str) -> tuple[int, ...]:
    """The signals of these names that this system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


_HANGUP: Final = _named("SIGHUP")
_SHOW: Final = _named("SIGQUIT")
STOP_SIGNALS: Final = _named("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""The signals that end `Application.run`."""


@attrs.frozen
class Started:
    """The tree runs."""


@attrs.frozen
class StartFailed:
    """The tree does not run."""

    error: BaseException


@attrs.frozen
class Signalled:
    """The program was told to end."""

    number: int
    at: float


@attrs.frozen
class Ended:
    """The root has ended."""

    reason: object


Happening: TypeAlias = "Started | StartFailed | Signalled | Ended"


class Application:
    """A supervision tree that was described in a file, and the root of what runs of it.

    Use it for whole programs; a part of a program that wants supervision starts a `Supervisor` itself. In a
    program that runs an event loop, ``async with Application.load(path):`` has the tree run beside its block,
    with all that are coroutines on that loop.

    Args:
        tree: What a tree file says; usually `Application.load` reads it.
        socket, control_tcp: See `load`.
        read_again: Reads the same file once more, for a reload; None if there is no file to read again.

    Attributes:
        tree, socket, control_tcp, read_again: The same.
        start_error: Why the last `run` did not start it, as the start raised it; else None.

    Semantics: OTP application(3): the root is linked to an application master, not to whoever started it.
    Differs from OTP: there is no list of applications; an application may be started again after it ended.
    """

    def __init__(
        self,
        tree: Tree,
        socket: str | os.PathLike[str] | bool | None = None,
        read_again: Callable[[], Tree] | None = None,
        control_tcp: int | None = None,
    ) -> None:
        if control_tcp is not None and (type(control_tcp) is not int or not 0 <= control_tcp <= 65_535):
            raise ValueError(f"expected control_tcp to be a port from 0 to 65535, got: {control_tcp!r}")
        if control_tcp is not None and socket is False:
            raise ValueError("expected a socket together with control_tcp, whose token is written beside it")
        self.tree = tree
        self.socket = socket
        self.control_tcp = control_tcp
        self.read_again = read_again
        self.start_error: BaseException | None = None
        self._starting = lock()
        self._making_job = lock()
        self._job: Any = None
        self._life: Life | None = None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        settings: Mapping[str, str] | None = None,
        *,
        overlays: Overlays = (),
        limits: Limits = DEFAULTS,
        socket: str | os.PathLike[str] | bool | None = None,
        control_tcp: int | None = None,
    ) -> Application:
        """Reads a tree file; nothing is started.

        Args:
            path: The file, or `-` for standard input. Its folder (of `-` the current one) goes in front of
                `sys.path`; the modules that it names are imported.
            settings: Values of the `${name}` in the file.
            overlays: What is laid over it, one or several, later ones over earlier ones: `"production"` is
                `tree.production.yaml` beside a `tree.yaml`; what has a separator of folders, or ends in
                `.yaml` or `.yml`, is a path.
            limits: How large the file may be, with what it includes and what is laid over it: bytes, keys and
                values, levels, replicas. See `Limits`.
            socket: Where the running tree answers the commands of `resprout` (docs/control.md): a path;
                True for one in the runtime directory; False for nowhere. By default what the environment
                variable RESPROUT_SOCKET says (a path, `on` or `off`), else as True.
            control_tcp: A port of 127.0.0.1 at which it answers as well, 0 for any that is free, to whoever
                knows a token, which is written to a file beside the socket.

        Returns:
            The application, not started.

        Raises:
            InvalidTree: The files have mistakes; this `ConfigError` lists all of them with their places.
            ValueError: `control_tcp` is no port, or there is to be no socket.
        """
        check_alive()

        file = os.fspath(path)
        # The program may go to another folder.
        from_anywhere = os.path.abspath(file), absolute(overlays)

        def read_again() -> Tree:
            again, over_it = from_anywhere
            return load_tree(again, settings, limits=limits, overlays=over_it)

        tree = load_tree(file, settings, limits=limits, overlays=overlays)
        return cls(tree, socket, None if file == "-" else read_again, control_tcp)

    @property
    def name(self) -> str:
        """The name that the file gives, or else the name of its folder."""
        return self.tree.name

    @property
    def job(self) -> Any:
        """What `job:` in the file names, made at the first look and at the latest by the start; or `None`."""
        return self._made_job()

    @property
    def root(self) -> Pid | None:
        """The root supervisor; `None` before the start."""
        return None if self._life is None else self._life.root

    @property
    def master(self) -> Pid | None:
        """The process above the root, which starts and outlives it; there as soon as a start has begun."""
        return None if self._life is None else self._life.master

    @property
    def begun(self) -> bool:
        """Whether a start has begun, now or earlier."""
        return self._life is not None

    def starting(self) -> list[StartingChild]:
        """The children whose start the tree waits for this moment; none when it has started."""
        check_alive()
        life = self._life
        if life is None or life.master is None or life.root is not None:
            return []
        return starting_under(life.master)

    def start(self) -> Pid:
        """Makes the job and starts the tree, linked to nobody.

        Returns:
            The root supervisor, when all children have started.

        Raises:
            AlreadyStarted: It runs.
            StartError: A child did not start; those before it were stopped again.
        """
        check_alive()
        forbid_loop("Application.start", "application.astart()")
        return self._start(Life(self.tree))

    def stop(self, reason: object = "shutdown", timeout: float | None = None) -> None:
        """Stops the tree in reverse order, and waits for that. Does nothing if it does not run.

        Args:
            reason: The exit reason of the root.
            timeout: Seconds; by default each child has its own shutdown time and that is all.

        Raises:
            CallTimeout: It takes longer; it goes on stopping.
        """
        check_alive()
        forbid_loop("Application.stop", "application.astop()")
        if self._life is not None:
            self._life.stop(reason, timeout)

    def reload(self, *, dry_run: bool = False) -> Reloaded:
        """Reads the tree file again and applies what has changed, while all else goes on untouched.

        Children that are gone from the file are stopped, the last one first; then those that have changed are
        restarted, and those that are new are started behind their siblings. Modules are not imported again,
        so changed code is no change, nor is another order. What the program itself has started stays, as does
        a child that somebody has terminated, unless it has changed. A dynamic supervisor that has other
        children in the file is restarted with all below it. A child with which it goes wrong is told and
        stays down, and the others are dealt with.

        `telemetry` gets `("resprout", "application", "reloading")` before and `(..., "reloaded")` after it,
        with the `application`; a dry run is not told of.

        Args:
            dry_run: Only say what would be done.

        Returns:
            What was done, or would be.

        Raises:
            InvalidTree: The file has mistakes now; nothing is changed.
            ValueError: What has changed are keys of the root itself, which a running tree keeps; nothing is
                changed.
            RuntimeError: It does not run, or was read from standard input.
        """
        check_alive()
        forbid_loop("Application.reload", "asyncio.to_thread(application.reload)")
        with self._starting:
            life, root = self._life, self.root
            if life is None or root is None or not root.alive:
                raise RuntimeError(f"application {self.name} does not run")
            if self.read_again is None:
                raise RuntimeError(
                    f"the tree of application {self.name} has no file that could be read again"
                )
            if dry_run:
                return planned(self._change())
            with told_of(self):
                change = self._change()
                done = carry_out(root, change)
                self.tree = life.tree = change.tree
            return done

    def _change(self) -> Difference:
        assert self.read_again is not None
        change = difference(self.tree, self.read_again())
        if change.root:
            keys = ", ".join(change.root)
            raise ValueError(
                f"a running tree keeps what its root is, and {keys} changed; stop it and start it again"
            )
        return change

    async def astart(self) -> Pid:
        """The form of start for coroutines. Servers with coroutines, coroutine workers and `asgi:` children
        of the tree then live on this event loop, those that are started anew as well. If it is cancelled,
        what has started is stopped again.

        Returns:
            The root supervisor, when all children have started.

        Raises:
            AlreadyStarted, StartError: As `start`.
        """
        check_alive()
        need_loop("Application.astart()")
        life = Life(self.tree)
        watch_running_loop()
        try:
            return await _elsewhere(self._start, life)
        except asyncio.CancelledError:
            process.spawn(life.stop, "shutdown", None)
            raise

    async def astop(self, reason: object = "shutdown", timeout: float | None = None) -> None:
        """The form of stop for coroutines. If it is cancelled, the tree goes on stopping."""
        check_alive()
        need_loop("Application.astop()")
        if self._life is not None:
            await _elsewhere(self._life.stop, reason, timeout)

    async def _astop_within(self, seconds: float | None) -> None:
        """Stop it, and kill whatever is left of it when its time is over."""
        try:
            await self.astop(timeout=seconds)
        except CallTimeout:
            logger.error(
                "application %s did not stop within %g s: what is left of it is killed", self.name, seconds
            )
            assert self._life is not None, "it was started"
            self._life.kill()
            await self._life.ended

    async def __aenter__(self) -> Application:
        await self.astart()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.astop()

    async def await_(self, timeout: float | None = None) -> object:
        """The form of wait for coroutines."""
        check_alive()
        ended = self._end()
        bell = LoopBell(need_loop("Application.await_()"))
        ended.add_done_callback(bell)
        try:
            if not await bell.wait(timeout) and not ended.done():
                raise CallTimeout(f"application {self.name} did not end within {timeout:g} s")
        finally:
            ended.remove_done_callback(bell)
        return ended.result()

    def wait(self, timeout: float | None = None) -> object:
        """Waits for the end of the root.

        Args:
            timeout: Seconds; by default for ever.

        Returns:
            Its exit reason.

        Raises:
            CallTimeout: It has not ended within that time.
            RuntimeError: The application was never started.
            StalePid: It was started before this process was forked; it runs in the parent only.
        """
        check_alive()
        ended = self._end()
        if not ended.done():
            forbid_loop("Application.wait", "application.await_()")
        return ended.result(timeout)

    def run(self) -> int:
        """Starts the tree and serves until it ends or a signal ends it.

        SIGTERM, SIGINT (Ctrl-C), SIGHUP (the terminal was closed) and Windows' SIGBREAK (Ctrl-Break) stop the
        tree in reverse order, each child within its shutdown time; a second one stops at once. (Wrappers such
        as timeout(1) send a signal to the program and to its group, so what comes within 50 ms of the first
        is taken for the same, as is a SIGHUP within a second.) A signal during the start is obeyed as soon as
        the tree has started. A SIGHUP that is ignored, as under nohup(1), stays ignored. SIGQUIT (Ctrl-\\)
        writes to stderr what every process and thread is doing, and the tree goes on. The signal handlers of
        before are put back at the end. Outside the main thread none are installed.

        Returns:
            An exit status. 0: the root ended in order, or a signal stopped the tree. 1: the start failed, the
            root crashed, or a supervisor gave up and was not started again. 128 and the number of the signal
            (130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP): a second signal stopped it at once.

        Raises:
            AlreadyStarted: It runs.
        """
        check_alive()
        forbid_loop("Application.run", "asyncio.to_thread(application.run)")
        self.start_error = None
        inbox: SimpleQueue[Happening] = SimpleQueue()
        life = Life(self.tree)
        with _signals_to(inbox):
            process.spawn(self._start_and_tell, life, inbox)
            try:
                return self._serve(life, inbox)
            finally:
                life.leave_company()

    def _end(self) -> Future[object]:
        if self._life is None:
            raise RuntimeError(f"application {self.name} was not started")
        if not self._life.is_here:
            raise StalePid(f"application {self.name}")
        return self._life.ended

    def _made_job(self) -> Any:
        with self._making_job:
            if self._job is None and self.tree.job is not None:
                keywords = cast("Mapping[str, Any]", self.tree.job.args)
                self._job = self.tree.job.start.target(**keywords)
            return self._job

    def _start(self, life: Life) -> Pid:
        # A second start waits for the first one and then is refused.
        with self._starting:
            if self.root is not None and self.root.alive:
                raise AlreadyStarted(self.root)
            self._made_job()
            life.company = Company(self)
            self._life = life
            try:
                root = life.start()
            except BaseException:
                life.leave_company()
                raise
        life.ended.add_done_callback(life.company.end)
        at_exit(root)
        return root

    def _start_and_tell(self, life: Life, inbox: SimpleQueue[Happening]) -> None:
        try:
            self._start(life)
        except BaseException as error:
            self.start_error = error
            inbox.put(StartFailed(error))
        else:
            inbox.put(Started())
            life.ended.add_done_callback(lambda ended: inbox.put(Ended(ended.result())))

    def _serve(self, life: Life, inbox: SimpleQueue[Happening]) -> int:
        started = False
        signalled: Signalled | None = None
        while True:
            happening = _next(inbox)
            match happening:
                case Started():
                    started = True
                    logger.info("application %s runs", self.name)
                    if signalled is not None:
                        process.spawn(life.stop, "shutdown", None)
                case Signalled(number, at) if signalled is not None:
                    if at - signalled.at < (_SAME_HANGUP if number in _HANGUP else _SAME_SIGNAL):
                        continue
                    logger.warning("application %s stops at once", self.name)
                    life.kill()
                    return 128 + number
                case Signalled():
                    signalled = happening
                    logger.info("application %s stops", self.name)
                    if started:
                        process.spawn(life.stop, "shutdown", None)
                case StartFailed(error):
                    if isinstance(error, AlreadyStarted):
                        raise error
                    why = self._why_not(error)
                    logger.error("application %s did not start: %s", self.name, why, exc_info=_trace(error))
                    return 1
                case Ended(reason):
                    return 0 if signalled is not None else self._status(life, reason)
                case _:
                    assert_never(happening)

    def _why_not(self, error: BaseException) -> str:
        """Why it did not start, in front of that the place in the file of the child on which it depends."""
        reason = error.reason if type(error) is StartError else Crash(error)
        path, _ = failed_start(reason)
        told = in_words(reason).partition("\n")[0]
        return f"{self.tree.place(path)}: {told}" if path else told

    def _status(self, life: Life, reason: object) -> int:
        """The exit status for an end that nobody asked for."""
        lost = life.unrecovered.events()
        for event in lost:
            text = "application %s ended: supervisor %s gave up: %s, last of %r: %s"
            why = in_words(event.reason)
            logger.error(text, self.name, event.supervisor, event.cause, event.id, why)
        if not is_orderly(reason):
            why = in_words(reason)
            logger.error("application %s ended: its root supervisor ended with %s", self.name, why)
        return 0 if is_orderly(reason) and not lost else 1


def _elsewhere(fn: Callable[..., T], *args: Any) -> Future[T]:
    """Call a function that waits in a process of its own; to be awaited."""
    answer: Future[T] = Future()

    def call() -> None:
        try:
            answer.try_set(fn(*args))
        except BaseException as error:
            answer.try_set_exception(error)
            if not isinstance(error, Exception):
                raise

    process.spawn(call)
    return answer


@contextmanager
def _signals_to(inbox: SimpleQueue[Happening]) -> Iterator[None]:
    """Has the signals that stop come as happenings, in the main thread; puts the handlers of before back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: object) -> None:
        # May interrupt anything, the drain of somebody's mailbox included; a SimpleQueue takes that.
        inbox.put(Signalled(number, time.monotonic()))

    ignored = [number for number in _HANGUP if signal.getsignal(number) is signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS if number not in ignored}
    before.update((number, signal.signal(number, _show)) for number in _SHOW)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


def _next(inbox: SimpleQueue[Happening]) -> Happening:
    """Waits for what happens next."""
    while True:
        try:
            return inbox.get(timeout=_LOOK)
        except Empty:
            # A signal that another thread got, or that came just before the wait, does not end the wait.
            continue


def _show(number: int, frame: FrameType | None) -> None:
    """Shows what everybody is doing, whatever hangs: this asks nobody and takes no lock."""
    dump_processes(frame)


def _trace(error: BaseException) -> BaseException | None:
    """What went wrong with a traceback, unless the crash report of a process has told it."""
    return None if isinstance(error, (StartError, CallTimeout)) else error
