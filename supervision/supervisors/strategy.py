"""What a supervisor decides: which children are stopped and started when one of them has ended.

A pure core: no threads, no clock, no messages. It keeps the child table and answers each thing that happens
with the effects that the supervisor's process has to carry out, in order. What comes of them it is told again
(`started`, `ignored`, `stopped`, `start_failed`).

Semantics: OTP supervisor(3) for static children; Elixir's DynamicSupervisor for dynamic ones (`keeps=False`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs
from typing_extensions import assert_never

from ...actors import Backoff, ChildSpec, RestartType
from .children import Child, ChildTable, new_child
from .options import AutoShutdown, Strategy
from .restart_intensity import RestartWindow

if TYPE_CHECKING:
    from ...actors import Pid


@attrs.frozen
class Restart:
    """Stop the children of `stop`, then start those of `start`, both in the order given."""

    child: Child
    stop: tuple[Child, ...]
    start: tuple[Child, ...]


@attrs.frozen
class Wait:
    """Stop the children of `stop`; after `delay` seconds say `due(child.key, token)`."""

    child: Child
    stop: tuple[Child, ...]
    token: int
    delay: float


@attrs.frozen
class TryAgain:
    """Say `retry(child.key)` after everything that is in the mailbox already."""

    child: Child


@attrs.frozen
class GiveUp:
    """Stop everything and exit: there were too many restarts, or none can succeed (`in_vain`)."""

    child: Child
    window: RestartWindow
    in_vain: bool = False


@attrs.frozen
class Abandon:
    """Nothing to do, but worth telling: the child has spent its own budget, or no restart of it can succeed
    (`in_vain`), and it stays down.
    """

    child: Child
    window: RestartWindow
    in_vain: bool = False


@attrs.frozen
class ShutDown:
    """Stop everything and exit with `"shutdown"`: a significant child has ended."""

    child: Child


Effect: TypeAlias = "Restart | Wait | TryAgain | GiveUp | Abandon | ShutDown"
Effects: TypeAlias = "tuple[Effect, ...]"


def wants_restart(restart: RestartType, orderly: bool) -> bool:
    """Whether a child that ended by itself is started again.

    Args:
        restart: The restart type of its spec.
        orderly: Whether it ended with `"normal"`, `"shutdown"` or `Shutdown(...)`.
    """
    match restart:
        case "permanent":
            return True
        case "transient":
            return not orderly
        case "temporary":
            return False
    assert_never(restart)


def _no_chance() -> float:
    return 0.0


class Siblings:
    """The children of one supervisor and the rules that they live by.

    Not for anything but a supervisor's own process: it is changed in place.

    Args:
        strategy: Who is restarted with a crashed child.
        window: The restart intensity of the supervisor.
        auto_shutdown: Which ends of significant children end it.
        keeps: Whether a child that is not started again stays listed (it does under a static supervisor).
        chance: Gives numbers from 0 to 1 for the jitter of waits.
    """

    __slots__ = ("_chance", "auto_shutdown", "keeps", "strategy", "table", "window")

    def __init__(
        self,
        strategy: Strategy,
        window: RestartWindow,
        *,
        auto_shutdown: AutoShutdown = "never",
        keeps: bool = True,
        chance: Callable[[], float] = _no_chance,
    ) -> None:
        self.strategy = strategy
        self.window = window
        self.auto_shutdown = auto_shutdown
        self.keeps = keeps
        self.table = ChildTable()
        self._chance = chance

    def __repr__(self) -> str:
        restarts = f"{len(self.window)} restarts in the window"
        return f"<Siblings {self.strategy}, {len(self.table)} children, {restarts}>"

    # What has happened ----------------------------------------------------------------------------

    def add(self, key: Hashable, spec: ChildSpec) -> Child:
        """A new child is listed, last in start order and down."""
        child = new_child(key, spec)
        self.table.add(child)
        return child

    def started(self, child: Child, pid: Pid, now: float) -> None:
        """The child runs as `pid`."""
        self.table.set_running(child, pid, now)

    def ignored(self, child: Child) -> None:
        """The child's start said that there is no process and that this is fine."""
        self._ended(child)

    def stopped(self, child: Child) -> None:
        """The supervisor has stopped the child, or the child was down already."""
        if child.spec.restart == "temporary":
            self.table.forget(child)
        else:
            self.table.set_down(child)

    def exited(self, pid: Pid, orderly: bool, now: float) -> Effects:
        """A linked process has ended.

        Exits of processes that the supervisor has stopped or replaced meanwhile mean nothing.
        """
        child = self.table.by_pid(pid)
        if child is None or child.state != "running":
            return ()
        if wants_restart(child.spec.restart, orderly):
            return self._restart(child, now)
        self._ended(child)
        return self._auto_shutdown(child)

    def start_failed(
        self, child: Child, unstarted: Sequence[Child], now: float, *, in_vain: bool = False
    ) -> Effects:
        """The child's start, as a part of a restart, has failed; the ones after it stay down for now.

        Args:
            in_vain: No later start can succeed either, so there is none, whatever is left of its budget.
        """
        for other in unstarted:
            self.table.set_down(other)
        if in_vain:
            return self._give_up(child, in_vain=True)
        if child.spec.backoff is not None:
            return self._restart(child, now)
        child.state = "restarting"
        return (TryAgain(child),)

    def retry(self, key: Hashable, now: float) -> Effects:
        """A failed restart is tried again, unless another restart has dealt with the child meanwhile."""
        child = self.table.get(key)
        if child is None or child.state != "restarting":
            return ()
        return self._restart(child, now)

    def due(self, key: Hashable, token: int) -> Effects:
        """A wait is over, unless another restart or a request has dealt with the child meanwhile."""
        child = self.table.get(key)
        if child is None or child.state != "backing_off" or child.token != token:
            return ()
        return (self._procedure(child),)

    # Rules ----------------------------------------------------------------------------------------

    def _ended(self, child: Child) -> None:
        if self.keeps and child.spec.restart != "temporary":
            self.table.set_down(child)
        else:
            self.table.forget(child)

    def _restart(self, child: Child, now: float) -> Effects:
        """Counts first, as OTP does; a child with a budget of its own leaves the supervisor's alone."""
        window = self.window if child.window is None else child.window
        if not window.add(now):
            return self._give_up(child)
        child.restarts += 1
        if child.spec.backoff is not None:
            return (self._wait(child, child.spec.backoff, now),)
        return (self._procedure(child),)

    def _give_up(self, child: Child, *, in_vain: bool = False) -> Effects:
        self._ended(child)
        if child.window is not None and child.spec.on_exhausted == "give_up":
            return (Abandon(child, child.window, in_vain), *self._auto_shutdown(child))
        return (GiveUp(child, self.window if child.window is None else child.window, in_vain),)

    def _wait(self, child: Child, backoff: Backoff, now: float) -> Wait:
        if child.state == "running" and now - child.started_at >= backoff.forgiven_after:
            child.attempt = 0
        delay = backoff.delay(child.attempt, self._chance())
        child.attempt += 1
        child.token += 1
        child.state = "backing_off"
        return Wait(child, self._others_to_stop(child), child.token, delay)

    def _procedure(self, child: Child) -> Restart:
        child.state = "restarting"
        stop = self._others_to_stop(child)
        start = tuple(each for each in self._concerned(child) if each.spec.restart != "temporary")
        return Restart(child, stop, start)

    def _others_to_stop(self, child: Child) -> tuple[Child, ...]:
        return tuple(each for each in reversed(self._concerned(child)) if each is not child)

    def _concerned(self, child: Child) -> Sequence[Child]:
        """Whom a restart of the child takes along, itself included, in start order."""
        match self.strategy:
            case "one_for_one":
                return (child,)
            case "rest_for_one":
                return self.table.from_child(child)
            case "one_for_all":
                return self.table.snapshot()
        assert_never(self.strategy)

    def _auto_shutdown(self, child: Child) -> Effects:
        if not child.spec.significant or self.auto_shutdown == "never":
            return ()
        if self.auto_shutdown == "all_significant" and any(
            other.spec.significant and other.state != "down" for other in self.table
        ):
            return ()
        return (ShutDown(child),)
