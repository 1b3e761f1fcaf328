"""Supervision trees, registries and supervised locks for Python, with the semantics of Erlang/OTP and Elixir.

Everything public is here; the rooms that it comes from are packages of their own: `resprout.actors`,
`resprout.supervision`, `resprout.registry`, `resprout.throttle`, `resprout.stages`, and `resprout.kafka`. The
README has a tour.

A room is loaded when one of its names is first used (PEP 562), whole, in whichever thread that is: a program
that only mentions resprout pays nothing for it. `from resprout import ...` is such a use. A signal handler
should not be the first one: name what it needs at the top of the module.
"""

from __future__ import annotations

import os as _os  # `sys`, for one, is a name of ours here
from sys import meta_path as _meta_path
from sys import modules as _modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import actors, cluster, kafka, monitoring, registry, stages, supervision, testing, throttle
    from .actors import (
        IGNORE,
        NOTHING,
        TIMEOUT,
        Agent,
        AlreadyPresent,
        AlreadyRegistered,
        AlreadySet,
        AlreadyStarted,
        BadReturn,
        BlockingInLoop,
        Bounded,
        CallbackFailed,
        CallCycle,
        CallTimeout,
        ConfigError,
        Crash,
        CrashReport,
        Down,
        Exited,
        Future,
        GenServer,
        Killed,
        LockNotFound,
        MailboxFull,
        MaxChildren,
        NameInParent,
        NoProcess,
        NoReply,
        NotFound,
        NotHeld,
        NotOwned,
        NotOwner,
        NotPicklable,
        Ok,
        Pid,
        ProcessExit,
        QueueFull,
        Ref,
        Reply,
        ResproutError,
        Running,
        SelfCall,
        ServerExit,
        Shutdown,
        StalePid,
        StartError,
        Stop,
        Task,
        TaskExit,
        Unhandled,
        UnknownMessage,
        after_fork,
        process,
        sys,
        telemetry,
    )
    from .registry import (
        EventsLost,
        KeyLost,
        Registered,
        Registry,
        RegistryEvent,
        UnknownRegistry,
        Unregistered,
        Via,
    )
    from .supervision import (
        BRUTAL_KILL,
        INFINITY,
        Application,
        Backoff,
        ChildInfo,
        ChildSpec,
        Counts,
        DuplicateChild,
        DynamicSupervisor,
        FailedToStartChild,
        NotReady,
        PartitionSupervisor,
        SpecError,
        Supervisor,
        TaskSupervisor,
        lifespan,
        server,
        task_group,
    )
    from .throttle import (
        EngineDown,
        Grant,
        Holder,
        LockInfo,
        LockLost,
        LockState,
        Waiter,
    )

__all__ = [
    "BRUTAL_KILL",
    "IGNORE",
    "INFINITY",
    "NOTHING",
    "TIMEOUT",
    "Agent",
    "AlreadyPresent",
    "AlreadyRegistered",
    "AlreadySet",
    "AlreadyStarted",
    "Application",
    "Backoff",
    "BadReturn",
    "BlockingInLoop",
    "Bounded",
    "CallCycle",
    "CallTimeout",
    "CallbackFailed",
    "ChildInfo",
    "ChildSpec",
    "ConfigError",
    "Counts",
    "Crash",
    "CrashReport",
    "Down",
    "DuplicateChild",
    "DynamicSupervisor",
    "EngineDown",
    "EventsLost",
    "Exited",
    "FailedToStartChild",
    "Future",
    "GenServer",
    "Grant",
    "Holder",
    "KeyLost",
    "Killed",
    "LockInfo",
    "LockLost",
    "LockNotFound",
    "LockState",
    "MailboxFull",
    "MaxChildren",
    "NameInParent",
    "NoProcess",
    "NoReply",
    "NotFound",
    "NotHeld",
    "NotOwned",
    "NotOwner",
    "NotPicklable",
    "NotReady",
    "Ok",
    "PartitionSupervisor",
    "Pid",
    "ProcessExit",
    "QueueFull",
    "Ref",
    "Registered",
    "Registry",
    "RegistryEvent",
    "Reply",
    "ResproutError",
    "Running",
    "SelfCall",
    "ServerExit",
    "Shutdown",
    "SpecError",
    "StalePid",
    "StartError",
    "Stop",
    "Supervisor",
    "Task",
    "TaskExit",
    "TaskSupervisor",
    "Unhandled",
    "UnknownMessage",
    "UnknownRegistry",
    "Unregistered",
    "Via",
    "Waiter",
    "actors",
    "after_fork",
    "cluster",
    "kafka",
    "lifespan",
    "monitoring",
    "process",
    "registry",
    "server",
    "stages",
    "supervision",
    "sys",
    "task_group",
    "telemetry",
    "testing",
    "throttle",
]

