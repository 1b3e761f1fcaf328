"""The same locks and keys for several processes and machines, on a server that you have. No lease stops a
paused client; tokens do.

::

    from resprout import cluster, throttle

    cluster.Engine.start_link("postgresql://app@db/app", name="shared")
    throttle.new("warehouse_api", 10, engine="shared")
    with throttle.slot("warehouse_api") as grant: ...
    Registry.start_link(keys="unique", name="syncs", engine="shared")
    Registry.register("syncs", 42)

How it is built: ``ledger`` decides what is granted here (pure), and one row a claim lives in the engine. A
``gate`` is one lock as its engine sees it, a ``handle`` an engine as its locks see it, ``link`` talks to the
server in ``operations``, and ``postgres`` and ``redis`` are what they become there. Registries have the same
in ``key_claims``, ``key_gate`` and ``key_operations``. In a placed child the ``pipe`` is the engine of locks,
and the parent's ledger decides; that of registries is in ``pipe_registries``, and the parent's table decides.
"""

from ..registry import KeyLost
from ..throttle import EngineDown, LockLost
from .engine import Engine, EngineInfo, info
from .errors import EngineRefused, NotHere
from .far_pid import FarPid
from .fencing import aassert_held, assert_held

__all__ = [
    "Engine",
    "EngineDown",
    "EngineInfo",
    "EngineRefused",
    "FarPid",
    "KeyLost",
    "LockLost",
    "NotHere",
    "aassert_held",
    "assert_held",
    "info",
]
