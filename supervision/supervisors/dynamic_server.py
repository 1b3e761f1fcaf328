"""The process of a supervisor of dynamic children."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from typing_extensions import assert_never

from ...actors import ChildSpec, MaxChildren, Ok, Shutdown, SpecError, Stop
from .options import DynamicSpec, refuse_significance
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
    StartChild,
    TerminateChild,
    WhichChildren,
)


class DynamicSupervisorServer(SupervisorServer):
    """Dynamic children: known by Pid, forgotten when they are not restarted, stopped all at once."""

    _use = "the functions of DynamicSupervisor (which_children, start_child, ...)"

    max_children: int | None
    numbers: Iterator[int]

    def begin(self, spec: Any) -> Ok | Stop:
        """Starts the children that are there from the beginning; if one fails, stops those before it."""
        if not isinstance(spec, DynamicSpec):
            problem = f"expected init to return DynamicSupervisor.init_spec(...) or IGNORE, got: {spec!r}"
            raise SpecError(self.origin.module.__name__, "init", problem)
        window = RestartWindow(spec.max_restarts, spec.max_seconds)
        self.siblings = Siblings(spec.strategy, window, keeps=False, chance=random.random)
        self.extra_arguments = spec.extra_arguments
        self.max_children = spec.max_children
        self.numbers = itertools.count(1)
        for child_spec in spec.children:
            child = self.siblings.add(next(self.numbers), child_spec)
            outcome = self.start_process(child)
            if isinstance(outcome, Failed):
                self.reporter.child_failed("did not start", child_spec.id, outcome.reason, 0)
                self.stop_at_once(self.siblings.table.snapshot())
                return Stop(Shutdown(FailedToStartChild(child_spec.id, outcome.reason)))
        return Ok(self.siblings)

    def terminate(self, reason: object, state: Siblings) -> None:
        """Tells all children to stop, then waits for them all, each with its own time."""
        self.ending = True
        children = state.table.snapshot()
        self._tell_shutting_down(reason, children)
        self.stop_at_once(children, reason)

    def answer(self, request: Request, siblings: Siblings) -> Any:
        """Answers a request; what can't be met is answered with `Refused`."""
        match request:
            case StartChild(spec):
                return self._start(spec)
            case TerminateChild(pid):
                return self._terminate(pid)
            case GetChildSpec(pid):
                child = siblings.table.by_pid(pid)
                return self.not_found(pid) if child is None else child.spec
            case WhichChildren():
                return [child_info(None, child) for child in siblings.table]
            case CountChildren():
                return self.counts()
            case RestartChild() | DeleteChild():
                problem = f"supervisor {self.pid} is dynamic: it lists no children that do not run"
                return Refused(TypeError(problem))
        assert_never(request)

    def _start(self, spec: ChildSpec) -> Any:
        try:
            refuse_significance(spec)
        except SpecError as error:
            return Refused(error)
        if self.max_children is not None and len(self.siblings.table) >= self.max_children:
            return Refused(MaxChildren(f"supervisor {self.pid} has {self.max_children} children already"))
        return self.start_new(next(self.numbers), spec)

    def _terminate(self, pid: Any) -> Any:
        child = self.siblings.table.by_pid(pid)
        if child is None:
            return self.not_found(pid)
        self.end_for_good(child)
        return None
