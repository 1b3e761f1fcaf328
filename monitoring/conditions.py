"""Whether the program lives, and whether all of its trees are at work: for orchestrators and load balancers.

A program is *healthy* if a restart of all of it would mend nothing: the tree is there, and its event loops go
round. It is *ready* if, besides, every child is at work. A child that its supervisor is about to start again
makes it unready for a moment, and never unhealthy.
"""

from __future__ import annotations

import attrs

from ..actors import Pid
from ..actors.engine import check_alive
from ..supervision import Application
from ..supervision.engine import tops, unready_under
from .labels import path_of
from .loop_lag import loop_lag, loops

STUCK = 10.0
"""Seconds after which an event loop that does not call back is taken for stuck."""


@attrs.frozen
class Health:
    """Whether the program lives.

    Attributes:
        healthy: Whether it does.
        reasons: Why not, each a sentence.
    """

    healthy: bool
    reasons: tuple[str, ...] = ()


@attrs.frozen
class UnreadyChild:
    """A child that is not at work although it should be.

    Attributes:
        child: The ids that lead to it, joined by `/`; of the tree itself its name.
        state: `"waiting"` (those in front of it have not started yet), `"starting"`, `"restarting"`,
            `"backing_off"`, `"down"` or `"stopping"`.
    """

    child: str
    state: str


@attrs.frozen
class Readiness:
    """Whether everybody is at work.

    Attributes:
        ready: Whether they are.
        not_ready: Who is not.
    """

    ready: bool
    not_ready: tuple[UnreadyChild, ...] = ()


def health(application: Application | None = None) -> Health:
    """Say whether the program lives. It asks nobody and does not wait.

    Args:
        application: Whose tree has to be there; by default no tree in particular.

    Returns:
        Unhealthy if that has ended, or an event loop has not called back for 10 seconds, as far as two looks
        that far apart can tell.
    """
    check_alive()
    reasons = []
    if application is not None and application.begun:
        root = application.root
        if root is not None and not root.alive:
            reasons.append(f"the tree of {application.name} has ended")
        elif application.start_error is not None:
            reasons.append(f"the tree of {application.name} did not start")
    lag = loop_lag.worst(loops())
    if lag is not None and lag > STUCK:
        reasons.append(f"an event loop has not called back for {lag:.0f} s")
    return Health(not reasons, tuple(reasons))


def readiness(application: Application | None = None) -> Readiness:
    """Say whether every child is at work. It asks nobody and does not wait.

    A child that has ended in order and is not to be started again is through with its work, and ready; a
    temporary one always is.

    Args:
        application: Whose tree is meant; by default all trees of the program.

    Returns:
        Unready as long as a child starts (with a `ready_timeout`: until it has called `ready()`), is to be
        started again, or is down, and while a tree stops.
    """
    check_alive()
    found: list[UnreadyChild] = []
    if application is None:
        for top in tops():
            found += _unready(top, None)
        return Readiness(not found, tuple(found))
    root = application.root
    if root is None:
        found = [
            UnreadyChild("/".join(str(id) for id in child.path), "starting")
            for child in application.starting()
        ]
        return Readiness(False, tuple(found) or (UnreadyChild(application.name, "starting"),))
    found = [UnreadyChild(application.name, "down")] if not root.alive else _unready(root, application.name)
    return Readiness(not found, tuple(found))


def _unready(top: Pid, name: str | None) -> list[UnreadyChild]:
    called = name or str(top.name or top)
    return [
        UnreadyChild(path_of(top, each.steps) if each.steps else called, each.state)
        for each in unready_under(top)
    ]
