"""`Engine`: what locks of several processes have in common, as a child of a supervisor."""

from __future__ import annotations

from typing import Any

import attrs

from ..actors import ChildSpec, Pid, at_exit, child_spec, process
from ..actors.engine import check_alive, stays_here
from ..supervision import Supervisor
from ..throttle.engine import EngineDown
from .driver import find_driver
from .handle import Handle, handles, start_in_child
from .server import EngineServer
from .settings import EngineSettings, engine_settings, shown

_OPTIONS = frozenset({"url", "name", "ttl", "grace", "schema", "node"})
MAX_RESTARTS = 1000


class Engine:
    """A server of yours (PostgreSQL, Redis) that keeps locks and keys for all processes that have one on it.

    A lock that is started with ``engine="shared"`` has its slots in common with the locks of the same name of
    all other processes, and a registry its keys. Use it where several processes or machines must not do the
    same thing at once. Inside one process it costs a round trip for nothing.

    No lease stops a paused client; tokens do: see docs/cluster.md, and ``cluster.assert_held``.

    In a program::

        cluster.Engine.start_link("postgresql://app@db/app", name="shared")
        throttle.new("warehouse_api", 10, engine="shared")
        with throttle.slot("warehouse_api") as grant: ...
        Registry.start_link(keys="unique", name="syncs", engine="shared")
        Registry.register("syncs", 42)
    """

    @staticmethod
    def start_link(
        url: str,
        *,
        name: str,
        ttl: float = 10.0,
        grace: float = 0.15,
        schema: str = "resprout",
        node: str | None = None,
    ) -> Pid:
        """Start the process that talks to the server, linked to the current process.

        The first start fails if the server can't be reached, or can't be used. After that it is connected to
        anew for as long as it takes.

        Args:
            url: ``postgresql://user@host/database``, ``redis://user@host/0``, ``rediss://`` (with TLS). A
                password in it is percent-encoded.
            name: what locks call it.
            ttl: seconds after which the server gives what a process held to others when it does not hear of
                that; at least 1. Here, grants are void after 0.8 of it.
            grace: seconds that a session whose connection is gone has to come back; less than a third of ttl.
            schema: where in the database it keeps things; in Redis, what its keys begin with.
            node: what people are shown of this process; by default the host and the OS process.

        Raises:
            ValueError: a value is wrong.
            AlreadyStarted: there is an engine, or any process, of that name.
            StartError: the server can't be reached (EngineDown), or not be used (EngineRefused), as the
                reason says.
        """
        check_alive()
        settings = engine_settings(url, name=name, ttl=ttl, grace=grace, schema=schema, node=node)
        return _start(settings)

    @staticmethod
    def child_spec(url: str, *, name: str, **options: Any) -> ChildSpec:
        """Make the child spec of an engine, for a supervisor; it belongs in front of the locks that use it.

        Args:
            url: as of start_link.
            name: the engine, also the id of the child unless ``id=`` says otherwise.
            options: those of start_link, and fields of ChildSpec.

        Raises:
            ValueError: a value is wrong.
            TypeError: an option is unknown.
        """
        ours = {"ttl": 10.0, "grace": 0.15, "schema": "resprout", "node": None}
        ours.update({key: value for key, value in options.items() if key in _OPTIONS})
        settings = engine_settings(url, name=name, **ours)
        fields = {key: value for key, value in options.items() if key not in _OPTIONS}
        return child_spec({"id": name, "start": (_start, (settings,), {}), **fields})


@stays_here("an engine")
def _start(settings: EngineSettings) -> Pid:
    find_driver(settings)
    pid = EngineServer.start_link(settings, name=settings.name)
    assert pid is not None
    return pid


def _start_in_child(settings: EngineSettings) -> None:
    """In a forked child: start a session of its own, which belongs to nobody."""
    root = Supervisor.start_link(
        [ChildSpec(settings.name, (_start, (settings,), {}))],
        strategy="one_for_one",
        max_restarts=MAX_RESTARTS,
        max_seconds=1.0,
        name=f"resprout.cluster.{settings.name}",
    )
    process.unlink(root)
    root.parent = None
    at_exit(root, last=True)


start_in_child.append(_start_in_child)


@attrs.frozen
class EngineInfo:
    """What an engine is, and how it is doing.

    Attributes:
        url: without passwords.
        connected: it has a session now.
        why_not: what was wrong the last time, if it is not connected.
        server: which server it is.
        session: its number there.
        reconnects: how often it had to connect anew.
        locks: of this process, sorted.
        warnings: what of the server is bad for locks.
        registries: of this process, sorted.
    """

    name: str
    url: str
    node: str
    ttl: float
    grace: float
    schema: str
    connected: bool
    why_not: str | None
    server: str | None
    session: int | None
    reconnects: int
    locks: tuple[str, ...]
    warnings: tuple[str, ...]
    registries: tuple[str, ...] = ()


def info(name: str) -> EngineInfo:
    """Say what an engine is, and how it is doing. One round trip, while it is connected.

    Args:
        name: the engine.

    Raises:
        ValueError: there is none of that name.
    """
    check_alive()
    handle = handle_of(name)
    settings = handle.settings
    warnings: list[str] = []
    if handle.connected:
        try:
            warnings = handle.ask(lambda connection: connection.warnings(settings.ttl))
        except EngineDown:
            # As it says below.
            pass
    greeting = handle.greeting
    return EngineInfo(
        name,
        shown(settings.url),
        settings.node,
        settings.ttl,
        settings.grace,
        settings.schema,
        handle.connected,
        handle.why_not,
        None if greeting is None else greeting.server,
        None if greeting is None else greeting.session,
        handle.reconnects,
        tuple(sorted(gate.name for gate in list(handle.gates.values()))),
        tuple(warnings),
        tuple(sorted(handle.keys.names)),
    )


def handle_of(name: str) -> Handle:
    """Return an engine.

    Raises:
        ValueError: there is none of that name.
    """
    handle = handles.get(name)
    if handle is None:
        there = ", ".join(sorted(handles)) or "none"
        raise ValueError(
            f"expected the name of an engine that was started (there are: {there}), got: {name!r}"
        )
    return handle
