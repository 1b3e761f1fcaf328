"""The kinds of children `task_supervisor`, `partition_supervisor` and `agent`."""

from __future__ import annotations

import copy
from typing import Any, Final

import attrs
from cattrs.errors import ClassValidationError

from ...actors import Agent, ChildSpec, SpecError
from ..supervisors.options import Strategy
from ..supervisors.partition_supervisor import PartitionSupervisor
from ..supervisors.task_supervisor import TaskSupervisor
from .arguments import typed_arguments
from .bound import Bound
from .durations import Seconds
from .kinds import INDEX, Child, Common, OwnName, above_zero, every_child, not_negative, numbered
from .references import Reference, check_arguments, is_async, is_generator
from .structuring import Arguments, at_attribute, plain

_MOST_PARTITIONS: Final = 10_000
_UNSAID: Final = object()


@attrs.frozen
class TaskSupervisorChild(OwnName):
    """`task_supervisor: id`: a supervisor of tasks that the program starts while it runs.

    It is registered under `name`, by default its id, since somebody has to find it.
    """

    task_supervisor: str
    max_children: int | None = attrs.field(default=None, validator=not_negative)
    max_restarts: int = attrs.field(default=3, validator=not_negative)
    max_seconds: Seconds = attrs.field(default=Seconds(5.0), validator=above_zero)
    name: str | None = None

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the supervisor."""
        options = attrs.asdict(self, filter=attrs.filters.exclude("task_supervisor"))
        options["name"] = self.own_name
        start = (TaskSupervisor.start_link, (), options)
        return [ChildSpec(common.id or self.task_supervisor, start, type="supervisor")]


def _number_of_partitions(instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and not 1 <= value <= _MOST_PARTITIONS:
        raise ValueError(f"expected a whole number from 1 to {_MOST_PARTITIONS:,}, got: {value:,}")


@attrs.frozen
class PartitionSupervisorChild(OwnName):
    """`partition_supervisor: id`: the one child below it, once for each partition.

    It is registered under `name`, by default its id; a partition is found by
    `Via(PartitionSupervisor, (name, key))`.

    Args:
        partition_supervisor: Its id, unless the file says another.
        children: The one child; `{index}` in its args and its name is the number of the partition.
        partitions: How many; by default as many as there are processors.
        strategy, max_restarts, max_seconds: As of a supervisor.
        name: The name to register it under.
    """

    partition_supervisor: str
    children: tuple[Child, ...]
    partitions: int | None = attrs.field(default=None, validator=_number_of_partitions)
    strategy: Strategy = "one_for_one"
    max_restarts: int = attrs.field(default=3, validator=not_negative)
    max_seconds: Seconds = attrs.field(default=Seconds(5.0), validator=above_zero)
    name: str | None = None

    @property
    def listed(self) -> tuple[Child, ...]:
        """The child; it takes no name of its own, as it is there several times."""
        return tuple(attrs.evolve(child, names=()) for child in self.children)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the supervisor."""
        if len(self.children) != 1:
            problem = f"expected one child, which each partition is, got: {len(self.children)}"
            raise SpecError(self.partition_supervisor, "children", problem)
        [child] = self.children
        if not child.specs:
            return []  # It has mistakes of its own.
        options = attrs.asdict(self, filter=attrs.filters.exclude("partition_supervisor", "children"))
        options["name"] = self.own_name
        options["child_spec"] = self._partition(child)
        options["with_arguments"] = _with_number
        start = (PartitionSupervisor.start_link, (), options)
        return [ChildSpec(common.id or self.partition_supervisor, start, type="supervisor")]

    def _partition(self, child: Child) -> ChildSpec:
        """What each partition is; it is told its number."""
        if len(child.specs) != 1:
            self._refuse(f"expected one child, which each partition is, got {len(child.specs)} replicas")
        [spec] = child.specs
        for below in every_child(child.children):
            if below.names:
                self._refuse(f"each partition would take the name {below.names[0]!r} once more")
        call, positional, keywords = spec.start
        name = keywords.get("name")
        if child.names and child.names != (name,):
            self._refuse(
                f"a {child.kind} cannot be a partition, as each would take the name {child.names[0]!r}"
            )
        if isinstance(name, str) and INDEX not in name:
            if not child.default_named:
                self._refuse(
                    f"each partition would take the name {name!r}; put {INDEX} into it, or leave it out, as "
                    f"a partition is found by Via(PartitionSupervisor, (name, key))"
                )
            keywords = {**keywords, "name": None}
        return attrs.evolve(spec, start=(_start_partition, ((call, positional, keywords),), {}))

    def _refuse(self, problem: str) -> None:
        raise SpecError(self.partition_supervisor, "children", problem)


def _with_number(arguments: list[Any], number: int) -> list[Any]:
    return [*arguments, number]


def _start_partition(start: Any, number: int) -> Any:
    """Starts a partition with its number in the place of each `{index}`."""
    call, positional, keywords = start
    return call(*numbered(positional, number), **numbered(keywords, number))


@attrs.frozen
class AgentChild(OwnName):
    """`agent: id`: a piece of state in a process of its own.

    It is registered under `name`, by default its id.

    Args:
        agent: Its id, unless the file says another.
        init: A function that returns its first state, each time that it is started; it gets `args` as
            keywords.
        args: The arguments.
        value: Instead of `init`: the first state as it stands here, a copy for each start.
        name: The name to register it under.
    """

    agent: str
    init: Reference | None = None
    args: Arguments | None = None
    value: object = _UNSAID
    name: str | None = None

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the agent."""
        start = (Agent.start_link, (self._first(),), {"name": self.own_name})
        return [ChildSpec(common.id or self.agent, start)]

    def _first(self) -> Any:
        """What makes the first state."""
        if (self.init is None) == (self.value is _UNSAID):
            got = "neither" if self.init is None else "both"
            raise SpecError(self.agent, "init", f"expected either init: or value:, got {got}")
        if self.init is None:
            if self.args is not None:
                raise SpecError(self.agent, "args", "expected it only together with init:")
            return Bound(copy.deepcopy, self.value)
        target = self.init.target
        if is_async(target) or is_generator(target):
            what = f"{self.init.text} makes a coroutine or a generator"
            raise SpecError(self.agent, "init", f"expected a function that returns the first state; {what}")
        args = self.args or Arguments()
        try:
            check_arguments(self.init, plain(args))
        except ValueError as error:
            raise SpecError(self.agent, "args" if self.args else "init", str(error)) from None
        try:
            return Bound(target, **typed_arguments(args, target))
        except ClassValidationError as error:
            raise ClassValidationError("agent", [at_attribute(error, "args")], AgentChild) from None
