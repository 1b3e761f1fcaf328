"""Finds trees that contain themselves, before such a tree starts to start itself for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...actors import ChildSpec, Pid, SpecError, child_spec, process
from .server import Origin, SupervisorServer


def _same(one: object, other: object) -> bool:
    if one is other:
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:
        # What can't be compared (or is a cycle itself) is only the same if it is identical.
        return False


def above(module: type, arg: Any) -> tuple[Origin, ...]:
    """The supervisors above one that is about to be started by the current process.

    Args:
        module: Its class.
        arg: What its `init` is called with.

    Raises:
        SpecError: The same class is among them, with the same argument.
    """
    parent: Pid | None = process.current()
    actor = getattr(parent, "actor", None)
    if not isinstance(actor, SupervisorServer):
        return ()
    ancestors = (*actor.origin.ancestors, actor.origin)
    for place, origin in enumerate(ancestors):
        if origin.spec is None and origin.module is module and _same(origin.arg, arg):
            names = [each.module.__name__ for each in ancestors[place:]]
            raise SpecError(module.__name__, "children", f"a tree contains itself: {_circle(names)}")
    return ancestors


def _circle(names: list[str]) -> str:
    return " -> ".join([*names, names[0]])


def check_cycles(children: Iterable[object], is_plain: Callable[[Any], bool]) -> None:
    """Looks for a list of children that contains itself, without starting anything.

    Args:
        children: Child specs in any form.
        is_plain: Whether a start function is that of a plain supervisor, whose first argument is such a list.

    Raises:
        SpecError: There is one.
    """
    _walk(children, is_plain, [], [])


def _walk(
    children: Iterable[object], is_plain: Callable[[Any], bool], path: list[Any], seen: list[object]
) -> None:
    if any(children is other for other in seen):
        raise SpecError(path[-1], "children", f"a tree contains itself: {' -> '.join(map(repr, path))}")
    seen.append(children)
    for each in children:
        spec = child_spec(each)
        inner = _inner_children(spec, is_plain)
        if inner is not None:
            _walk(inner, is_plain, [*path, spec.id], seen)
    seen.pop()


def _inner_children(spec: ChildSpec, is_plain: Callable[[Any], bool]) -> Iterable[object] | None:
    start, args, kwargs = spec.start
    if not is_plain(start):
        return None
    inner = args[0] if args else kwargs.get("children")
    return inner if isinstance(inner, (list, tuple)) else None
