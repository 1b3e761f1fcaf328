"""Child specs, as supervisors read them.

They are vocabulary that every room shares (a GenServer, a registry and a lock can each say how they want to
be supervised), so they live one layer down; see ``resprout.actors``.
"""

from ...actors import (
    BRUTAL_KILL,
    INFINITY,
    UNDEFINED,
    Backoff,
    BadCombination,
    BrutalKill,
    ChildSpec,
    ChildType,
    DuplicateChild,
    Infinity,
    OnExhausted,
    RestartType,
    ShutdownTime,
    SpecError,
    Start,
    child_spec,
    one_of,
    seconds,
    whole_number,
)

__all__ = [
    "BRUTAL_KILL",
    "INFINITY",
    "UNDEFINED",
    "Backoff",
    "BadCombination",
    "BrutalKill",
    "ChildSpec",
    "ChildType",
    "DuplicateChild",
    "Infinity",
    "OnExhausted",
    "RestartType",
    "ShutdownTime",
    "SpecError",
    "Start",
    "child_spec",
    "one_of",
    "seconds",
    "whole_number",
]
