"""The process of a supervisor with static children."""

from __future__ import annotations

import random
from typing import Any

from typing_extensions import assert_never

from ...actors import AlreadyPresent, AlreadyStarted, Ok, Running, Shutdown, SpecError, Stop
from .children import Child
from .options import SupervisorSpec, check_significance
from .restart_intensity import RestartWindow
from .server import SupervisorServer, child_info
from .starting import Failed
from .strategy import Siblings
from .values import (
    CountChildren,
    DeleteChild,
    FailedToStartChild,
    GetChildSpec,
    Refused,
    Request,
    RestartChild,
    Restarting,
    StartChild,
    TerminateChild,
    WhichChildren,
)


class StaticServer(SupervisorServer):
    """Static children: listed by id, started in order, stopped in reverse order, one by one."""

    _use = "the functions of Supervisor (which_children, start_child, ...)"

    def begin(self, spec: Any) -> Ok | Stop:
        """Starts the children in order; if one fails, stops those before it in reverse order."""
        if not isinstance(spec, SupervisorSpec):
            problem = f"expected init to return Supervisor.init_spec(...) or IGNORE, got: {spec!r}"
            raise SpecError(self.origin.module.__name__, "init", problem)
        window = RestartWindow(spec.max_restarts, spec.max_seconds)
        self.siblings = siblings = Siblings(
            spec.strategy, window, auto_shutdown=spec.auto_shutdown, chance=random.random
        )
        for child_spec in spec.children:
            siblings.add(child_spec.id, child_spec)
        for child in siblings.table.snapshot():
            outcome = self.start_process(child)
            if isinstance(outcome, Failed):
                self.reporter.child_failed("did not start", child.spec.id, outcome.reason, 0)
                self.stop_children(reversed(siblings.table.snapshot()))
                return Stop(Shutdown(FailedToStartChild(child.spec.id, outcome.reason)))
        return Ok(siblings)

    def terminate(self, reason: object, state: Siblings) -> None:
        """Stops the children in reverse start order, one by one."""
        self.ending = True
        order = list(reversed(state.table))
        self._tell_shutting_down(reason, order)
        self.stop_children(order, drain=True, reason=reason)

    def answer(self, request: Request, siblings: Siblings) -> Any:
        """Answers a request; what can't be met is answered with `Refused`."""
        match request:
            case StartChild(spec):
                return self._start(spec)
            case TerminateChild(id):
                return self._terminate(id)
            case RestartChild(id):
                return self._start_again(id)
            case DeleteChild(id):
                return self._delete(id)
            case GetChildSpec(id):
                child = siblings.table.get(id)
                return self.not_found(id) if child is None else child.spec
            case WhichChildren():
                return [child_info(child.spec.id, child) for child in siblings.table]
            case CountChildren():
                return self.counts()
        assert_never(request)

    def _running(self, child: Child) -> Refused | None:
        """Refuses what can only be done to a child that is down."""
        match child.state:
            case "running":
                return Refused(Running(f"child {child.key!r} of supervisor {self.pid} is running"))
            case "restarting" | "backing_off":
                return Refused(Restarting(f"child {child.key!r} of supervisor {self.pid} is restarting"))
            case "down":
                return None
        assert_never(child.state)

    def _start(self, spec: Any) -> Any:
        try:
            check_significance(spec, self.siblings.auto_shutdown)
        except SpecError as error:
            return Refused(error)
        known = self.siblings.table.get(spec.id)
        if known is not None:
            if known.state == "running" and known.pid is not None:
                return Refused(AlreadyStarted(known.pid))
            return Refused(
                AlreadyPresent(f"supervisor {self.pid} lists child {spec.id!r}, which does not run")
            )
        return self.start_new(spec.id, spec)

    def _start_again(self, id: Any) -> Any:
        child = self.siblings.table.get(id)
        if child is None:
            return self.not_found(id)
        return self._running(child) or self.start_listed(child)

    def _terminate(self, id: Any) -> Any:
        child = self.siblings.table.get(id)
        if child is None:
            return self.not_found(id)
        self.end_for_good(child)
        return None

    def _delete(self, id: Any) -> Any:
        child = self.siblings.table.get(id)
        if child is None:
            return self.not_found(id)
        refused = self._running(child)
        if refused is None:
            self.siblings.table.forget(child)
        return refused
