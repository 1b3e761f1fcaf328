"""YAML text -> plain values that still know where in the text they came from.

PyYAML's own loaders forget positions, keep the last of two equal keys, and stop at the first bad value.
This reader works on the nodes that PyYAML composes: it reports every mistake of the text, and it fills in
variables where the text has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs
import yaml

from .mistakes import NOWHERE, Mistake, Path, Position, show
from .variables import Filled, Variables

_MOST_VALUES: Final = 100_000
_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "binary", "timestamp")}
_CONTAINERS: Final = {f"{_TAG}map", f"{_TAG}seq"}


class Block(dict[object, object]):
    """A mapping of the file, which knows its own path."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path


class Unreadable:
    """Stands in for a value whose mistake was reported where it was read."""


UNREADABLE: Final = Unreadable()


@attrs.frozen
class Document:
    """What a file says, and where it says it.

    Args:
        value: `Block`, `list` and scalars; `Filled` for a scalar that had variables, `UNREADABLE` for one
            that could not be read.
        values: The place of each value by its path.
        keys: The place of each key by the path of its value.
        mistakes: What was wrong with the text itself.
    """

    value: object
    values: dict[Path, Position]
    keys: dict[Path, Position]
    mistakes: tuple[Mistake, ...]

    def place(self, path: Path, *, of_key: bool = False) -> Position:
        """The place of a value or of its key, or that of the nearest mapping or list around it."""
        if of_key and path in self.keys:
            return self.keys[path]
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, NOWHERE)


