"""What has changed between two readings of a tree file, as the steps from one to the other. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs

from ...actors import ChildSpec
from .kinds import Child, closers_of, every_child, specs_of
from .tree_file import Tree

Action: TypeAlias = Literal["stop", "restart", "start", "rewrite"]
_ROOT: Final = ("name", "strategy", "max_restarts", "max_seconds", "auto_shutdown")


@attrs.frozen
class Step:
    """One child that is to be dealt with.

    Args:
        action: `"stop"`: it is gone from the file; `"restart"`: it has changed; `"start"`: it is new;
            `"rewrite"`: it is a supervisor that goes on, with other children to start should it be restarted.
        above: The ids down to its supervisor.
        spec: The new spec; of what is gone, the old one.
        close: What to call when the old one has ended.
    """

    action: Action
    above: tuple[Any, ...]
    spec: ChildSpec
    close: tuple[Callable[[], object], ...] = ()

    @property
    def path(self) -> tuple[Any, ...]:
        """The ids down to the child."""
        return (*self.above, self.spec.id)


@attrs.frozen
class Difference:
    """How to get from one tree to another.

    Args:
        steps: In the order in which to take them: what is gone is stopped first, the last one first.
        tree: What runs after that: the new tree, with the old specs of what has not changed.
        root: The keys at the top of the file that have changed, for which there are no steps.
    """

    steps: tuple[Step, ...]
    tree: Tree
    root: tuple[str, ...]


def difference(old: Tree, new: Tree) -> Difference:
    """Compares two readings of a file.

    Children are the same if their ids are and those of the supervisors above; they have changed if their
    specs differ. Of a supervisor of which nothing but the children has changed, these are compared. The order
    of children is not.
    """
    steps: list[Step] = []
    entries = tuple(_merged(old.entries, new.entries, (), steps))
    root = [key for key in _ROOT if getattr(old, key) != getattr(new, key)]
    root += ["job"] if old.job != new.job else []
    merged = attrs.evolve(
        new,
        children=tuple(specs_of(entries)),
        entries=entries,
        closers=tuple(closers_of(entries)),
        lookouts=tuple(each.obstacle for each in every_child(entries) if each.obstacle is not None),
    )
    gone = [step for step in steps if step.action == "stop"]
    others = [step for step in steps if step.action != "stop"]
    return Difference((*reversed(gone), *others), merged, tuple(root))


def _merged(
    old: Sequence[Child], new: Sequence[Child], above: tuple[Any, ...], steps: list[Step]
) -> Iterator[Child]:
    """The entries of what runs afterwards; what leads there is added to the steps."""
    before = {spec.id: (spec, entry) for entry in old for spec in entry.specs}
    after = {spec.id for entry in new for spec in entry.specs}
    for spec, entry in before.values():
        if spec.id not in after:
            steps.append(Step("stop", above, spec, tuple(closers_of([entry]))))
    for entry in new:
        yield _entry(entry, before, above, steps)


def _entry(
    entry: Child,
    before: dict[Any, tuple[ChildSpec, Child]],
    above: tuple[Any, ...],
    steps: list[Step],
) -> Child:
    specs = []
    kept: list[Child] = []
    for spec in entry.specs:
        was, old = before.get(spec.id, (None, None))
        if was is None or old is None:
            steps.append(Step("start", above, spec))
        elif was == spec:
            kept.append(old)
            spec = was
        elif _has_other_children_only(was, spec) and old.children and entry.children:
            below: list[Step] = []
            children = tuple(_merged(old.children, entry.children, (*above, spec.id), below))
            spec = attrs.evolve(spec, start=(spec.start[0], (specs_of(children),), spec.start[2]))
            steps.append(Step("rewrite", above, spec))
            steps += below
            return attrs.evolve(entry, children=children, specs=(spec,))
        else:
            steps.append(Step("restart", above, spec, tuple(closers_of([old]))))
        specs.append(spec)
    # Its `close` is of what runs, which is what was made for the old reading.
    same = kept and len(kept) == len(entry.specs) == len(kept[0].specs)
    return kept[0] if same else attrs.evolve(entry, specs=tuple(specs))


def _has_other_children_only(was: ChildSpec, spec: ChildSpec) -> bool:
    """Whether two specs are of supervisors, and alike but for the specs of their children."""
    if not (_lists_children(was) and _lists_children(spec)):
        return False
    bare = [attrs.evolve(each, start=(each.start[0], (), each.start[2])) for each in (was, spec)]
    return bare[0] == bare[1]


def _lists_children(spec: ChildSpec) -> bool:
    args = spec.start[1]
    if spec.type != "supervisor" or len(args) != 1 or not isinstance(args[0], list):
        return False
    return all(isinstance(each, ChildSpec) for each in args[0])
