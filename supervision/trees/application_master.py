"""What a running application is: its root supervisor, and the process that answers for it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from ...actors import (
    INFINITY,
    Exited,
    Future,
    GenServer,
    Ok,
    Pid,
    ProcessExit,
    StartError,
    Stop,
    process,
    telemetry,
)
from ...actors.engine import LibraryServer
from ..supervisors.events import ChildExited, ChildStarted, GaveUp
from ..supervisors.stopping import stop
from ..supervisors.supervisor import Supervisor
from .companions import Company
from .tree_file import Tree
from .unrecovered import Unrecovered

_EVENTS: Final = ("resprout", "supervisor")
_following: dict[tuple[str, Life], None] = {}
"""The telemetry handlers of applications that run."""


class Life:
    """One life of a tree, from its start to its end.

    Args:
        tree: What to start.

    Attributes:
        root: The root supervisor, once all children have started.
        ended: Gets its exit reason when it has ended and all is cleaned up.
        unrecovered: The supervisors that gave up and were not started again so far.
        company: What accompanies it, from just before its start.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.master: Pid | None = None
        self.root: Pid | None = None
        self.ended: Future[object] = Future()
        self.unrecovered = Unrecovered()
        self.company: Company | None = None
        self._follower = ("resprout.application", self)
        self._os_pid = os.getpid()
        self._begun: Future[None] = Future()
        self._abandoned = False

    def start(self) -> Pid:
        """Starts the master, which starts the root.

        Raises:
            StartError: The tree did not start; what had started of it is stopped.
        """
        try:
            _following[self._follower] = None
            telemetry.attach(self._follower, _EVENTS, self.follow)
            ApplicationMaster.start(self)
        finally:
            if self.root is None:
                self.leave()
            self._begun.set(None)
        assert self.root is not None
        return self.root

    def may_begin(self, master: Pid) -> bool:
        """The master is there; returns False if nobody wants its tree any more."""
        self.master = master
        return not self._abandoned

    @property
    def is_here(self) -> bool:
        """Whether this very operating system process has started it, and is not a fork of that one."""
        return self._os_pid == os.getpid()

    def stop(self, reason: object, timeout: float | None) -> None:
        """Stops the root and waits until all is cleaned up; should it be starting, waits for that first."""
        if not self.is_here:
            return
        self._begun.result(timeout)
        if self.root is None:
            return
        try:
            GenServer.stop(self.root, reason, timeout)
        except ProcessExit:
            pass  # It ended by itself meanwhile, which is as good.
        self.ended.result(timeout)
        self.leave_company()

    def leave_company(self) -> None:
        """Ends what accompanies it, and waits a moment for that."""
        if self.company is not None:
            self.company.leave()

    def kill(self) -> None:
        """Kills every process that the tree has started, in any order."""
        # In this order: a master that comes up meanwhile first says so and then looks.
        self._abandoned = True
        # The oldest first, so that no supervisor is left to start anything again. Links would not do: a child
        # that is being stopped has none.
        for pid in process.processes():
            if self._is_ours(pid):
                process.exit(pid, "kill")
        # A child that was just being started may have opened again what the master's death had closed.
        self.tree.close()

    def leave(self) -> None:
        """Gives back what outlives single processes; may be called again."""
        _following.pop(self._follower, None)
        telemetry.detach(self._follower)
        self.tree.close()

    def follow(
        self, event: tuple[str, ...], measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """A handler for the events of supervisors, those of other trees included."""
        happened = metadata.get("event")
        if isinstance(happened, ChildExited):
            self.unrecovered.child_exited(happened)
        elif isinstance(happened, ChildStarted):
            self.unrecovered.child_started(happened)
        elif isinstance(happened, GaveUp) and self._is_ours(happened.supervisor):
            self.unrecovered.gave_up(happened)

    def _is_ours(self, pid: Pid) -> bool:
        above: Pid | None = pid
        while above is not None and above is not self.master:
            above = above.parent
        return above is not None

    # As a resource of the master: somebody has to clean up and tell the end even if the master is killed.

    def owner_died(self, pid: Pid, reason: object) -> None:
        """The master is dead."""
        try:
            self.leave()
        finally:
            self.ended.try_set(reason)

    def owner_left(self, pid: Pid) -> None:
        """No code of the master runs any more."""


class ApplicationMaster(LibraryServer):
    """Starts the root, outlives it, and cleans up after it.

    The root is linked to this process rather than to whoever called `start`, who would otherwise end with it.

    Semantics: OTP's application master.
    """

    trap_exit = True
    _what = "the master of an application"
    _use = "the methods of Application (start, stop, wait)"

    def init(self, arg: Life) -> Any:
        """Starts the whole tree."""
        if not arg.may_begin(self.pid):
            return Stop("killed")
        self.pid.attach(arg)
        try:
            arg.root = self._start_root(arg.tree)
        except StartError as error:
            return Stop(error.reason)
        if arg.company is not None:
            # When the interpreter exits, the root is stopped and nobody waits for this process.
            self.own(arg.company, close=Company.end)
        return Ok(arg)

    def _start_root(self, tree: Tree) -> Pid:
        root: Pid | None = Supervisor.start_link(
            list(tree.children),
            strategy=tree.strategy,
            max_restarts=tree.max_restarts,
            max_seconds=tree.max_seconds,
            auto_shutdown=tree.auto_shutdown,
        )
        assert root is not None, "a supervisor of a list never says IGNORE"
        return root

    def handle_info(self, message: Any, state: Life) -> Any:
        """Takes the end of the root."""
        root = state.root
        if isinstance(message, Exited) and root is not None and message.pid is root and root.dead:
            state.leave()
            state.ended.try_set(message.reason)
            return Stop("normal", state)
        return super().handle_info(message, state)

    def terminate(self, reason: object, state: Life) -> None:
        """Who ends the master itself (a test's end does) ends the tree first, in order."""
        if state.root is not None and state.root.alive:
            stop(state.root, INFINITY)
            state.leave()


def _begin_anew() -> None:
    """In a forked child: no application runs. (Handlers that the user attached stay.)"""
    while _following:
        telemetry.detach(_following.popitem()[0])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
