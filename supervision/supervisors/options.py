"""What a supervisor is told when it starts: its options, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import attrs

from ...actors import (
    BadCombination,
    ChildSpec,
    DuplicateChild,
    SpecError,
    child_spec,
    one_of,
    seconds,
    whole_number,
)

Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]


def _check_intensity(owner: str, max_restarts: object, max_seconds: object) -> None:
    whole_number(owner, "max_restarts", max_restarts)
    seconds(owner, "max_seconds", max_seconds, above_zero=True)


def _read_children(children: Iterable[object]) -> tuple[ChildSpec, ...]:
    if isinstance(children, (str, bytes, ChildSpec)) or not isinstance(children, Iterable):
        raise SpecError("supervisor", "children", f"expected a list of child specs, got: {children!r}")
    return tuple(child_spec(child) for child in children)


def check_significance(spec: ChildSpec, auto_shutdown: AutoShutdown) -> None:
    """Refuses a significant child where it can't mean anything.

    Raises:
        BadCombination: The supervisor never shuts down by itself, or the child is permanent.

    Semantics: OTP supervisor(3), "Automatic Shutdown".
    """
    if not spec.significant:
        return
    if auto_shutdown == "never":
        wrong = (("auto_shutdown", "never"), ("significant", True))
        raise BadCombination(spec.id, wrong, "give the supervisor any_significant or all_significant")
    if spec.restart == "permanent":
        wrong = (("restart", "permanent"), ("significant", True))
        raise BadCombination(spec.id, wrong, "a permanent child never ends: make it transient or temporary")


def refuse_significance(spec: ChildSpec) -> None:
    """Refuses a significant child of a dynamic supervisor, which never shuts down by itself.

    Raises:
        SpecError: It is one.
    """
    if spec.significant:
        problem = (
            "expected False under a dynamic supervisor, which has no auto_shutdown and ends for no child, "
            "got: True; a child whose end is to end its supervisor goes under a Supervisor"
        )
        raise SpecError(spec.id, "significant", problem)


@attrs.frozen
class SupervisorSpec:
    """What a supervisor with static children is.

    Args:
        children: Child specs, in start order; anything that `child_spec()` reads.
        strategy: Who is restarted with a crashed child: `"one_for_one"`: nobody; `"one_for_all"`: all;
            `"rest_for_one"`: those that were started after it.
        max_restarts: The restart intensity: how many restarts are fine ...
        max_seconds: ... within so many seconds. One more, and the supervisor gives up.
        auto_shutdown: `"never"`, or which ends of significant children end the supervisor.

    Raises:
        SpecError: An option or a child spec is wrong; the message names it.

    Semantics: OTP supervisor(3), "Supervision Principles".
    """

    children: tuple[ChildSpec, ...] = attrs.field(converter=_read_children, default=())
    strategy: Strategy = attrs.field(default="one_for_one", kw_only=True)
    max_restarts: int = attrs.field(default=3, kw_only=True)
    max_seconds: float = attrs.field(default=5.0, kw_only=True)
    auto_shutdown: AutoShutdown = attrs.field(default="never", kw_only=True)

    def __attrs_post_init__(self) -> None:
        owner = "supervisor"
        one_of(owner, "strategy", self.strategy, ("one_for_one", "one_for_all", "rest_for_one"))
        _check_intensity(owner, self.max_restarts, self.max_seconds)
        one_of(owner, "auto_shutdown", self.auto_shutdown, ("never", "any_significant", "all_significant"))
        seen: set[Any] = set()
        for child in self.children:
            check_significance(child, self.auto_shutdown)
            if child.id in seen:
                raise DuplicateChild(child.id)
            seen.add(child.id)


@attrs.frozen(kw_only=True)
class DynamicSpec:
    """What a supervisor of dynamic children is.

    Args:
        strategy: `"one_for_one"`, the only one there is.
        max_children: How many children there may be at once; None means any number.
        max_restarts: The restart intensity: how many restarts are fine ...
        max_seconds: ... within so many seconds. One more, and the supervisor gives up.
        extra_arguments: Put before the arguments of each child's start.
        children: Beyond OTP: children that are there from its start on, in start order; whenever it is
            started again, so are they.

    Raises:
        SpecError: An option is wrong; the message names it.

    Semantics: Elixir's `DynamicSupervisor.init/1`.
    """

    strategy: Literal["one_for_one"] = "one_for_one"
    max_children: int | None = None
    max_restarts: int = 3
    max_seconds: float = 5.0
    extra_arguments: tuple[Any, ...] = attrs.field(default=(), converter=tuple)
    children: tuple[ChildSpec, ...] = attrs.field(converter=_read_children, default=())

    def __attrs_post_init__(self) -> None:
        owner = "dynamic supervisor"
        one_of(owner, "strategy", self.strategy, ("one_for_one",))
        if self.max_children is not None:
            whole_number(owner, "max_children", self.max_children)
            if len(self.children) > self.max_children:
                wanted = f"expected at most {self.max_children}, which is its max_children"
                raise SpecError(owner, "children", f"{wanted}, got: {len(self.children)}")
        _check_intensity(owner, self.max_restarts, self.max_seconds)
        for child in self.children:
            refuse_significance(child)
