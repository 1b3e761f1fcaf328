"""A region of a test's own: what is started inside ends with it, in order; what is outside goes on."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, TypeVar, get_args

from .. import throttle
from ..actors import CrashReport, LockNotFound, Pid, ResproutError, forbid_loop, need_loop
from ..actors.engine import Snapshot, check_alive, kernel
from ..registry import Registry, UnknownRegistry
from . import waits
from .ending import End, Leak
from .history import History, histories
from .manual_clock import ManualClock
from .own_supervisor import OwnSupervisor

Leaks = Literal["error", "ignore"]
F = TypeVar("F", bound=Callable[..., Any])
PATIENCE: Final = 5.0


class LeakError(ResproutError, AssertionError):
    """A test has left behind what it neither stopped nor gave to `start_supervised`.

    Attributes:
        leaks: What that was, one text each, with its name.
    """

    def __init__(self, leaks: Sequence[str]) -> None:
        # The first line is all that a summary shows.
        first = ", ".join(each.split(", ")[0] for each in leaks[:3]) + (" and more" if len(leaks) > 3 else "")
        super().__init__(
            f"left behind: {first}\n"
            "It has been ended now; stop it in the test, or start it by start_supervised:\n"
            + "\n".join(f"  - {each}" for each in leaks)
        )
        self.leaks = tuple(leaks)


class Region:
    """What is open between the beginning and the end of `isolated()`; also the value of the fixture.

    The functions of `resprout.testing` are its methods, too, since a fixture called `resprout` hides the
    module.
    """

    crash = staticmethod(waits.crash)
    await_down = staticmethod(waits.await_down)
    aawait_down = staticmethod(waits.aawait_down)
    await_restart = staticmethod(waits.await_restart)
    aawait_restart = staticmethod(waits.aawait_restart)
    eventually = staticmethod(waits.eventually)
    aeventually = staticmethod(waits.aeventually)

    def __init__(self, leaks: Leaks, timeout: float) -> None:
        self._leaks = leaks
        self._timeout = timeout
        self._history = History()
        self._own = OwnSupervisor()
        self._clock: ManualClock | None = None
        self._locks = set(throttle.locks())
        self._registries = set(Registry.registries())
        self._before_clock = kernel.clock
        self._snapshot = Snapshot()
        self._history.listen()
        histories.append(self._history)
        _open.append(self)

    @property
    def crashes(self) -> tuple[CrashReport, ...]:
        """The reports of the crashes so far, the oldest first."""
        return tuple(self._history.crashes)

    @property
    def supervisor(self) -> Pid | None:
        """The supervisor of what `start_supervised` has started; None before the first."""
        return self._own.pid

    def clock(self) -> ManualClock:
        """A `ManualClock`, which holds from now on, until the end of the region."""
        check_alive()
        self._clock = ManualClock()
        return self._clock

    def start_supervised(self, spec: Any) -> Pid | None:
        """Starts a child under a supervisor of the region's own.

        It is restarted as its spec says. At the end of the region (under pytest: when the test function is
        through, before its other fixtures end) the children are stopped in the reverse order of their starts,
        each in its shutdown time.

        In an event loop it blocks that until the child has started; `astart_supervised` does not.

        Args:
            spec: Whatever a supervisor takes: a ChildSpec, a class, `(class, arg)`, a dict.

        Returns:
            Its process; None if its `init` gave IGNORE.

        Raises:
            StartError: It did not start.
            AlreadyStarted: There is a child of that id.

        Semantics: ExUnit.Callbacks.start_supervised!/2.
        """
        check_alive()
        return self._own.start(spec)

    async def astart_supervised(self, spec: Any) -> Pid | None:
        """The form of `start_supervised` for coroutines."""
        check_alive()
        return await self._own.astart(spec)

    def stop_supervised(self, child: Any) -> None:
        """Stops a child before the end, and forgets its spec.

        Args:
            child: Its id or its Pid.

        Raises:
            NotFound: There is no such child.

        Semantics: ExUnit.Callbacks.stop_supervised!/1.
        """
        check_alive()
        self._own.stop(child)

    def stop_children(self) -> None:
        """Stops all that `start_supervised` has started, the newest first; the rest goes on."""
        self._own.end(time.monotonic() + self._timeout)

    # The end --------------------------------------------------------------------------------------

    def _close(self) -> None:
        self._snapshot.prepare_end()
        try:
            leaks = self._end_all()
        finally:
            self._leave()
        self._complain(leaks)

    async def _aclose(self) -> None:
        self._snapshot.prepare_end()
        try:
            leaks = await asyncio.to_thread(self._end_all)
        finally:
            self._leave()
        self._complain(leaks)

    def _end_all(self) -> list[Leak]:
        self.stop_children()
        end = End(self._snapshot, time.monotonic() + self._timeout)
        end.look(self._new_locks)
        end.stop()
        self._forget()
        end.await_stragglers()
        return end.leaks

    def _new_locks(self) -> list[str]:
        return [name for name in throttle.locks() if name not in self._locks]

    def _forget(self) -> None:
        for name in self._new_locks():
            try:
                throttle.stop_lock(name)
            except LockNotFound:
                pass
        for name in Registry.registries():
            if name not in self._registries:
                # Its process was killed, and has left its table for a next one.
                try:
                    Registry.stop(name)
                except UnknownRegistry:
                    pass
        self._snapshot.forget()
        if kernel.clock is not self._before_clock:
            clock, kernel.clock = kernel.clock, self._before_clock
            let_go = getattr(clock, "let_go", None)
            if let_go is not None:
                let_go()

    def _leave(self) -> None:
        self._history.close()
        if self in _open:
            _open.remove(self)
            histories.remove(self._history)
        self._snapshot.restore()

    def _complain(self, leaks: list[Leak]) -> None:
        texts = [str(each) for each in leaks]
        if self._snapshot.unmet is not None:
            texts.append(
                f"an exit signal to the test itself, which it has not met: {self._snapshot.unmet!r} (from a "
                "process linked to it; monitor that instead, or start it by start_supervised)"
            )
        if texts and self._leaks == "error":
            raise LeakError(texts)


_open: list[Region] = []


class isolated:  # noqa: N801  # used as a function
    """A runtime of one's own for a block of code: with nothing in it at the beginning, and nothing left at
    the end.

    At the end what was started inside is stopped: first the children of `start_supervised`, then what was
    neither stopped nor given to that, the newest tree first, each in order; what has not ended in time is
    killed. Names, locks, registries, telemetry handlers, timers and a manual clock of the block are gone
    afterwards. The thread is another process inside, with a mailbox, links and flags of its own, and again
    the former one afterwards. What was there before, with all that it starts meanwhile, is left alone.

    As a context manager, for `enterContext` of unittest, or as a decorator of functions and coroutine
    functions (for each call a region of its own). In coroutines: `async with`.

    Args:
        leaks: `"error"`: what was left behind is raised as a `LeakError` at the end, unless the block has
            raised itself. `"ignore"`: it is stopped all the same.
        timeout: Seconds that all have to stop; then what is left is killed.

    Yields:
        The `Region`.

    Raises:
        LeakError: At the end.
        BlockingInLoop: `with` in an event loop, which the end would block.
    """

    def __init__(self, *, leaks: Leaks = "error", timeout: float = PATIENCE) -> None:
        check_alive()
        if leaks not in get_args(Leaks):
            raise ValueError(f"expected leaks to be 'error' or 'ignore', got: {leaks!r}")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
            raise ValueError(f"expected timeout to be at least 0 seconds, got: {timeout!r}")
        self._leaks: Leaks = leaks
        self._timeout = timeout
        self._region: Region | None = None

    def _begin(self) -> Region:
        if self._region is not None:
            raise RuntimeError("expected a new isolated() for each block, got: one that is open")
        self._region = Region(self._leaks, self._timeout)
        return self._region

    def _taken(self) -> Region:
        region, self._region = self._region, None
        if region is None:
            raise RuntimeError("expected a block of isolated() to be open, got: one that has ended")
        return region

    def __enter__(self) -> Region:
        check_alive()
        forbid_loop("with isolated()", "async with isolated(): ...")
        return self._begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._taken()._close()
        except LeakError as leak:
            if error is None:
                raise
            _add_note(error, str(leak))

    async def __aenter__(self) -> Region:
        check_alive()
        need_loop("async with isolated()")
        return self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._taken()._aclose()
        except LeakError as leak:
            if error is None:
                raise
            _add_note(error, str(leak))

    def __call__(self, function: F) -> F:
        check_alive()
        leaks, timeout = self._leaks, self._timeout
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def arun(*args: Any, **kwargs: Any) -> Any:
                async with isolated(leaks=leaks, timeout=timeout):
                    return await function(*args, **kwargs)

            return arun  # type: ignore[return-value]  # it is called like it

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with isolated(leaks=leaks, timeout=timeout):
                return function(*args, **kwargs)

        return run  # type: ignore[return-value]  # it is called like it


def _add_note(error: BaseException, text: str) -> None:
    # Python 3.10 has no notes.
    add = getattr(error, "add_note", None)
    if add is not None:
        add(text)


def start_supervised(spec: Any) -> Pid | None:
    """Starts a child in the innermost open region; see `Region.start_supervised`.

    Raises:
        RuntimeError: None is open.
    """
    check_alive()
    return _innermost().start_supervised(spec)


def stop_supervised(child: Any) -> None:
    """Stops a child of the innermost open region; see `Region.stop_supervised`.

    Raises:
        RuntimeError: None is open.
    """
    check_alive()
    _innermost().stop_supervised(child)


def _innermost() -> Region:
    if not _open:
        raise RuntimeError(
            "expected to be inside `with testing.isolated()`, or in a test that uses the fixture `resprout`"
        )
    return _open[-1]
