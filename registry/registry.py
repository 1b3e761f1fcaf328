"""`Registry`: keys of processes, forgotten when the processes end. All functions of it but its locks."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar

from ..actors import NOTHING, ChildSpec, NotFound, Pid, child_spec, forbid_loop, process
from ..actors.engine import check_alive, dead_but_running, not_a_pid, split_fields, stays_here
from .for_coroutines import ForCoroutines
from .index import Entry
from .locking import KeyLocking
from .options import options_of
from .owner import owner_here
from .parallel import in_parallel
from .patterns import ANY, matches
from .server import RegistryServer
from .snapshot import RegistryStatistics, Snapshot, snapshot_of, statistics_of
from .table import Table, find, tables
from .via import register_self, unique

T = TypeVar("T")
Pairs = list[tuple[Pid, Any]]


class Registry(KeyLocking, ForCoroutines):
    """Maps keys to the processes that registered themselves under them, for exactly as long as these live.

    Use it to find a process by something meaningful (with `Via` as its name), to make sure that only one
    process works on a thing at a time (unique keys), or as local pub/sub (duplicate keys and `dispatch`).
    It is in one interpreter and in memory, unless it has an engine, which keeps its keys for several
    processes and machines (``engine=``); for keys that outlive the program use a database.

    The keys are shared memory. Every function runs in the caller, at once: none sends a message, none waits
    for the registry's process (or for anything, except `lock`, `dispatch`, and what needs an engine). All
    work inside event loops and on every thread. The registry's process ends the table when it is stopped,
    adopts it when it is restarted after a crash, and tells the listeners.

    Semantics: Elixir's ``Registry`` (1.18).

    Differs from OTP:
        - Keys compare with ``==``: ``1``, ``1.0`` and ``True`` are one key (Elixir compares with ``===``).
        - A lookup never shows a process that is dead, and a crash of the registry loses nothing and kills
          nobody.
        - `register` returns the owner, the calling process; there is no process per partition.

    Example:
        ```python
        Registry.start_link(keys="unique", name="syncs")
        me = Registry.register("syncs", ("user", 7), "started")
        assert Registry.lookup("syncs", ("user", 7)) == [(me, "started")]
        Registry.unregister("syncs", ("user", 7))
        assert Registry.whereis("syncs", ("user", 7)) is None
        Registry.stop("syncs")
        ```
    """

    # -- starting and stopping --------------------------------------------------

    @staticmethod
    @stays_here("a registry")
    def start_link(
        *,
        keys: Literal["unique", "duplicate"],
        name: str,
        partitions: int = 1,
        listeners: Iterable[str] = (),
        meta: Mapping[Any, Any] | None = None,
        linger: bool = False,
        engine: str | None = None,
        on_lost: Literal["exit", "tell"] = "exit",
        on_unreachable: Literal["wait", "raise"] = "wait",
    ) -> Pid:
        """Start a registry, linked to the current process.

        Args:
            keys: ``"unique"`` (a key has at most one owner) or ``"duplicate"`` (any number).
            name: the name of the registry and of its process.
            partitions: how many dicts the keys are spread over; a few for millions of keys, so that growing
                one takes less of a pause. With `dispatch(..., parallel=True)` also into how many parts the
                entries are divided.
            listeners: names of running processes that get `Registered` and `Unregistered` events, in order
                for each key.
            meta: the first metadata.
            linger: the keys of a killed owner whose code still runs are not shown, but stay taken until
                that code has left: for keys that guard work. Without it they are free at once: right for
                keys that name processes.
            engine: the name of a `cluster.Engine` that runs, which decides who has a key in all processes
                that have a registry of this name on it; None for this process alone. See docs/cluster.md.
            on_lost: how an owner hears that its key is lost (`KeyLost`): ``"exit"``, an exit signal, or
                ``"tell"``, a message.
            on_unreachable: what a round trip does while the engine can't be reached: ``"wait"``, until it
                answers, or ``"raise"`` EngineDown.

        Raises:
            AlreadyStarted: the name is taken.
            NotFound: no process has a listener's name.
            ValueError, TypeError: an argument is wrong; no engine of that name runs.
            EngineRefused: the engine can't keep keys.
        """
        if dead_but_running:
            check_alive()
        options = options_of(
            {
                "keys": keys,
                "name": name,
                "partitions": partitions,
                "listeners": listeners,
                "meta": meta,
                "linger": linger,
                "engine": engine,
                "on_lost": on_lost,
                "on_unreachable": on_unreachable,
            }
        )
        options.check_engine()
        if name not in tables:
            # Not after a crash: a listener may just be restarting, too.
            for listener in options.listeners:
                if process.whereis(listener) is None:
                    raise NotFound(
                        f"registry {name!r}: no process is named {listener!r}, so it cannot listen"
                    )
        pid: Pid = RegistryServer.start_link(options, name=name)
        return pid

    @staticmethod
    def child_spec(options: Mapping[str, Any] | None = None, /, **more: Any) -> ChildSpec:
        """The child spec for a supervisor: its id is the registry's name.

        Args:
            options: those of `start_link`, as a mapping, so that ``(Registry, {"keys": "unique", "name":
                "users"})`` is a child.
            more: the same, as keyword arguments, and fields of the spec.

        Raises:
            TypeError, ValueError: one is wrong, missing or unknown.
        """
        if not isinstance(options, (Mapping, type(None))):
            raise TypeError(f"expected the options of a registry to be a mapping, got: {options!r}")
        given, fields = split_fields({**(options or {}), **more}, ())
        checked = options_of(given)
        return child_spec({"id": checked.name, "start": (Registry.start_link, (), given), **fields})

    @staticmethod
    def stop(registry: str | Pid, reason: object = "normal", timeout: float | None = None) -> None:
        """Stop a registry and forget its keys; the owners live on.

        Raises:
            UnknownRegistry: it does not run.
        """
        if dead_but_running:
            check_alive()
        table = find(registry)
        if table.server is None or not table.server.alive:
            table.end()
        else:
            forbid_loop("Registry.stop", "Registry.astop(...)")
            RegistryServer.stop(table.server, reason, timeout)

    @staticmethod
    async def astop(registry: str | Pid, reason: object = "normal", timeout: float | None = None) -> None:
        """The form of `stop` for coroutines."""
        if dead_but_running:
            check_alive()
        table = find(registry)
        if table.server is None or not table.server.alive:
            table.end()
        else:
            await RegistryServer.astop(table.server, reason, timeout)

    # -- the owner's functions ----------------------------------------------------

    @staticmethod
    def register(registry: str | Pid, key: Hashable, value: Any = None, timeout: float | None = None) -> Pid:
        """Register the current process under a key.

        Under duplicate keys the same process may register several times. On the thread of a pool that works
        for an asyncio task (a synchronous handler of a web framework), the owner is the task: the key goes
        when the task ends, and may be unregistered from any thread that works for it.

        Args:
            registry: its name.
            key: any hashable object; with an engine see docs/cluster.md.
            value: anything; best something immutable; with an engine what JSON has.
            timeout: seconds to wait for an engine; None for ever. Without one nothing is waited for.

        Returns:
            The owner: the current process, or the task that this thread of a pool works for.

        Raises:
            AlreadyRegistered: a unique key has an owner; maybe the current process itself.
            UnknownRegistry: there is no such registry.
            TypeError: the key is not hashable, or an engine can't store it or the value.
            CallTimeout, EngineDown: the engine has not answered in time, or can't be reached.
            BlockingInLoop: inside an event loop, of a registry with an engine; use `aregister`.
        """
        if dead_but_running:
            check_alive()
        try:
            table = tables[registry]  # type: ignore[index]  # anything else than a name ends up in find
        except (KeyError, TypeError):
            table = find(registry)
        me = owner_here()
        while not table.register(me, key, value, timeout):
            # It died while it registered; the code of a dead process ends here, that of a thread goes on as
            # a new one.
            me = owner_here()
        return me

    @staticmethod
    def unregister(registry: str | Pid, key: Hashable) -> None:
        """Give up what the current process has under a key. To have nothing there is no error.

        With an engine it returns when the key is free for others, or the engine can't be reached, which then
        hears of it later.

        Raises:
            BlockingInLoop: inside an event loop, of a registry with an engine; use `aunregister`.
        """
        if dead_but_running:
            check_alive()
        try:
            table = tables[registry]  # type: ignore[index]  # anything else than a name ends up in find
        except (KeyError, TypeError):
            table = find(registry)
        table.give_up(owner_here(), key)

    @staticmethod
    def unregister_match(registry: str | Pid, key: Hashable, pattern: Any) -> None:
        """Give up those entries of the current process under a key whose value matches (see `ANY`)."""
        if dead_but_running:
            check_alive()
        find(registry).unregister(owner_here(), key, lambda value: matches(pattern, value))

    @staticmethod
    def update_value(registry: str | Pid, key: Hashable, fn: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Change the value of the current process under a unique key.

        Args:
            registry: its name.
            key: the key.
            fn: gets the old value and returns the new one; runs in the caller.

        Returns:
            The new value and the old one.

        Raises:
            NotFound: the current process does not have the key.
            ValueError: the registry has duplicate keys.
        """
        if dead_but_running:
            check_alive()
        return unique(registry).update(owner_here(), key, fn)

    # -- finding ------------------------------------------------------------------

    @staticmethod
    def lookup(registry: str | Pid, key: Hashable) -> Pairs:
        """The living owners of a key with their values; empty when there are none, oldest first.

        With an engine, an owner here is known at once, and one elsewhere (a FarPid) after a round trip.

        Raises:
            EngineDown: the engine of the registry can't be reached, and no process here has the key.
            BlockingInLoop: inside an event loop, of a registry with an engine; use `alookup`.
        """
        if dead_but_running:
            check_alive()
        try:
            table = tables[registry]  # type: ignore[index]  # anything else than a name ends up in find
        except (KeyError, TypeError):
            table = find(registry)
        whole = table.whole
        if whole is not None and type(key) in SIMPLE:
            entry = whole.get(key)
            return [(entry.pid, entry.value)] if entry is not None and entry.pid.alive else []
        return table.pairs(key)

    @staticmethod
    def whereis(registry: str | Pid, key: Hashable) -> Pid | None:
        """The living owner of a unique key, or None.

        Raises:
            ValueError: the registry has duplicate keys.
            EngineDown, BlockingInLoop: as `lookup`; the form for coroutines is `awhereis`.
        """
        if dead_but_running:
            check_alive()
        try:
            table = tables[registry]  # type: ignore[index]  # anything else than a name ends up in find
        except (KeyError, TypeError):
            table = find(registry)
        whole = table.whole
        if whole is not None and type(key) in SIMPLE:
            entry = whole.get(key)
            return entry.pid if entry is not None and entry.pid.alive else None
        return unique(registry).owner(key)

    @staticmethod
    def keys(registry: str | Pid, pid: Pid) -> list[Any]:
        """The keys of a living process, oldest first; a duplicate key as often as it was registered."""
        if dead_but_running:
            check_alive()
        return [entry.key for entry in find(registry).of(_pid(pid))]

    @staticmethod
    def values(registry: str | Pid, key: Hashable, pid: Pid) -> list[Any]:
        """The values that a process has under a key."""
        if dead_but_running:
            check_alive()
        owner = _pid(pid)
        return [entry.value for entry in _living(find(registry), key) if entry.pid is owner]

    @staticmethod
    def match(registry: str | Pid, key: Hashable, pattern: Any) -> Pairs:
        """The owners of a key whose value matches, with the value.

        Args:
            registry: its name.
            key: the key.
            pattern: see `resprout.registry.patterns`: a value, `ANY`, a class, a predicate, or a tuple,
                list or dict of those.
        """
        if dead_but_running:
            check_alive()
        return [
            (each.pid, each.value) for each in _living(find(registry), key) if matches(pattern, each.value)
        ]

    @staticmethod
    def count_match(registry: str | Pid, key: Hashable, pattern: Any) -> int:
        """How many entries under a key have a value that matches."""
        if dead_but_running:
            check_alive()
        return len(Registry.match(registry, key, pattern))

    @staticmethod
    def select(
        registry: str | Pid,
        pattern: Any = (ANY, ANY, ANY),
        result: Callable[[Any, Pid, Any], T] | None = None,
    ) -> list[Any]:
        """Search all entries. It looks at each, so it is not for hot paths.

        Args:
            registry: its name.
            pattern: three patterns, for key, pid and value; or a predicate of these three.
            result: what to return for an entry, a function of the same three; by default the tuple ``(key,
                pid, value)``.
        """
        if dead_but_running:
            check_alive()
        rows = ((each.key, each.pid, each.value) for each in find(registry).living())
        if isinstance(pattern, tuple) and len(pattern) == 3:
            found = [row for row in rows if matches(pattern, row)]
        elif callable(pattern):
            found = [row for row in rows if pattern(*row)]
        else:
            raise TypeError(
                f"expected pattern to be (key, pid, value) or a function of these, got: {pattern!r}"
            )
        return found if result is None else [result(*row) for row in found]

    @staticmethod
    def count_select(registry: str | Pid, pattern: Any = (ANY, ANY, ANY)) -> int:
        """How many entries `select` finds."""
        if dead_but_running:
            check_alive()
        return len(Registry.select(registry, pattern))

    @staticmethod
    def count(registry: str | Pid) -> int:
        """How many registrations there are, in constant time."""
        if dead_but_running:
            check_alive()
        return len(find(registry))

    # -- dispatching ----------------------------------------------------------------

    @staticmethod
    def dispatch(
        registry: str | Pid, key: Hashable, fn: Callable[[Pairs], object], parallel: bool = False
    ) -> None:
        """Call a function with the owners of a key and their values: the whole of pub/sub, if it sends to
        each.

        Args:
            registry: its name.
            key: the key.
            fn: gets a list of ``(pid, value)``, never an empty one. It runs in the caller.
            parallel: divide the list into as many parts as the registry has partitions (with one: as there
                are processors), each handled by a task of its own, and wait for all.

        Raises:
            Whatever `fn` raises.

        Differs from OTP: without `parallel` it is called once, not once a partition.
        """
        if dead_but_running:
            check_alive()
        if not callable(fn) or inspect.iscoroutinefunction(fn):
            raise TypeError(f"expected fn to be a plain function of a list of (pid, value), got: {fn!r}")
        table = find(registry)
        pairs = [(entry.pid, entry.value) for entry in table.under(key) if entry.pid.alive]
        if not pairs:
            return
        if not parallel:
            fn(pairs)
            return
        forbid_loop(
            "Registry.dispatch(..., parallel=True)",
            "asyncio.to_thread(Registry.dispatch, ..., parallel=True)",
        )
        parts = table.partitions if table.partitions > 1 else os.cpu_count() or 2
        size = -(-len(pairs) // parts)
        in_parallel([partial(fn, pairs[start : start + size]) for start in range(0, len(pairs), size)])

    # -- metadata ---------------------------------------------------------------------

    @staticmethod
    def put_meta(registry: str | Pid, key: Hashable, value: Any) -> None:
        """Store something about the registry itself; it stays as long as its keys do."""
        if dead_but_running:
            check_alive()
        find(registry).put_meta(key, value)

    @staticmethod
    def meta(registry: str | Pid, key: Hashable, default: Any = NOTHING) -> Any:
        """Read metadata.

        Raises:
            NotFound: there is none under this key, and no default was given.
        """
        if dead_but_running:
            check_alive()
        table = find(registry)
        found = table.meta.get(table.keyring.find(key), default)
        if found is NOTHING:
            raise NotFound(f"registry {table.name!r} has no metadata {key!r}{table.no_meta}")
        return found

    @staticmethod
    def delete_meta(registry: str | Pid, key: Hashable) -> None:
        """Forget metadata. To forget what is not there is no error."""
        if dead_but_running:
            check_alive()
        find(registry).delete_meta(key)

    # -- observing ------------------------------------------------------------------------

    @staticmethod
    def statistics(registry: str | Pid) -> RegistryStatistics:
        """How the registry is doing."""
        if dead_but_running:
            check_alive()
        return statistics_of(find(registry))

    @staticmethod
    def snapshot(registry: str | Pid) -> Snapshot:
        """The registrations of this moment, to be read page by page."""
        if dead_but_running:
            check_alive()
        return snapshot_of(find(registry))

    @staticmethod
    def registries() -> list[str]:
        """The names of all registries."""
        if dead_but_running:
            check_alive()
        return sorted(tables)

    # -- as the module of a Via -------------------------------------------------------------

    @staticmethod
    def whereis_name(term: tuple[Any, ...]) -> Pid | None:
        """For ``Via(Registry, (registry, key))``, as in Elixir; plain ``Via(registry, key)`` is shorter."""
        if dead_but_running:
            check_alive()
        return unique(term[0]).named(term[1])

    @staticmethod
    def register_name(term: tuple[Any, ...], pid: Pid) -> None:
        """See `whereis_name`; a third item is the value. A process registers only itself."""
        if dead_but_running:
            check_alive()
        register_self(unique(term[0]), pid, term[1], term[2] if len(term) > 2 else None)

    @staticmethod
    def unregister_name(term: tuple[Any, ...], pid: Pid) -> None:
        """See `whereis_name`."""
        if pid.alive:
            find(term[0]).unregister(pid, term[1])


SIMPLE = frozenset({str, int})
"""Keys of these types need no preparation, so a lookup takes the shortest way."""


def _living(table: Table, key: Any) -> list[Entry]:
    return [entry for entry in table.under(key) if entry.pid.alive]


def _pid(pid: object) -> Pid:
    if not isinstance(pid, Pid):
        not_a_pid(pid)
    return pid
