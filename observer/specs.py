"""What a tree file will start, before anything of it runs."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence

import attrs

from ..supervision import ChildSpec, DynamicSpec
from .chaos import Rules
from .snapshot import stem

__all__ = ["Census", "census", "temporary", "unknown_names"]


@attrs.frozen
class Census:
    """How many of what a tree starts with.

    Args:
        supervisors: The root included.
        children: As many as are listed, each replica by itself; supervisors are children, the root is not.
    """

    supervisors: int
    children: int

    def __str__(self) -> str:
        return f"{_counted(self.supervisors, 'supervisor', 's')}, {_counted(self.children, 'child', 'ren')}"


def census(specs: Sequence[ChildSpec]) -> Census:
    """Counts a tree by the specs of its root."""
    types = [spec.type for _, spec in walk_specs(specs)]
    supervisors = types.count("supervisor")
    return Census(supervisors + 1, len(types))


def unknown_names(rules: Rules, specs: Sequence[ChildSpec]) -> list[str]:
    """What is wrong with the names that are to be spared or taken down, a sentence for each that is nobody's.

    A tree with a supervisor whose children nobody knows beforehand may have any name, so there is none wrong.
    """
    found = list(walk_specs(specs))
    if any(spec.type == "supervisor" and (not _under(spec) or _is_dynamic(spec)) for _, spec in found):
        return []
    known = {
        name for path, _ in found for name in (path[-1], stem(path[-1]), "/".join(path), stem("/".join(path)))
    }
    return [_nobody(name, known) for name in sorted((rules.spare | rules.only) - known)]


def temporary(specs: Sequence[ChildSpec]) -> frozenset[str]:
    """The paths of children that nobody starts again, so chaos would only make them fewer."""
    return frozenset("/".join(path) for path, spec in walk_specs(specs) if spec.restart == "temporary")


def walk_specs(
    specs: Iterable[ChildSpec], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], ChildSpec]]:
    """Every spec with its path, supervisors before what is under them."""
    waiting = [(above, spec) for spec in specs][::-1]
    while waiting:
        around, spec = waiting.pop()
        path = (*around, str(spec.id))
        yield path, spec
        waiting += [(path, each) for each in _under(spec)][::-1]


def _under(spec: ChildSpec) -> list[ChildSpec]:
    """The children that a supervisor is started with: they are in the arguments of its start."""
    if spec.type != "supervisor":
        return []
    _, positional, keywords = spec.start
    if isinstance(partition := keywords.get("child_spec"), ChildSpec):
        count = keywords.get("partitions") or os.cpu_count() or 1
        return [attrs.evolve(partition, id=number) for number in range(count)]
    arguments = [each.children if isinstance(each, DynamicSpec) else each for each in positional]
    listed = [argument for argument in arguments if isinstance(argument, (list, tuple))]
    return [item for items in listed for item in items if isinstance(item, ChildSpec)]


def _is_dynamic(spec: ChildSpec) -> bool:
    return any(isinstance(argument, DynamicSpec) for argument in spec.start[1])


def _nobody(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"the tree has no child {name!r}{hint}"


def _counted(number: int, noun: str, plural: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"
