"""Who owns what is registered here and now: the one place that decides it."""

from __future__ import annotations

from ..actors.engine import current

owner_here = current
"""The process that registers, unregisters, updates and locks: the current one.

Everything in this room that acts for an owner asks this, so a different answer (for a function on the thread
of a pool, say) is given here and nowhere else. An alias, as a function of its own would be a hop on every
registration.

Raises:
    Killed: the code belongs to a process that is dead.
    ServerExit: this thread or task got an exit signal (once; then it goes on as a new process).
"""