_NAMES = {
    "actors": """
        IGNORE NOTHING TIMEOUT Agent AlreadyPresent AlreadyRegistered AlreadySet AlreadyStarted BadReturn
        BlockingInLoop Bounded CallbackFailed CallCycle CallTimeout ConfigError Crash CrashReport Down
        Exited Future GenServer Killed LockNotFound MailboxFull MaxChildren NameInParent NoProcess NoReply
        NotFound NotHeld NotOwned NotOwner NotPicklable Ok Pid ProcessExit QueueFull Ref Reply ResproutError
        Running SelfCall ServerExit Shutdown StalePid StartError Stop Task TaskExit Unhandled UnknownMessage
        after_fork process sys telemetry
    """,
    "registry": """
        EventsLost KeyLost Registered Registry RegistryEvent UnknownRegistry Unregistered Via
    """,
    "supervision": """
        BRUTAL_KILL INFINITY Application Backoff ChildInfo ChildSpec Counts DuplicateChild DynamicSupervisor
        FailedToStartChild NotReady PartitionSupervisor SpecError Supervisor TaskSupervisor lifespan server
        task_group
    """,
    "throttle": """
        EngineDown Grant Holder LockInfo LockLost LockState Waiter
    """,
}
_ROOMS = (
    *("actors", "cluster", "kafka", "monitoring", "registry", "stages", "supervision", "testing"),
    "throttle",
)
_ROOM_OF = {name: room for room, names in _NAMES.items() for name in names.split()}
_ROOM_OF |= {room: room for room in _ROOMS}


class _RoomsOfAClone:
    """Finds the rooms that are folders beside this one, as in a clone; installed, they are inside it.

    The first of the finders, since the installed resprout of another place may have one of its own. Not by
    `__path__`, where all else beside this folder would be in the package as well.
    """

    beside = _os.path.dirname(_os.path.dirname(_os.path.realpath(__file__)))

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> object:
        package, _, room = name.rpartition(".")
        if package != __name__ or room not in (*_ROOMS, "connectors", "control", "observer"):
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [cls.beside])


if not _os.path.isdir(_os.path.join(_os.path.dirname(_os.path.realpath(__file__)), "actors")):
    _meta_path.insert(0, _RoomsOfAClone)  # type: ignore[arg-type]  # a class does for a finder

# Modules that the documentation has named, and where they are now.
_MOVED = {
    "resprout.supervision.asgi": "resprout.supervision.trees.asgi",
    "resprout.supervision.durations": "resprout.supervision.trees.durations",
    "resprout.supervision.kinds": "resprout.supervision.trees.kinds",
    "resprout.throttle.exporters": "resprout.monitoring",
}


class _Moved:
    """The last of the finders: an old name is the very module that has a new one, not a copy."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> object:
        if name not in _MOVED:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, cls)  # type: ignore[arg-type]  # a class does for a loader

    @staticmethod
    def create_module(spec: object) -> None:
        """Leave it to Python: this one is thrown away."""

    @staticmethod
    def exec_module(module: object) -> None:
        """Put the module of the new name in its place."""
        from importlib import import_module

        name: str = vars(module)["__name__"]
        _modules[name] = import_module(_MOVED[name])


_meta_path.append(_Moved)  # type: ignore[arg-type]  # a class does for a finder

if not TYPE_CHECKING:  # a type checker would take any name at all for one of ours

    def __getattr__(name: str) -> object:
        """Load the room that a name comes from; the next use of the name finds it here."""
        room = _ROOM_OF.get(name)
        if room is None:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=_modules[__name__])
        from importlib import import_module

        module = import_module(f"{__name__}.{room}")
        value = module if name == room else getattr(module, name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
