"""YAML text -> plain values that still know where in the text they came from.

PyYAML's own loaders forget positions, keep the last of two equal keys, and stop at the first bad value.
This reader works on nodes of its own: it reports every mistake of the text, and it fills in
variables where the text has them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from types import GeneratorType
from typing import Any, Final, TypeAlias, TypeVar, cast

import attrs
import yaml

from .limits import DEFAULTS, Limits, TooMuch
from .mistakes import NOWHERE, Mistake, Path, Position, shortened, show
from .secrets import Secret
from .variables import Filled, Variables
from .yaml_nodes import CYCLE, Mapping, Node, Scalar, Sequence, compose

_T = TypeVar("_T")
_TAG: Final = "tag:yaml.org,2002:"
_SCALARS: Final = {f"{_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "binary", "timestamp")}
_CONTAINERS: Final = {f"{_TAG}map", f"{_TAG}seq"}
_NUMBERS: Final = {f"{_TAG}int", f"{_TAG}float"}
_TEXTS: Final = {f"{_TAG}str", f"{_TAG}value"}
_MERGE: Final = f"{_TAG}merge"
_CYCLE: Final = "an alias must not contain itself"
_LARGEST_KEY: Final = 10**18


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


def read_document(text: str, variables: Variables, limits: Limits = DEFAULTS) -> Document:
    """Reads a YAML text; see `nodes_of` and `read_nodes`.

    Args:
        text: One YAML document.
        variables: What stands in for `${name}` in scalars; which of them were used is noted there.
        limits: How much may be in it; beyond that there is one mistake and nothing else.

    Returns:
        The document. It never raises: the mistakes are in it.
    """
    root = nodes_of(text, limits)
    if isinstance(root, Mistake):
        return Document(UNREADABLE, {}, {}, (root,))
    return read_nodes(root, variables, limits)


def nodes_of(text: str, limits: Limits, file: str = "") -> Node | Mistake:
    """Takes a YAML text apart.

    Args:
        text: One YAML document. Anchors, aliases and merge keys are allowed, tags of one's own are not.
        limits: How much may be in it.
        file: What the positions call the file.

    Returns:
        Its top node, or what is wrong with the text as a whole.

    Semantics: YAML 1.1 as PyYAML's safe loader has it.
    """
    try:
        root = compose(text, limits, file)
    except yaml.YAMLError as error:
        return _syntax_mistake(text, error, file)
    except TooMuch as error:
        return Mistake((), Position(error.line, error.column, file), error.reason)
    if root is None:
        return Mistake((), Position(1, 1, file), "the file is empty; expected children:")
    return root


def read_nodes(root: Node, variables: Variables, limits: Limits = DEFAULTS) -> Document:
    """Reads nodes, which may come from several files; a key that comes twice is a mistake."""
    reader = _Reader(variables, limits)
    value = reader.read(root)
    return Document(value, reader.values, reader.keys, tuple(reader.mistakes))


_Reading: TypeAlias = Generator[Any, Any, Any]


class _Reader:
    """Walks over nodes; what an alias stands for is visited at many paths."""

    def __init__(self, variables: Variables, limits: Limits) -> None:
        self.variables = variables
        self.limits = limits
        self.loader = yaml.SafeLoader("")
        self.values: dict[Path, Position] = {}
        self.keys: dict[Path, Position] = {}
        self.mistakes: list[Mistake] = []

    def read(self, root: Node) -> object:
        """The value of the top node and all below it."""
        value = self._node(root, ())
        return nested(value) if isinstance(value, GeneratorType) else value

    def _node(self, node: Node, path: Path) -> object | _Reading:
        """The value of a node, or what reads it if there is something in it."""
        self.values[path] = node.position
        if isinstance(node, Scalar):
            return self._scalar(node, path)
        if node.tag not in _CONTAINERS:
            return self._wrong(node, path, f"the tag {_short(node.tag)} is not allowed here")
        return self._mapping(node, path) if isinstance(node, Mapping) else self._sequence(node, path)

    def _sequence(self, node: Sequence, path: Path) -> _Reading:
        items = []
        for index, item in enumerate(node.items):
            value = self._node(item, (*path, index))
            items.append((yield value) if type(value) is GeneratorType else value)
        return items

    def _mapping(self, node: Mapping, path: Path) -> _Reading:
        block = Block(path)
        merged: list[Node] = []
        for key_node, value_node in node.entries():
            if key_node.tag == _MERGE:
                merged.append(value_node)
            elif (key := self._key(key_node, path)) is not UNREADABLE:
                here = (*path, key)
                if key in block:
                    first = self.keys[here].line
                    self._wrong(key_node, here, f"the key {show(key)} is here twice, first in line {first}")
                else:
                    self.keys[here] = key_node.position
                    value = self._node(value_node, here)
                    block[key] = (yield value) if type(value) is GeneratorType else value
        for source in merged:
            yield self._merge(block, source)
        return block

    def _merge(self, block: Block, source: Node) -> _Reading:
        """Adds the entries that a merge key (`<<`) brings, unless the block has them; the first one wins."""
        for node in source.items if isinstance(source, Sequence) else [source]:
            if node.tag == CYCLE:
                self._wrong(node, block.path, _CYCLE)
            elif not isinstance(node, Mapping):
                self._wrong(node, block.path, "expected a mapping, or a list of mappings, to merge with <<")
            else:
                for key_node, value_node in node.entries():
                    if key_node.tag == _MERGE:
                        yield self._merge(block, value_node)
                    elif (key := self._key(key_node, block.path)) is not UNREADABLE and key not in block:
                        here = (*block.path, key)
                        self.keys[here] = key_node.position
                        block[key] = yield self._node(value_node, here)

    def _key(self, node: Node, path: Path) -> object:
        if not isinstance(node, Scalar):
            return self._wrong(node, path, "expected a word or a number as a key, got a mapping or a list")
        key = self._construct(node, path)
        # Larger ones can be chosen so that a dict takes quadratic time for them.
        if isinstance(key, int) and abs(key) >= _LARGEST_KEY:
            return self._wrong(node, path, f"expected a word or a shorter number as a key, got: {show(key)}")
        return key

    def _scalar(self, node: Scalar, path: Path) -> object:
        if "${" not in node.value:
            return self._construct(node, path)
        try:
            text = self.variables.fill(node.value, node.position.file)
        except ValueError as error:
            return self._wrong(node, path, str(error))
        names = self.variables.names_in(node.value)
        if not node.plain or isinstance(text, Secret):
            return Filled(text, text, names)
        tag = self.loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        # What looks like a number or a date and is none (2001-99-99) stays the text that was put in.
        value = self._value_of(Scalar(tag, text, node.position, plain=True))
        return Filled(text, text if value is UNREADABLE else value, names)

    def _construct(self, node: Scalar, path: Path) -> object:
        if node.tag == CYCLE:
            return self._wrong(node, path, _CYCLE)
        if node.tag not in _SCALARS and node.tag != f"{_TAG}value":
            return self._wrong(node, path, f"the tag {_short(node.tag)} is not allowed")
        value = self._value_of(node)
        if value is not UNREADABLE:
            return value
        what = f"{show(node.value)} is not a valid {_short(node.tag)}"
        if node.tag in _NUMBERS and len(node.value) > self.limits.digits:
            what = (
                f"{show(node.value)} has {len(node.value):,} digits, and {self.limits.digits:,} are the most"
            )
        return self._wrong(node, path, f"{what}; quote it if it is text")

    def _value_of(self, node: Scalar) -> object:
        if node.tag in _TEXTS:
            return node.value
        # Python reads, and above all writes, long numbers in quadratic time.
        if node.tag in _NUMBERS and len(node.value) > self.limits.digits:
            return UNREADABLE
        try:
            construct: Any = self.loader.yaml_constructors[node.tag]
            return construct(self.loader, yaml.ScalarNode(node.tag, node.value))
        except Exception:
            # PyYAML's constructors let through whatever goes wrong inside: ValueError, KeyError...
            return UNREADABLE

    def _wrong(self, node: Node, path: Path, reason: str) -> Unreadable:
        self.mistakes.append(Mistake(path, node.position, reason))
        return UNREADABLE


def nested(task: Generator[Any, Any, _T]) -> _T:
    """Runs a function that calls itself once a level without taking Python's stack for that.

    Args:
        task: A generator; it yields one of its own kind where it would have called itself, and gets the
            result of that, or the error.
    """
    tasks: list[Generator[Any, Any, Any]] = [task]
    result: Any = None
    error: Exception | None = None
    while tasks:
        try:
            if error is None:
                inner = tasks[-1].send(result)
            else:
                inner = tasks[-1].throw(error)
        except StopIteration as done:
            tasks.pop()
            result, error = done.value, None
        except Exception as raised:
            tasks.pop()
            error = raised
        else:
            if isinstance(inner, GeneratorType):
                tasks.append(inner)
                result = None
            else:
                result = inner
            error = None
    if error is not None:
        raise error
    return cast("_T", result)


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else shortened(tag)


def _syntax_mistake(text: str, error: yaml.YAMLError, file: str) -> Mistake:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        at = Position(before.count("\n") + 1, error.position - before.rfind("\n"), file)
        return Mistake((), at, f"a text file has no character {error.character:#04x}")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Mistake((), Position(0, 0, file), f"not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Mistake((), Position(0, 0, file), f"not YAML: {error.problem}")
    return Mistake((), Position(mark.line + 1, mark.column + 1, file), "; ".join(_explain(text, error, mark)))


def _explain(text: str, error: yaml.MarkedYAMLError, mark: Any) -> Iterator[str]:
    around = f" ({error.context})" if error.context else ""
    yield f"not YAML: {error.problem}{around}"
    if "<block end>" in str(error.problem):
        yield "it does not go on with what is above: look at how far this line is indented"
    if str(error.problem).startswith("mapping values are not allowed"):
        yield "look at how far this line is indented, and put quotes around text with `: ` in it"
    here = text[mark.index : mark.index + 1]
    if here == "\t":
        yield "indent with spaces, not with tabs"
    if here == "{" and text[: mark.index].endswith("$"):
        yield "inside { } and [ ] put quotes around ${...}"
