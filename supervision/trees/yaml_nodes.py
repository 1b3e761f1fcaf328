"""YAML text -> nodes, under limits and without recursion.

PyYAML's own composer calls itself once a level, so a file of brackets takes Python's stack, and it has made
all nodes before anybody counts them. This one takes the events of PyYAML's parser one by one and counts what
they stand for (an alias stands for all that its anchor has) before it makes a node of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final, TypeAlias

import attrs
import yaml

from .limits import LEVELS_OF_A_VALUE, Limits, TooMuch
from .mistakes import Position

_FAST: Final[Any] = getattr(yaml, "CSafeLoader", None)
"""libyaml's parser, if PyYAML has it: the same events in a twentieth of the time."""
CYCLE: Final = "resprout:cycle"
"""The tag of what stands for an alias inside its own anchor, so that no node contains itself."""
_SHORT: Final = 64
"""Characters of a scalar whose tag is remembered."""
_AGAIN: Final = 50_000
"""Events (or ten characters each) up to which a text that libyaml refuses is read again, for the words of
PyYAML's own parser.
"""


@attrs.define(eq=False)
class _Weight:
    """What a node stands for when all aliases in it are replaced.

    Attributes:
        values: It and all in it.
        steps: The levels, counted from it, of all those values together.
        height: The levels in it.
    """

    values: int = 1
    steps: int = 0
    height: int = 0

    def add(self, inner: _Weight) -> None:
        self.values += inner.values
        self.steps += inner.steps + inner.values
        self.height = max(self.height, inner.height + 1)


_ONE: Final = _Weight()
"""That of a scalar."""


@attrs.define(eq=False)
class Scalar:
    """A text with its tag.

    Attributes:
        plain: Whether it had no quotes.
    """

    tag: str
    value: str
    position: Position
    plain: bool
    weight: ClassVar[_Weight] = _ONE


@attrs.define(eq=False)
class Sequence:
    """A list."""

    tag: str
    position: Position
    items: list[Node] = attrs.field(factory=list)
    weight: _Weight = attrs.field(factory=_Weight)


@attrs.define(eq=False)
class Mapping:
    """Keys and values in turn, as the file has them."""

    tag: str
    position: Position
    items: list[Node] = attrs.field(factory=list)
    weight: _Weight = attrs.field(factory=_Weight)

    def entries(self) -> Iterator[tuple[Node, Node]]:
        """Each key with its value."""
        return zip(self.items[::2], self.items[1::2], strict=True)


Node: TypeAlias = "Scalar | Sequence | Mapping"


def compose(text: str, limits: Limits, file: str = "") -> Node | None:
    """Makes nodes of a YAML text.

    Args:
        text: One YAML document.
        limits: Its `values` and `depth` are looked at.
        file: What the positions of the nodes call the file.

    Returns:
        The top node; `None` if there is nothing in the text.

    Raises:
        yaml.YAMLError: It is no YAML, or more than one document, or has an alias without an anchor.
        TooMuch: It exceeds a limit.
    """
    if _FAST is None:
        return _Composer(limits, file).compose(_events(yaml.SafeLoader(text)))
    composer = _Composer(limits, file)
    try:
        return composer.compose(_events(_FAST(text)))
    except yaml.composer.ComposerError:
        raise
    except (yaml.YAMLError, UnicodeError) as error:
        # Its words are for programmers, and it is stricter here and there (1,000 levels, for one).
        nested = "nesting depth" in str(getattr(error, "problem", ""))
        mark = getattr(error, "problem_mark", None)
        far = composer.seen > _AGAIN or (mark is not None and mark.index > 10 * _AGAIN)
        if far and not nested and isinstance(error, yaml.YAMLError):
            raise
    return _Composer(limits, file).compose(_events(yaml.SafeLoader(text)))


def _events(parser: Any) -> Iterator[yaml.Event]:
    try:
        yield from iter(parser.get_event, None)
    finally:
        parser.dispose()


