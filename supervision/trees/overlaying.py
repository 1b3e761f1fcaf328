"""One mapping laid over another, as an overlay is over a tree file, and a file over what it includes.

The rules: mappings are merged key by key, and what is above counts; children are merged by their ids, new
ones come last, and all other lists are replaced. `remove: true` takes a child away, `remove: [key]` keys.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator
from typing import Any, Final

from .mistakes import Mistake, did_you_mean, show
from .positions import nested
from .variables import Variables
from .yaml_nodes import Mapping, Node, Scalar, Sequence

MERGE: Final = "tag:yaml.org,2002:merge"
_TEXT: Final = "tag:yaml.org,2002:str"
_TRUE: Final = ("true", "yes", "on")
_FALSE: Final = ("false", "no", "off")
_REMOVE: Final = "remove"
_CHILDREN: Final = "children"

Entry = tuple[Node, Node]
_Work = Generator[Any, Any, Any]


def key_of(node: Node) -> object:
    """What a key is compared by: the text of one that is text."""
    if isinstance(node, Scalar):
        return node.value if node.tag == _TEXT else (node.tag, node.value)
    return id(node)


def text_of(node: Node | None) -> str | None:
    """The text of a scalar, as it stands there; `None` for what is none."""
    return node.value if isinstance(node, Scalar) else None


def shown(node: Node) -> str:
    """A value for a message."""
    text = text_of(node)
    return show({} if isinstance(node, Mapping) else []) if text is None else show(text)


def entries_of(node: Mapping) -> list[Entry]:
    """The entries of a mapping with those that merge keys (`<<`) bring; what is wrong with one is left in."""
    entries: list[Entry] = []
    names: set[object] = set()
    waiting: list[Entry] = []
    for key, value in node.entries():
        if key.tag == MERGE:
            waiting.append((key, value))
        else:
            entries.append((key, value))
            names.add(key_of(key))
    waiting.reverse()
    while waiting:
        key, value = waiting.pop()
        if key.tag != MERGE:
            if key_of(key) not in names:
                names.add(key_of(key))
                entries.append((key, value))
        elif isinstance(value, Mapping):
            waiting += list(value.entries())[::-1]
        elif isinstance(value, Sequence) and all(isinstance(item, Mapping) for item in value.items):
            waiting += [(key, item) for item in value.items[::-1]]
        else:
            entries.append((key, value))
    return entries


def mapping_of(like: Mapping, entries: list[Entry]) -> Mapping:
    """A mapping with these entries, at the place of another one."""
    return Mapping(like.tag, like.position, [node for entry in entries for node in entry], like.weight)


class Overlay:
    """Lays nodes over others.

    Args:
        variables: What ids may have in them.
        kinds: The names of the kinds of children, behind which their ids stand.
        mistakes: Where to note what is wrong. If something was wrong with the files themselves, children
            that are not there are no further mistake.
        below: What people call the file below.
    """

    def __init__(
        self, variables: Variables, kinds: Container[str], mistakes: list[Mistake], below: str
    ) -> None:
        self.variables = variables
        self.kinds = kinds
        self.mistakes = mistakes
        self.below = below
        self.all_read = not mistakes

    def laid_over(self, below: Node, above: Node) -> Node:
        """The top of a file with that of another laid over it."""
        if not isinstance(above, Mapping):
            self._note(above, f"expected a mapping with what is to be changed, got: {shown(above)}")
            return below
        if not isinstance(below, Mapping):
            return below  # Which is a mistake of that file.
        merged: Node = nested(self._merged(below, above, holder=True))
        return merged

    def _merged(self, below: Mapping, above: Mapping, *, holder: bool) -> _Work:
        """One mapping over another; a holder is the top or a child, which may have children."""
        said = entries_of(above)
        entries = self._without_removed(below, said) if holder else entries_of(below)
        places = {key_of(key): place for place, (key, _) in enumerate(entries)}
        seen: dict[object, Node] = {}
        for key, value in said:
            name = key_of(key)
            if name in seen:
                line = seen[name].position.line
                self._note(key, f"the key {show(text_of(key))} is here twice, first in line {line}")
            seen[name] = key
            if holder and name == _REMOVE:
                continue
            if name not in places:
                places[name] = len(entries)
                entries.append((key, value))
                continue
            old = entries[places[name]][1]
            if holder and name == _CHILDREN and isinstance(old, Sequence) and isinstance(value, Sequence):
                value = yield self._children(old, value)
            elif isinstance(old, Mapping) and isinstance(value, Mapping):
                value = yield self._merged(old, value, holder=False)
            entries[places[name]] = (key, value)
        return mapping_of(below, entries)

    def _children(self, below: Sequence, above: Sequence) -> _Work:
        items: list[Node | None] = [*below.items]
        places: dict[str, int] = {}
        for number, item in enumerate(below.items):
            id = self._id(item)
            if id is not None:
                places.setdefault(id, number)
        for item in above.items:
            id = self._id(item)
            place = None if id is None else places.get(id)
            old = None if place is None else items[place]
            if not isinstance(item, Mapping) or not isinstance(old, Mapping) or place is None:
                items += self._new(item, id, places)
            elif self._is_removed(item):
                items[place] = None
            elif not self._is_another(old, item):
                items[place] = yield self._merged(old, item, holder=True)
        left = [item for item in items if item is not None]
        return Sequence(below.tag, below.position, left, below.weight)

    def _new(self, item: Node, id: str | None, known: dict[str, int]) -> Iterator[Node]:
        """A child that the file below does not have, if it can be one."""
        if not isinstance(item, Mapping):
            yield item
            return
        named = {key_of(key): value for key, value in entries_of(item)}
        if _REMOVE not in named and self._kind(item) is not None:
            yield item
        elif id is None:
            yield item  # Which is a mistake of that child.
        elif self.all_read:
            there = f"; it has: {', '.join(known)}" if known else ""
            what = "to remove" if _REMOVE in named else "to change, and no key says the kind of a new one"
            near = did_you_mean(id, known)
            self._note(item, f"there is no child {show(id)} here {what}{there}{near}")

    def _is_removed(self, item: Mapping) -> bool:
        value = next((value for key, value in entries_of(item) if key_of(key) == _REMOVE), None)
        return (text_of(value) or "").lower() in _TRUE

    def _without_removed(self, below: Mapping, said: list[Entry]) -> list[Entry]:
        """The entries of a mapping without those that `remove: [...]` names."""
        entries = entries_of(below)
        for key, value in said:
            if key_of(key) != _REMOVE or (text_of(value) or "").lower() in _FALSE:
                continue
            wanted = value.items if isinstance(value, Sequence) else [value]
            names = [text_of(name) for name in wanted]
            if not isinstance(value, Sequence) or None in names:
                self._note(value, f"expected true, or a list of keys, got: {shown(value)}")
                continue
            there = [name for key, _ in entries if isinstance(name := key_of(key), str)]
            for node, name in zip(wanted, names, strict=True):
                if name not in there:
                    near = did_you_mean(name, there)
                    what = f"there is no key {show(name)} here to remove; it has: {', '.join(there)}{near}"
                    self._note(node, what)
            entries = [(key, value) for key, value in entries if key_of(key) not in names]
        return entries

    def _is_another(self, below: Mapping, above: Mapping) -> bool:
        """Whether a child is of another kind than it was, which is noted."""
        one, other = self._kind(below), self._kind(above)
        if one is None or other is None or key_of(one) == key_of(other):
            return False
        removed = next((value for key, value in entries_of(above) if key_of(key) == _REMOVE), None)
        if isinstance(removed, Sequence) and key_of(one) in [text_of(name) for name in removed.items]:
            return False
        at = one.position
        first = f"{at.file or self.below or 'this file'}:{at.line}:{at.column}"
        hint = f"to put another in its place, remove: [{key_of(one)}, ...] with what else it had"
        what = f"the child is a {show(key_of(one))} in {first}, and here a {show(key_of(other))}"
        self._note(other, f"{what}; {hint}")
        return True

    def _kind(self, item: Mapping) -> Node | None:
        """The key that names the kind of a child."""
        for key, _ in entries_of(item):
            name = key_of(key)
            if isinstance(name, str) and name in self.kinds:
                return key
        return None

    def _id(self, item: Node) -> str | None:
        """The id of a child, as far as it can be told from its text."""
        if not isinstance(item, Mapping):
            return None
        found: Node | None = None
        for key, value in entries_of(item):
            name = key_of(key)
            if name == "id":
                found = value
                break
            if found is None and isinstance(name, str) and name in self.kinds:
                found = value
        text = text_of(found)
        if text is None or found is None:
            return None
        try:
            return str(self.variables.fill(text, found.position.file))
        except ValueError:
            return text  # Which is a mistake of that text.

    def _note(self, node: Node, reason: str) -> None:
        self.mistakes.append(Mistake((), node.position, reason))