def read_document(text: str, variables: Variables) -> Document:
    """Reads a YAML text.

    Args:
        text: One YAML document. Anchors, aliases and merge keys are allowed, tags of one's own are not.
        variables: What stands in for `${name}` in scalars; which of them were used is noted there.

    Returns:
        The document. It never raises: the mistakes are in it.

    Semantics: YAML 1.1 as PyYAML's safe loader has it, except that a key that comes twice is a mistake.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reader = _Reader(loader, variables)
        value = reader.read(root, (), frozenset()) if root is not None else UNREADABLE
    except yaml.YAMLError as error:
        return Document(UNREADABLE, {}, {}, (_syntax_mistake(text, error),))
    except RecursionError:
        return Document(UNREADABLE, {}, {}, (Mistake((), NOWHERE, "it is nested too deeply to be read"),))
    except _TooLarge:
        reason = f"it has more than {_MOST_VALUES:,} values (aliases count each time that they are used)"
        return Document(UNREADABLE, {}, {}, (Mistake((), NOWHERE, reason),))
    if root is None:
        reader.mistakes.append(Mistake((), Position(1, 1), "the file is empty; expected children:"))
    return Document(value, reader.values, reader.keys, tuple(reader.mistakes))


class _TooLarge(Exception):
    pass


class _Reader:
    """Walks over composed nodes; aliases are resolved by then, so one node may be visited at many paths."""

    def __init__(self, loader: yaml.SafeLoader, variables: Variables) -> None:
        self.loader = loader
        self.variables = variables
        self.values: dict[Path, Position] = {}
        self.keys: dict[Path, Position] = {}
        self.mistakes: list[Mistake] = []

    def read(self, node: yaml.Node, path: Path, inside: frozenset[int]) -> object:
        self.values[path] = _position(node.start_mark)
        # Aliases that double at each level would otherwise turn a few lines into gigabytes.
        if len(self.values) > _MOST_VALUES:
            raise _TooLarge
        if id(node) in inside:
            return self._wrong(node, path, "an alias must not contain itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _CONTAINERS:
            return self._wrong(node, path, f"the tag {_short(node.tag)} is not allowed here")
        inside |= {id(node)}
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index), inside) for index, item in enumerate(node.value)]
        return self._mapping(node, path, inside)

    def _mapping(self, node: yaml.Node, path: Path, inside: frozenset[int]) -> Block:
        block = Block(path)
        merged: list[tuple[yaml.Node, frozenset[int]]] = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merged.append((value_node, inside))
            elif (key := self._key(key_node, path)) is not UNREADABLE:
                here = (*path, key)
                if key in block:
                    first = self.keys[here].line
                    self._wrong(key_node, here, f"the key {show(key)} is here twice, first in line {first}")
                else:
                    block[key] = self._entry(key_node, value_node, here, inside)
        for source, around in merged:
            self._merge(block, source, around)
        return block

    def _merge(self, block: Block, source: yaml.Node, inside: frozenset[int]) -> None:
        """Adds the entries that a merge key (`<<`) brings, unless the block has them; the first one wins."""
        for node in source.value if isinstance(source, yaml.SequenceNode) else [source]:
            if not isinstance(node, yaml.MappingNode):
                self._wrong(node, block.path, "expected a mapping, or a list of mappings, to merge with <<")
            elif id(node) in inside:
                self._wrong(node, block.path, "an alias must not contain itself")
            else:
                around = inside | {id(node)}
                for key_node, value_node in node.value:
                    if key_node.tag == f"{_TAG}merge":
                        self._merge(block, value_node, around)
                    elif (key := self._key(key_node, block.path)) is not UNREADABLE and key not in block:
                        block[key] = self._entry(key_node, value_node, (*block.path, key), around)

    def _entry(self, key: yaml.Node, value: yaml.Node, path: Path, inside: frozenset[int]) -> object:
        self.keys[path] = _position(key.start_mark)
        return self.read(value, path, inside)

    def _key(self, node: yaml.Node, path: Path) -> object:
        if not isinstance(node, yaml.ScalarNode):
            return self._wrong(node, path, "expected a word or a number as a key, got a mapping or a list")
        return self._construct(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        if "${" not in node.value:
            return self._construct(node, path)
        try:
            text = self.variables.fill(node.value)
        except ValueError as error:
            return self._wrong(node, path, str(error))
        if node.style is not None:
            return Filled(text, text)
        tag = self.loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        plain = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark)
        # What looks like a number or a date and is none (2001-99-99) stays the text that was put in.
        value = self._value_of(plain)
        return Filled(text, text if value is UNREADABLE else value)

    def _construct(self, node: yaml.ScalarNode, path: Path) -> object:
        if node.tag not in _SCALARS and node.tag != f"{_TAG}value":
            return self._wrong(node, path, f"the tag {_short(node.tag)} is not allowed")
        value = self._value_of(node)
        if value is UNREADABLE:
            what = f"{show(node.value)} is not a valid {_short(node.tag)}"
            return self._wrong(node, path, f"{what}; quote it if it is text")
        return value

    def _value_of(self, node: yaml.ScalarNode) -> object:
        if node.tag == f"{_TAG}value":
            return node.value
        try:
            return self.loader.construct_object(node)
        except Exception:
            # PyYAML's constructors let through whatever goes wrong inside: ValueError, KeyError...
            return UNREADABLE

    def _wrong(self, node: yaml.Node, path: Path, reason: str) -> Unreadable:
        self.mistakes.append(Mistake(path, _position(node.start_mark), reason))
        return UNREADABLE


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag


def _syntax_mistake(text: str, error: yaml.YAMLError) -> Mistake:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        at = Position(before.count("\n") + 1, error.position - before.rfind("\n"))
        return Mistake((), at, f"a text file has no character {error.character:#04x}")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Mistake((), NOWHERE, f"not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Mistake((), NOWHERE, f"not YAML: {error.problem}")
    return Mistake((), _position(mark), "; ".join(_explain(text, error, mark)))


def _explain(text: str, error: yaml.MarkedYAMLError, mark: Any) -> Iterator[str]:
    around = f" ({error.context})" if error.context else ""
    yield f"not YAML: {error.problem}{around}"
    here = text[mark.index : mark.index + 1]
    if here == "\t":
        yield "indent with spaces, not with tabs"
    if here == "{" and text[: mark.index].endswith("$"):
        yield "inside { } and [ ] put quotes around ${...}"
