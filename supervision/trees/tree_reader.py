"""A document -> the options at its top and the children below, with all that is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar, cast, get_args

import attrs
from cattrs import Converter
from cattrs.errors import ClassValidationError

from ...actors import ChildSpec, Killed, SpecError
from ..supervisors.options import AutoShutdown, Strategy, check_significance
from .arguments import typed_arguments
from .durations import Seconds
from .kinds import Child, Common, NameTable, above_zero, every_child, not_negative, steps
from .limits import DEFAULTS, Limits
from .mistakes import Mistake, Path, did_you_mean, shortened, show_path, told
from .positions import Block, Document
from .references import Reference, check_arguments
from .structuring import (
    Arguments,
    UnknownKey,
    as_block,
    at_attribute,
    errors_in,
    make,
    new_converter,
    options_of,
    read_options,
)
from .variables import Filled

_Made = TypeVar("_Made")
_COMMON: Final = tuple(options_of(Common))


@attrs.frozen
class Job:
    """What the tree is for, if it has an end.

    Args:
        start: The class of the job; it is called with `args` as keywords.
        args: The arguments.
    """

    start: Reference
    args: Arguments = attrs.field(factory=Arguments)

    def __attrs_post_init__(self) -> None:
        try:
            check_arguments(self.start, self.args)
        except ValueError as error:
            raise SpecError("job", "args" if self.args else "start", str(error)) from None
        try:
            typed = typed_arguments(self.args, self.start.target)
        except ClassValidationError as error:
            raise ClassValidationError("job", [at_attribute(error, "args")], Job) from None
        object.__setattr__(self, "args", typed)


@attrs.frozen
class Root:
    """The keys at the top of a tree file."""

    name: str | None = None
    strategy: Strategy = "one_for_one"
    max_restarts: int = attrs.field(default=3, validator=not_negative)
    max_seconds: Seconds = attrs.field(default=Seconds(5.0), validator=above_zero)
    auto_shutdown: AutoShutdown = "never"
    job: Job | None = None
    children: tuple[Child, ...] = attrs.field(kw_only=True)


class TreeReader:
    """Structures a document; a child with mistakes is noted and left out, so that its siblings are read, too.

    Args:
        document: What a file says.
        kinds: The kinds of children by name; each is loaded when it is needed.
        limits: Its `replicas` is looked at.
        label: What people call the file whose positions name none.
    """

    def __init__(
        self,
        document: Document,
        kinds: Mapping[str, Callable[[], type]],
        limits: Limits = DEFAULTS,
        label: str = "the tree file",
    ) -> None:
        self.document = document
        self.label = label
        self.limits = limits
        self.replicas = 0
        self.children: dict[int, Child] = {}
        self.kinds = kinds
        self.loaded: dict[str, type | ValueError] = {}
        self.mistakes: list[Mistake] = []
        self.tables: dict[str, tuple[Path, NameTable]] = {}
        self.converter: Converter = new_converter()
        self.converter.register_structure_hook(Child, lambda value, _: self._read_already(value))

    def read(self) -> Root | None:
        """The top of the file, or `None` if that has mistakes of its own."""
        try:
            top = as_block(self.document.value, "a mapping with children:")
            # The deepest first, so that no child is read inside another: that would take Python's stack.
            blocks = list(self._children_below(top))[::-1]
            self.tables = dict(self._tables(blocks))
            for block in blocks:
                self.children[id(block)] = self._child(block)
            return self._root(top)
        except Exception as error:
            self._note_all(error, ())
        return None

    def _root(self, block: Block) -> Root | None:
        values, errors = read_options(block, Root, self.converter)
        allowed = options_of(Root)
        errors += [UnknownKey(key, allowed) for key in block if key not in allowed]
        errors += self._empty("name", values)
        self._check_siblings(block, values)
        self._check_names(values.get("children", ()))
        self._check_needs(values.get("children", ()))
        root = self._made(Root, values, errors)
        self._note_group(errors, ())
        return root

    def _children_below(self, top: Block) -> Iterator[Block]:
        """The children anywhere below, parents before their children and the last of siblings first."""
        waiting = [top]
        while waiting:
            block = waiting.pop()
            if block is not top:
                yield block
            children = block.get("children")
            if isinstance(children, list) and (block is top or self._has_children(block)):
                waiting += [child for child in children if isinstance(child, Block)]

    def _has_children(self, block: Block) -> bool:
        """Whether the `children` of an entry are children, as far as its kind is known."""
        kind = self._kind_of(block, [])
        cls = self._load(kind, []) if kind else None
        option = None if cls is None else options_of(cls).get("children")
        return cls is None or (option is not None and Child in get_args(option.type))

    def _read_already(self, value: object) -> Child:
        read = self.children.pop(id(value), None)
        return self._child(value) if read is None else read

    def _child(self, value: object) -> Child:
        """Reads a child; its mistakes are noted rather than raised, so that its parent is looked at, too."""
        block = as_block(value, "a child such as {worker: name, start: 'module:Class'}")
        errors: list[Exception] = []
        kind = self._kind_of(block, errors)
        cls = self._load(kind, errors) if kind else None
        if cls is None:
            # What is below it may be right or wrong all the same.
            values, _ = read_options(block, _Parent, self.converter)
            self._check_siblings(block, values)
            child = Child(block.path, kind, ids=_id_of(block, kind), children=values.get("children", ()))
        else:
            child = self._child_of(cls, kind, block, errors)
        self._note_group(errors, block.path)
        return child

    def _child_of(self, cls: type, kind: str, block: Block, errors: list[Exception]) -> Child:
        own = options_of(cls)
        values, wrong = read_options(block, cls, self.converter)
        said, wrong_common = read_options(block, Common, self.converter, leave_out=own)
        self._check_siblings(block, values)
        variables = {str(key): value.names for key, value in block.items() if isinstance(value, Filled)}
        common = Common(**said, path=block.path, tables=self.tables, variables=variables)
        wrong += self._empty(kind, {**said, **values})
        wrong += self._too_many(values)
        instance = self._made(cls, values, wrong)
        if instance is not None and hasattr(cls, "via_name"):
            # Whoever starts later sees what the file says of it.
            self.tables[getattr(instance, kind)] = (block.path, instance)
        specs: list[ChildSpec] = []
        if instance is not None:
            specs = self._specs(instance, common, wrong)
        # Without what is wrong the rest might seem to contradict itself.
        if not wrong_common:
            specs = self._laid_over(specs, common, own, wrong)
        errors += [*wrong, *wrong_common]
        allowed = dict.fromkeys((*own, *_COMMON))
        errors += [UnknownKey(key, allowed) for key in block if key not in allowed]
        return Child(
            path=block.path,
            kind=kind,
            ids=tuple(spec.id for spec in specs) or _id_of(block, kind),
            names=getattr(instance, "registers", (getattr(instance, kind, None),)) if instance else (),
            needs=tuple(getattr(instance, "needs", ())),
            specs=tuple(specs),
            close=getattr(instance, "close", None),
            obstacle=getattr(instance, "obstacle", None),
            children=values.get("children", ()) if instance is None else _below(instance),
            default_named=getattr(instance, "default_named", False),
            position=self.document.place(block.path),
            variables=tuple(dict.fromkeys(_variables_in(block))),
        )

    def _made(self, cls: type[_Made], values: Mapping[str, object], errors: list[Exception]) -> _Made | None:
        """An instance, or `None` if there are errors."""
        if errors:
            return None
        try:
            return make(cls, values)
        except Exception as error:
            errors.append(error)
            return None

    def _specs(self, instance: Any, common: Common, errors: list[Exception]) -> list[ChildSpec]:
        try:
            return list(instance.child_specs(common))
        except (KeyboardInterrupt, Killed):
            raise
        except BaseException as error:
            # Kinds and what they ask come from anywhere; whatever that is, it is a mistake of this child.
            errors.append(error if isinstance(error, Exception) else ValueError(told(error)))
            return []

    def _empty(self, kind: str, values: Mapping[str, object]) -> Iterator[Exception]:
        """Refuses texts that tell nothing from nothing."""
        for key in (kind, "id", "name"):
            text = values.get(key)
            if isinstance(text, str) and not text.strip():
                yield at_attribute(ValueError(f"expected a text that is not empty, got: {text!r}"), key)

    def _too_many(self, values: Mapping[str, object]) -> Iterator[Exception]:
        """Refuses replicas beyond the limit, before anybody makes them."""
        replicas = values.get("replicas")
        if isinstance(replicas, int):
            self.replicas += max(replicas, 0)
            if self.replicas > self.limits.replicas:
                wanted = f"expected at most {self.limits.replicas:,} replicas in the whole file"
                got = f"{replicas:,}" + ("" if self.replicas == replicas else f", {self.replicas:,} in all")
                self.replicas -= replicas
                yield at_attribute(ValueError(f"{wanted}, got: {got}"), "replicas")

    def _laid_over(
        self, specs: Iterable[ChildSpec], common: Common, own: Container[str], errors: list[Exception]
    ) -> list[ChildSpec]:
        try:
            return [common.laid_over(spec, own) for spec in specs]
        except SpecError as error:
            errors.append(error)
            return []

    def _kind_of(self, block: Block, errors: list[Exception]) -> str:
        """The key of a child that names its kind, or an empty text."""
        named = [key for key in block if isinstance(key, str) and key in self.kinds]
        if len(named) > 1:
            # A kind may have an option that is named like another kind.
            named = [key for key in named if set(named) - {key} <= self._options(key)] or named
        if len(named) == 1:
            return named[0]
        if named:
            errors.append(ValueError(f"expected one kind, got: {' and '.join(named)}"))
            return ""
        if not self.kinds:
            wanted = "expected resprout to be installed, since its entry points name the kinds of children"
            errors.append(ValueError(f"{wanted}, found none; in a clone: pip install -e ."))
            return ""
        near = next((hint for key in block if (hint := did_you_mean(key, self.kinds))), "")
        kinds = ", ".join(sorted(self.kinds))
        keys = shortened(", ".join(shortened(str(key)) for key in islice(block, 20)), 200) or "none"
        wanted = f"expected a key that names the kind of child ({kinds})"
        errors.append(ValueError(f"{wanted}, got the keys: {keys}{near}"))
        return ""

    def _options(self, kind: str) -> set[str]:
        cls = self._load(kind, [])
        return set() if cls is None else set(options_of(cls))

    def _load(self, kind: str, errors: list[Exception]) -> type | None:
        if kind not in self.loaded:
            try:
                cls = self.kinds[kind]()
                options_of(cls)
                self.loaded[kind] = cls
            except (KeyboardInterrupt, Killed):
                raise
            except BaseException as error:
                # A kind may belong to a package that is half installed.
                problem = f"the kind {kind!r} cannot be loaded: {told(error)}"
                self.loaded[kind] = ValueError(problem)
        loaded = self.loaded[kind]
        if isinstance(loaded, ValueError):
            errors.append(at_attribute(ValueError(*loaded.args), kind))
            return None
        return loaded

    def _tables(self, blocks: Iterable[Block]) -> Iterator[tuple[str, tuple[Path, NameTable]]]:
        """The name tables among children, by name; they are wanted before the children are read."""
        for block in blocks:
            for key, name in block.items():
                cls = self._load(key, []) if isinstance(key, str) and key in self.kinds else None
                text = name.text if isinstance(name, Filled) else name
                if cls is not None and hasattr(cls, "via_name") and isinstance(text, str):
                    yield text, (block.path, cast("NameTable", cls))

    def _check_siblings(self, parent: Block, values: Mapping[str, Any]) -> None:
        """Notes what is wrong among the children of one supervisor."""
        taken: dict[str, Path] = {}
        for child in values.get("children", ()):
            for id in child.ids:
                first = taken.setdefault(id, child.path)
                if first != child.path:
                    self._note_at(
                        child.path, "id", f"the id {id!r} is taken by {self._where(first, child.path)}"
                    )
            self._check_significance(child, parent, values)

    def _check_significance(self, child: Child, parent: Block, values: Mapping[str, Any]) -> None:
        if "auto_shutdown" in parent and "auto_shutdown" not in values:
            return  # What it says is wrong, and was noted.
        try:
            for spec in child.specs:
                check_significance(spec, values.get("auto_shutdown", "never"))
        except SpecError as error:
            self._note_at(child.path, "significant", error.problem)

    def _check_names(self, children: Sequence[Child]) -> None:
        """Notes process names that two children of the tree take."""
        taken: dict[str, Path] = {}
        for child in every_child(children):
            for name, times in Counter(map(repr, child.names)).items():
                first = taken.setdefault(name, child.path)
                if first != child.path:
                    self._note(child.path, f"the name {name} is taken by {self._where(first, child.path)}")
                elif times > 1:
                    self._note(
                        child.path, f"the name {name} is the same for all replicas; add {{index}} to it"
                    )

    def _check_needs(self, children: Sequence[Child]) -> None:
        """Notes processes that a child needs and that the tree does not start before it."""
        # One that has mistakes of its own has an id instead.
        named = {
            name: child
            for child in every_child(children)
            for name in (child.names if child.specs else (*child.names, *child.ids))
        }
        for child in every_child(children):
            for name, *keys in child.needs:
                place = (*child.path, *keys)
                where = place if place in self.document.values else child.path
                if name not in named:
                    names = [each for each in named if isinstance(each, str)]
                    there = f"; it has: {', '.join(names)}" if names else ""
                    near = did_you_mean(name, names)
                    self._note(where, f"the tree starts no process named {name!r}{there}{near}")
                elif named[name].kind in ("consumer", "consumer_supervisor"):
                    self._note(where, f"expected a producer, got: {name!r}, which is a {named[name].kind}")
                elif keys == ["engine"] and named[name].kind not in ("engine", "worker", ""):
                    # A worker's function may start one.
                    self._note(where, f"expected an engine, got: {name!r}, whose kind is {named[name].kind}")
                elif steps(named[name].path) >= steps(child.path):
                    late = "is this child" if named[name] is child else "starts after this child"
                    self._note(where, f"the process {name!r} {late}; put it in front of it")

    def _where(self, path: Path, seen_from: Path) -> str:
        at, here = self.document.place(path), self.document.place(seen_from)
        of = "" if at.file == here.file else f" of {at.file or self.label}"
        return f"{show_path(path)} in line {at.line}{of}"

    def _note(self, path: Path, reason: str, *, of_key: bool = False) -> None:
        self.mistakes.append(Mistake(path, self.document.place(path, of_key=of_key), reason))

    def _note_at(self, path: Path, key: str, reason: str) -> None:
        """Notes a mistake at a key if the file has it, else at the mapping."""
        self._note((*path, key) if (*path, key) in self.document.values else path, reason)

    def _note_group(self, errors: list[Exception], path: Path) -> None:
        if errors:
            self._note_all(ClassValidationError("a mapping", errors, Block), path)

    def _note_all(self, error: Exception, path: Path) -> None:
        for where, of_key, reason in errors_in(error, path):
            # Errors of the house name the argument: `expected num_slots to be a positive integer`.
            named = re.match(r"expected (\w+) to ", reason)
            if named:
                self._note_at(where, named[1], reason)
            else:
                self._note(where, reason, of_key=of_key)


def _below(instance: Any) -> tuple[Child, ...]:
    """The entries of a child's own children, as its kind lists them."""
    below = getattr(instance, "listed", getattr(instance, "children", ()))
    found = below if isinstance(below, tuple) else ()
    return tuple(each for each in found if isinstance(each, Child))


@attrs.frozen
class _Parent:
    children: tuple[Child, ...] = ()


def _variables_in(block: Block) -> Iterator[str]:
    """The names of the variables in the entry of a child, less those of its own children."""
    waiting = [value for key, value in block.items() if key != "children"]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, Filled):
            yield from value.names
        elif isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _id_of(block: Block, kind: str) -> tuple[str, ...]:
    """The id of a child that could not be read, so that another one with that id is found."""
    id = block.get("id", block.get(kind))
    return (id,) if isinstance(id, str) and "replicas" not in block else ()