class _Composer:
    """Takes the events of one text."""

    def __init__(self, limits: Limits, file: str) -> None:
        self.limits = limits
        self.file = file
        self.resolver = yaml.resolver.Resolver()
        self.tags: dict[tuple[str, tuple[bool, bool]], str] = {}
        self.seen = 0
        self.values = 0
        self.steps = 0
        self.anchors: dict[str, tuple[Node, Any]] = {}
        self.open: list[Sequence | Mapping] = []
        self.root: Node | None = None

    def compose(self, events: Iterable[yaml.Event]) -> Node | None:
        for event in events:
            self.seen += 1
            if type(event) is yaml.ScalarEvent:  # Most are.
                self._add_scalar(event)
                continue
            match event:
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self._begin(event)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    done = self.open.pop()
                    if self.open:
                        self.open[-1].weight.add(done.weight)
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.DocumentStartEvent():
                    self._check_single(event)
                case _:
                    pass  # The ends of the document and of the text.
        return self.root

    def _add_scalar(self, event: Any) -> None:
        """Does what `_add` does, for a scalar in a list or mapping."""
        node = self._scalar(event)
        if event.anchor is not None or not self.open:
            self._add(node, event)
            return
        depth, around = len(self.open), self.open[-1]
        self.values += 1
        self.steps += depth
        if self.values + self.steps // LEVELS_OF_A_VALUE > self.limits.values:
            self._check_limits(depth, event)
        around.items.append(node)
        weight = around.weight
        weight.values += 1
        weight.steps += 1
        weight.height = weight.height or 1

    def _scalar(self, event: Any) -> Scalar:
        tag = event.tag
        if tag is None or tag == "!":
            # Keys come again and again, and looking for the tag of one takes regular expressions.
            text = (event.value, event.implicit)
            tag = self.tags.get(text)
            if tag is None:
                tag = self.resolver.resolve(yaml.ScalarNode, *text)  # type: ignore[no-untyped-call]
                if len(event.value) <= _SHORT:
                    self.tags[text] = tag
        return Scalar(tag, event.value, self._position(event), not event.style)

    def _begin(self, event: Any) -> None:
        is_list = isinstance(event, yaml.SequenceStartEvent)
        given = None if event.tag == "!" else event.tag
        default = self.resolver.DEFAULT_SEQUENCE_TAG if is_list else self.resolver.DEFAULT_MAPPING_TAG
        made = (Sequence if is_list else Mapping)(given or default, self._position(event))
        self._add(made, event)
        self.open.append(made)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            self._refuse(None, None, f"found undefined alias {event.anchor!r}", event)
        node, _ = self.anchors[event.anchor]
        if any(node is each for each in self.open):
            node = Scalar(CYCLE, event.anchor, node.position, plain=True)
        self._put(node, event)

    def _add(self, node: Node, event: Any) -> None:
        self._put(node, event)
        if event.anchor is not None:
            if event.anchor in self.anchors:
                first = self.anchors[event.anchor][1]
                what = f"found duplicate anchor {event.anchor!r}; first occurrence"
                self._refuse(what, first, "second occurrence", event)
            self.anchors[event.anchor] = (node, event.start_mark)

    def _put(self, node: Node, event: Any) -> None:
        """Counts what a node stands for, and puts it where the text has it."""
        depth, weight = len(self.open), node.weight
        self.values += weight.values
        self.steps += weight.steps + weight.values * depth
        self._check_limits(depth + weight.height + (not isinstance(node, Scalar)), event)
        if not self.open:
            self.root = node
            return
        self.open[-1].items.append(node)
        if isinstance(node, Scalar) or isinstance(event, yaml.AliasEvent):
            self.open[-1].weight.add(weight)

    def _check_limits(self, depth: int, event: Any) -> None:
        limits = self.limits
        if depth > limits.depth:
            at = self._position(event)
            reason = (
                f"it is nested too deeply: more than {limits.depth:,} lists and mappings inside each other"
            )
            raise TooMuch(at.line, at.column, reason)
        if self.values + self.steps // LEVELS_OF_A_VALUE > limits.values:
            at = self._position(event)
            reason = f"it has more than {limits.values:,} values (aliases count each time that they are used)"
            raise TooMuch(at.line, at.column, reason)

    def _check_single(self, event: Any) -> None:
        if self.root is not None:
            what = "expected a single document in the stream"
            self._refuse(what, None, "but found another document", event)

    def _refuse(self, context: str | None, first: Any, problem: str, event: Any) -> None:
        raise yaml.composer.ComposerError(context, first, problem, event.start_mark)

    def _position(self, event: Any) -> Position:
        mark = event.start_mark
        # Without the detour over its own __new__, as there is one for each value.
        return tuple.__new__(Position, (mark.line + 1, mark.column + 1, self.file))
