"""Partition supervisors: the same child several times over, so that no single process is the bottleneck."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import attrs

from ...actors import ChildSpec, NoProcess, Pid, SpecError, StalePid, child_spec, process, whole_number
from ...actors.engine import check_alive, nobody
from .child_options import STARTING, read_options
from .client import aask, ask, blocks
from .options import Strategy, SupervisorSpec
from .partition_server import PartitionServer
from .self_containment import above
from .server import Origin
from .supervisor import Supervisor
from .values import ChildInfo, Counts, Resize

WithArguments = Callable[[list[Any], int], "list[Any] | tuple[Any, ...]"]

_OWNER: Final = "partition supervisor"
_OWN: Final = ("child_spec", "name", "partitions", "with_arguments")
_FAMILY: Final = ("strategy", "max_restarts", "max_seconds")


class PartitionSupervisor:
    """Starts a child once for each partition and finds the one that a key belongs to.

    For a single process that is a bottleneck and whose work can be divided by key: a `DynamicSupervisor` that
    starts thousands of children, a `TaskSupervisor`, a counter. Not where all of the work needs the same
    state.

        ```python
        PartitionSupervisor.start_link(child_spec=DynamicSupervisor, name="sessions")
        where = Via(PartitionSupervisor, ("sessions", "user 42"))
        session = DynamicSupervisor.start_child(where, (Agent, dict))
        assert session.alive
        PartitionSupervisor.stop("sessions")
        ```

    Semantics: Elixir's PartitionSupervisor.
    Differs from OTP: keys that are not ints are spread by Python's `hash`, so that the partition of a str is
    another one in each run of the interpreter.
    """

    @classmethod
    def start_link(
        cls,
        *,
        child_spec: object,
        name: Any,
        partitions: int | None = None,
        with_arguments: WithArguments | None = None,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        timeout: float | None = None,
    ) -> Any:
        """Starts the partitions, under a supervisor that is linked to the current process.

        Args:
            child_spec: The spec of every partition; their ids are 0, 1, 2, ...
            name: The name by which partitions are found: a str or a `Via`.
            partitions: How many; by default as many as there are processors.
            with_arguments: Called with the list of the start arguments and the partition's number; what it
                returns takes their place.
            strategy: As for a `Supervisor`.
            max_restarts: As for a `Supervisor`.
            max_seconds: As for a `Supervisor`.
            timeout: Seconds that the start of all partitions may take; None means for ever.

        Returns:
            The supervisor's Pid.

        Raises:
            SpecError: The spec or an option is wrong. Nothing was started.
            StartError: A partition did not start.
            AlreadyStarted: The name is taken.
        """
        check_alive()
        children = _partitions(child_spec, name, partitions, with_arguments)
        origin = _origin(cls, children, strategy, max_restarts, max_seconds)
        return PartitionServer.launch(origin, name=name, timeout=timeout)

    @classmethod
    async def astart_link(
        cls,
        *,
        child_spec: object,
        name: Any,
        partitions: int | None = None,
        with_arguments: WithArguments | None = None,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        timeout: float | None = None,
    ) -> Any:
        """The form of `start_link` for coroutines."""
        check_alive()
        children = _partitions(child_spec, name, partitions, with_arguments)
        origin = _origin(cls, children, strategy, max_restarts, max_seconds)
        return await PartitionServer.alaunch(origin, name=name, timeout=timeout)

    @classmethod
    def child_spec(cls, options: Mapping[str, Any] | None = None, /, **more: Any) -> ChildSpec:
        """The spec of a partition supervisor as a child of another supervisor.

        Args:
            options: What its `start_link` is called with, as in `(PartitionSupervisor, {"name": ...})`.
            more: The same, as keyword arguments, and fields of the spec. What both have (`max_restarts`,
                `max_seconds`) is for `start_link`.

        Raises:
            SpecError: An option is unknown, missing or wrong; the message names it.
        """
        given = read_options(cls.__name__, options, more, (*_OWN, *_FAMILY, *STARTING))
        _checked(*(given.options.get(name) for name in _OWN))
        SupervisorSpec((), **given.only(_FAMILY))
        return given.spec(cls.start_link)

    @staticmethod
    def partitions(supervisor: Any) -> int:
        """How many partitions there are to which keys belong; asks nobody.

        Raises:
            NoProcess: There is no such supervisor.
        """
        check_alive()
        return _server(supervisor).partitions

    @staticmethod
    def resize(supervisor: Any, partitions: int) -> int:
        """Changes the number of partitions while they are used.

        Fewer: keys belong to those that are left at once, then the others are stopped in reverse order. More:
        those that were stopped are started anew, then keys belong to them, too. Keys move, also between
        those that stay: the place of a key depends on the number.

        Args:
            supervisor: Its name or Pid.
            partitions: From 0 (no key has a partition) to the number that it was started with. It is started
                with that again when its own supervisor restarts it.

        Returns:
            The number before.

        Raises:
            SpecError: It can't have that many.
            StartError: A partition did not start. The number is as before, and those that were just started
                are stopped again.
            NoProcess: There is no such supervisor.

        Semantics: Elixir's `PartitionSupervisor.resize!/2`.
        Differs from OTP: a partition that is stopped stays so when a sibling crashes under `one_for_all`; a
        failed start leaves no partition running to which no key belongs.
        """
        check_alive()
        whole_number(_OWNER, "partitions", partitions)
        request = Resize(partitions)
        return cast("int", ask(_server(supervisor).pid, request, "PartitionSupervisor.resize"))

    @staticmethod
    async def aresize(supervisor: Any, partitions: int) -> int:
        """The form of `resize` for coroutines. If it is cancelled, the number is changed all the same."""
        check_alive()
        whole_number(_OWNER, "partitions", partitions)
        return cast("int", await aask(_server(supervisor).pid, Resize(partitions)))

    @staticmethod
    def whereis_name(term: tuple[Any, Any]) -> Pid | None:
        """The partition of a key, for `Via(PartitionSupervisor, (name, key))`; asks nobody.

        Args:
            term: The supervisor's name or Pid, and the key: an int is taken modulo the number of partitions,
                anything else by its hash.

        Returns:
            Its Pid; None while it is being restarted, or if there is no such supervisor or no partition.
        """
        check_alive()
        name, key = term
        try:
            server = _server(name)
        except StalePid:
            # As a Via of a registry from before a fork does.
            raise
        except NoProcess:
            return None
        number, count = abs(key) if isinstance(key, int) else hash(key), server.partitions
        child = server.siblings.table.get(number % count) if count else None
        return None if child is None or child.state != "running" else child.pid

    @staticmethod
    def which_children(supervisor: Any) -> list[ChildInfo]:
        """Lists the partitions; their ids are their numbers."""
        blocks("PartitionSupervisor.which_children")
        return Supervisor.which_children(supervisor)

    @staticmethod
    async def awhich_children(supervisor: Any) -> list[ChildInfo]:
        """The form of `which_children` for coroutines."""
        return await Supervisor.awhich_children(supervisor)

    @staticmethod
    def count_children(supervisor: Any) -> Counts:
        """Counts the partitions."""
        blocks("PartitionSupervisor.count_children")
        return Supervisor.count_children(supervisor)

    @staticmethod
    async def acount_children(supervisor: Any) -> Counts:
        """The form of `count_children` for coroutines."""
        return await Supervisor.acount_children(supervisor)

    @staticmethod
    def stop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """Stops the supervisor with all its partitions and waits for that; see `Supervisor.stop`."""
        blocks("PartitionSupervisor.stop")
        Supervisor.stop(supervisor, reason, timeout)

    @staticmethod
    async def astop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """The form of `stop` for coroutines."""
        await Supervisor.astop(supervisor, reason, timeout)


def _checked(spec: object, name: Any, partitions: object, with_arguments: object) -> ChildSpec:
    """The spec of the partitions, if it and the other options can be what they are meant for.

    Raises:
        SpecError: One is wrong or missing.
    """
    if spec is None:
        raise SpecError(_OWNER, "child_spec", "expected the spec of the partitions, got none")
    if name is None:
        raise SpecError(_OWNER, "name", "expected a name by which the partitions are found")
    if partitions is not None:
        whole_number(_OWNER, "partitions", partitions, least=1)
    if with_arguments is not None and not callable(with_arguments):
        problem = f"expected a function (arguments, number) -> arguments, got: {with_arguments!r}"
        raise SpecError(_OWNER, "with_arguments", problem)
    return child_spec(spec)


def _origin(
    cls: type[PartitionSupervisor],
    children: list[ChildSpec],
    strategy: Strategy,
    max_restarts: int,
    max_seconds: float,
) -> Origin:
    spec = SupervisorSpec(children, strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds)
    return Origin(cls, None, spec, above(cls, spec))


def _partitions(
    spec: object, name: Any, partitions: int | None, with_arguments: WithArguments | None
) -> list[ChildSpec]:
    read = _checked(spec, name, partitions, with_arguments)
    count = (os.cpu_count() or 1) if partitions is None else partitions
    return [_partition(read, number, with_arguments) for number in range(count)]


def _partition(spec: ChildSpec, number: int, with_arguments: WithArguments | None) -> ChildSpec:
    start, args, kwargs = spec.start
    if with_arguments is not None:
        made: Any = with_arguments(list(args), number)
        if not isinstance(made, (list, tuple)):
            problem = f"expected it to return a list of arguments for partition {number}, got: {made!r}"
            raise SpecError(_OWNER, "with_arguments", problem)
        args = tuple(made)
    return attrs.evolve(spec, id=number, start=(start, args, kwargs))


def _server(supervisor: Any) -> PartitionServer:
    pid = supervisor if isinstance(supervisor, Pid) else process.whereis(supervisor)
    actor = None if pid is None else pid.actor
    if not isinstance(actor, PartitionServer):
        raise nobody(supervisor)
    return actor
