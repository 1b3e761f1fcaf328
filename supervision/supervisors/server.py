"""The process of a supervisor: receives, asks the core what to do, and does it.

It traps exits, so that the exits of its children are messages to it, and it may block: while it starts or
stops a child it does nothing else, as in OTP.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from typing_extensions import assert_never

from ...actors import (
    BRUTAL_KILL,
    IGNORE,
    INFINITY,
    ChildSpec,
    Exited,
    GenServer,
    NoReply,
    NotFound,
    Ok,
    Pid,
    Reply,
    ShutdownTime,
    Stop,
    at_exit,
    is_orderly,
    process,
)
from ...actors.engine import (
    LOOP_CLOSED,
    LibraryServer,
    closing,
    home_of,
    is_loop_closed,
    kernel,
    watch_running_loop,
    without_arguments,
)
from . import events, readiness, starting, stopping
from .children import Child
from .reports import Reporter
from .strategy import Abandon, Effect, Effects, GiveUp, Restart, ShutDown, Siblings, TryAgain, Wait
from .values import REQUESTS, ChildInfo, Counts, EndWait, Refused, Request, RetryRestart, loop_is_gone


@attrs.frozen
class Origin:
    """Where a supervisor comes from.

    Attributes:
        module: The class whose `init` says what it is.
        arg: What that is called with.
        spec: What it is, if that is known without calling `init`.
        ancestors: The supervisors above it, the topmost first.
    """

    module: type
    arg: Any
    spec: Any = None
    ancestors: tuple[Origin, ...] = ()


class SupervisorServer(LibraryServer):
    """What static and dynamic supervisors share. The state of the server is its `Siblings`."""

    trap_exit = True
    blocking = True
    _what = "a supervisor"

    origin: Origin
    siblings: Siblings
    extra_arguments: tuple[Any, ...] = ()
    reporter: Reporter
    ending: bool = False
    """It is on its way out, with all its children; whoever is above may start it again."""
    begins: Child | None = None
    """The child whose start it waits for this moment."""
    ends_for_good: Pid | None = None
    """The child that it stops and will not start again by itself."""

    @classmethod
    def of(cls, module: type) -> type[SupervisorServer]:
        """This class by the name of the module that it runs, which people then see in logs and Pids."""
        made: type[SupervisorServer] | None = module.__dict__.get("_server")
        if made is None:
            # Kept on the module, so that it goes with it. Two threads may both come here: one class too many.
            made = type(module.__name__, (cls,), {})
            module._server = made  # type: ignore[attr-defined]
        return made

    @classmethod
    def launch(cls, origin: Origin, *, name: Any = None, timeout: float | None = None) -> Any:
        """Starts a supervisor, linked to the current process."""
        return stopped_at_exit(cls.of(origin.module).start_link(origin, name=name, timeout=timeout))

    @classmethod
    async def alaunch(cls, origin: Origin, *, name: Any = None, timeout: float | None = None) -> Any:
        """The form of `launch` for coroutines."""
        watch_running_loop()
        made = await cls.of(origin.module).astart_link(origin, name=name, timeout=timeout)
        return stopped_at_exit(made)

    def init(self, arg: Origin) -> Any:
        """Finds out what this supervisor is, and begins to be that."""
        self.origin = arg
        self.reporter = Reporter(self.pid)
        spec = arg.module().init(arg.arg) if arg.spec is None else arg.spec
        return IGNORE if spec is IGNORE else self.begin(spec)

    def begin(self, spec: Any) -> Ok | Stop:
        """Builds the siblings, and starts the children that are there from the beginning."""
        raise NotImplementedError

    def answer(self, request: Request, siblings: Siblings) -> Any:
        """What a request is answered with; `Refused` if it can't be met."""
        raise NotImplementedError

    # Messages -------------------------------------------------------------------------------------

    def handle_call(self, message: Any, from_: Any, state: Siblings) -> Any:
        """Answers requests; whatever else is called is refused, and the children never notice."""
        if isinstance(message, REQUESTS):
            return Reply(self.answer(message, state), state)
        return super().handle_call(message, from_, state)

    def handle_info(self, message: Any, state: Siblings) -> Any:
        """Takes the exits of children and the ends of waits; anything else is a stray."""
        match message:
            case Exited(pid) if isinstance(pid, Pid) and pid.dead:
                return self._child_exited(message, state)
            case EndWait(key, token):
                return self._carry_out(state.due(key, token), "restart")
            case _:
                # An exit signal of somebody who lives, too: a child that sent it would else run twice.
                return super().handle_info(message, state)

    def handle_cast(self, message: Any, state: Siblings) -> Any:
        """Takes what the supervisor has told itself."""
        match message:
            case RetryRestart(key):
                return self._carry_out(state.retry(key, kernel.clock.now()), "restart failed")
            case _:
                return super().handle_cast(message, state)

    def _child_exited(self, message: Exited, state: Siblings) -> NoReply | Stop:
        # Of one whose start function links nobody, and that has ended before it was linked, the signal says
        # "noproc"; how an actor of Pykka's ended nobody knows.
        reason = message.reason if message.pid.kind == "pykka" else message.pid.exit_reason
        child = state.table.by_pid(message.pid)
        if child is None or child.state != "running":
            return NoReply(state)
        if events.wanted(events.ChildExited):
            events.emit(events.ChildExited(self.pid, child.spec.id, message.pid, reason, stopped=False))
        orderly = is_orderly(reason)
        if not orderly:
            self.reporter.child_failed("exited", child.spec.id, reason, child.restarts)
        effects = state.exited(message.pid, orderly, kernel.clock.now())
        self._tell_given_up(child, effects)
        return self._carry_out(effects, reason)

    def _tell_given_up(self, child: Child, effects: Effects) -> None:
        # One that is abandoned is told of with that; of one that ends its supervisor there is nobody to tell.
        special = any(isinstance(effect, (Abandon, GiveUp, ShutDown)) for effect in effects)
        if child.state == "down" and not special:
            starting.give_up_child(child.spec, self.extra_arguments, child.last)

    # Effects --------------------------------------------------------------------------------------

    def _carry_out(self, effects: Effects, reason: object) -> NoReply | Stop:
        to_do: deque[Effect] = deque(effects)
        while to_do:
            effect = to_do.popleft()
            match effect:
                case Restart():
                    to_do.extend(self._restart(effect))
                case Wait():
                    self._announce(effect.child, effect.delay, effect.stop)
                    self.stop_children(effect.stop)
                    process.send_after(self.pid, EndWait(effect.child.key, effect.token), effect.delay)
                case TryAgain(child):
                    GenServer.cast(self.pid, RetryRestart(child.key))
                case Abandon(child):
                    starting.give_up_child(child.spec, self.extra_arguments, child.last)
                    self._tell_gave_up(self._gave_up(effect, reason, "child"))
                case GiveUp():
                    self._tell_gave_up(self._gave_up(effect, reason, "supervisor"))
                    return Stop(LOOP_CLOSED if effect.in_vain else "shutdown", self.siblings)
                case ShutDown():
                    return Stop("shutdown", self.siblings)
                case _:
                    assert_never(effect)
        return NoReply(self.siblings)

    def _restart(self, effect: Restart) -> Effects:
        self._announce(effect.child, 0.0, effect.stop)
        former = [child.pid for child in (*effect.stop, *effect.start) if child.pid is not None]
        self.stop_children(effect.stop)
        stopping.await_what_is_closed(former)
        for place, child in enumerate(effect.start):
            outcome = self.start_process(child)
            if isinstance(outcome, starting.Failed):
                self.reporter.child_failed(
                    "did not start again", child.spec.id, outcome.reason, child.restarts
                )
                return self.siblings.start_failed(
                    child,
                    effect.start[place + 1 :],
                    kernel.clock.now(),
                    in_vain=self._is_in_vain(child, outcome.reason),
                )
        return ()

    def _is_in_vain(self, child: Child, reason: object) -> bool:
        """Whether no start can succeed any more: the loop is gone on which the child, or all here, lives."""
        loops = [home_of(self.pid), getattr(child.last, "loop", None)]
        gone = [loop for loop in loops if loop is not None and (loop.is_closed() or closing(loop))]
        return bool(gone) and loop_is_gone(reason)

    def start_process(self, child: Child) -> starting.Outcome:
        """Starts a listed child and notes what came of it, unless it failed."""
        self.begins = child
        outcome = starting.start_child(child.spec, self.extra_arguments)
        if isinstance(outcome, starting.Started) and child.spec.ready_timeout is not None:
            outcome = readiness.await_ready(outcome, child.spec, child.spec.ready_timeout)
        self.begins = None
        match outcome:
            case starting.Started(pid):
                stopping.limit_closing_of(pid, child.spec.shutdown)
                if self.siblings.table.by_pid(pid) not in (None, child):
                    return starting.odd_result(child.spec, pid)
                child.last = pid
                if child.spec.restart == "temporary":
                    # Nobody starts it again, and it may live for long.
                    child.spec = without_arguments(child.spec)
                self.siblings.started(child, pid, kernel.clock.now())
                if events.wanted(events.ChildStarted):
                    events.emit(events.ChildStarted(self.pid, child.spec.id, pid, child.restarts))
            case starting.Ignored():
                self.siblings.ignored(child)
            case starting.Failed():
                pass
            case _:
                assert_never(outcome)
        return outcome

    def stop_children(
        self, children: Iterable[Child], *, drain: bool = False, reason: object = "shutdown"
    ) -> None:
        """Stops children one by one, in the order given, and notes it.

        Args:
            drain: They are stopped for good, or with this supervisor: what they do for others may end first.
            reason: What this supervisor ends with, if it does.
        """
        for child in children:
            if child.state == "running" and child.pid is not None:
                if drain:
                    starting.drain_child(child.spec, child.pid, seconds_of(child.spec.shutdown))
                self._tell_stopped(child, stopping.stop(child.pid, child.spec.shutdown, told_with(reason)))
            self.siblings.stopped(child)

    def stop_at_once(self, children: Iterable[Child], reason: object = "shutdown") -> None:
        """Tells all children to stop, then waits for them all, and notes it."""
        running = {
            child.pid: child for child in children if child.state == "running" and child.pid is not None
        }
        began = time.monotonic()
        for pid, child in running.items():
            seconds = seconds_of(child.spec.shutdown)
            left = None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
            starting.drain_child(child.spec, pid, left)
        each = [(pid, child.spec.shutdown) for pid, child in running.items()]
        for done in stopping.stop_all(each, told_with(reason)):
            self._tell_stopped(running[done.pid], done)

    # Events and reports ---------------------------------------------------------------------------

    def _announce(self, child: Child, delay: float, stop: Sequence[Child]) -> None:
        if events.wanted(events.ChildRestarting):
            others = tuple(each.spec.id for each in stop if each.state == "running")
            events.emit(events.ChildRestarting(self.pid, child.spec.id, child.restarts, delay, others))

    def _gave_up(self, effect: GiveUp | Abandon, reason: object, scope: str) -> events.GaveUp:
        id, window = effect.child.spec.id, effect.window
        reason = LOOP_CLOSED if effect.in_vain else reason
        return events.GaveUp(
            self.pid, id, reason, window.max_restarts, window.max_seconds, scope, effect.in_vain
        )

    def _tell_gave_up(self, event: events.GaveUp) -> None:
        events.emit(event)
        self.reporter.gave_up(event)

    def _tell_stopped(self, child: Child, done: stopping.Stopped) -> None:
        if events.wanted(events.ChildExited):
            events.emit(events.ChildExited(self.pid, child.spec.id, done.pid, done.reason, stopped=True))
        if done.overdue:
            event = events.WouldNotStop(self.pid, child.spec.id, done.pid, done.seconds, done.stack)
            events.emit(event)
            self.reporter.would_not_stop(event)

    def _tell_shutting_down(self, reason: object, children: Sequence[Child]) -> None:
        self.reporter.flush()
        if events.wanted(events.ShuttingDown):
            order = tuple(child.spec.id for child in children if child.state == "running")
            events.emit(events.ShuttingDown(self.pid, reason, order))

    # Answers --------------------------------------------------------------------------------------

    def start_new(self, key: Any, spec: ChildSpec) -> Any:
        """Lists a child and starts it, and returns what that is answered with; forgets one that fails."""
        child = self.siblings.add(key, spec)
        answer = self.start_listed(child)
        if isinstance(answer, Refused):
            self.siblings.table.forget(child)
        return answer

    def start_listed(self, child: Child) -> Any:
        """Starts a listed child, and returns what that is answered with."""
        outcome = self.start_process(child)
        match outcome:
            case starting.Started(pid):
                return pid
            case starting.Ignored():
                return None
            case starting.Failed():
                return Refused(outcome.error())
        assert_never(outcome)

    def end_for_good(self, child: Child) -> None:
        """Stops a child that is not started again by itself."""
        self.ends_for_good = child.last
        try:
            self.stop_children((child,), drain=True)
            if not self.siblings.keeps:
                self.siblings.table.forget(child)
            starting.give_up_child(child.spec, self.extra_arguments, child.last)
        finally:
            self.ends_for_good = None

    def not_found(self, child: Any) -> Refused:
        """What is answered when there is no such child."""
        return Refused(NotFound(f"supervisor {self.pid} has no child {child!r}"))

    def counts(self) -> Counts:
        """What `count_children` answers."""
        active = supervisors = 0
        for child in self.siblings.table:
            active += child.state == "running" and child.pid is not None and child.pid.alive
            supervisors += child.spec.type == "supervisor"
        specs = len(self.siblings.table)
        return Counts(specs, active, supervisors, specs - supervisors)


def stopped_at_exit(pid: Pid | None) -> Pid | None:
    """Has a supervisor that a thread has started stopped in order when the interpreter exits."""
    if pid is not None and pid.parent is not None and pid.parent.kind == "thread":
        at_exit(pid)
    return pid


def told_with(reason: object) -> object:
    """What a supervisor that ends with a reason tells its children: that, where their loop is closed."""
    return LOOP_CLOSED if is_loop_closed(reason) else "shutdown"


def seconds_of(shutdown: ShutdownTime) -> float | None:
    """A shutdown time as seconds; None for any number."""
    if shutdown is INFINITY:
        return None
    return 0.0 if shutdown is BRUTAL_KILL else float(shutdown)


def child_info(id: Any, child: Child) -> ChildInfo:
    """What `which_children` tells of a child."""
    match child.state:
        case "running":
            return ChildInfo(id, child.pid, child.spec.type)
        case "restarting" | "backing_off":
            return ChildInfo(id, child.state, child.spec.type)
        case "down":
            return ChildInfo(id, None, child.spec.type)
    assert_never(child.state)
