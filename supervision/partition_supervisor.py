"""Partition supervisors: the same child several times over, so that no single process is the bottleneck."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..actors import NoProcess, Pid, StalePid, process
from ..actors.engine import nobody
from .child_spec import ChildSpec, SpecError, child_spec, whole_number
from .lineage import above
from .options import Strategy, SupervisorSpec
from .server import FamilyServer, Origin
from .static_server import SupervisorServer
from .supervisor import Supervisor
from .values import ChildInfo, Counts

WithArguments = Callable[[list[Any], int], "list[Any] | tuple[Any, ...]"]


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
        count = (os.cpu_count() or 1) if partitions is None else partitions
        whole_number("partition supervisor", "partitions", count, least=1)
        if name is None:
            raise SpecError(
                "partition supervisor", "name", "expected a name by which the partitions are found"
            )
        children = [_partition(child_spec, number, with_arguments) for number in range(count)]
        spec = SupervisorSpec(children, strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds)
        origin = Origin(cls, None, spec, above(cls, spec))
        return SupervisorServer.launch(origin, name=name, timeout=timeout)

    @classmethod
    def child_spec(cls, options: Mapping[str, Any] | None = None, /, **more: Any) -> ChildSpec:
        """The spec of a partition supervisor as a child of another supervisor.

        Args:
            options: What its `start_link` is called with, as in `(PartitionSupervisor, {"name": ...})`.
            more: The same, as keyword arguments.
        """
        given = {**(options or {}), **more}
        return ChildSpec(given.get("name", cls.__name__), (cls.start_link, (), given), type="supervisor")

    @staticmethod
    def partitions(supervisor: Any) -> int:
        """How many partitions there are.

        Raises:
            NoProcess: There is no such supervisor.
        """
        return len(_server(supervisor).family.table)

    @staticmethod
    def whereis_name(term: tuple[Any, Any]) -> Pid | None:
        """The partition of a key, for `Via(PartitionSupervisor, (name, key))`; asks nobody.

        Args:
            term: The supervisor's name or Pid, and the key: an int is taken modulo the number of partitions,
                anything else by its hash.

        Returns:
            Its Pid; None while it is being restarted, or if there is no such supervisor.
        """
        name, key = term
        try:
            table = _server(name).family.table
        except StalePid:
            # As a Via of a registry from before a fork does.
            raise
        except NoProcess:
            return None
        number = abs(key) if isinstance(key, int) else hash(key)
        child = table.get(number % len(table))
        return None if child is None or child.state != "running" else child.pid

    @staticmethod
    def which_children(supervisor: Any) -> list[ChildInfo]:
        """Lists the partitions; their ids are their numbers."""
        return Supervisor.which_children(supervisor)

    @staticmethod
    def count_children(supervisor: Any) -> Counts:
        """Counts the partitions."""
        return Supervisor.count_children(supervisor)

    @staticmethod
    def stop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """Stops the supervisor with all its partitions and waits for that; see `Supervisor.stop`."""
        Supervisor.stop(supervisor, reason, timeout)


def _partition(spec: object, number: int, with_arguments: WithArguments | None) -> ChildSpec:
    read = child_spec(spec)
    start, args, kwargs = read.start
    if with_arguments is not None:
        args = tuple(with_arguments(list(args), number))
    return attrs.evolve(read, id=number, start=(start, args, kwargs))


def _server(supervisor: Any) -> FamilyServer:
    pid = supervisor if isinstance(supervisor, Pid) else process.whereis(supervisor)
    actor = None if pid is None else pid.actor
    if not isinstance(actor, SupervisorServer):
        raise nobody(supervisor)
    return actor
