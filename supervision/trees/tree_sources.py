"""The files of one tree -> the nodes of one document: what `include:` brings, and what overlays change.

It works on nodes, before variables are filled in and types are looked at: so kinds know nothing of it, and
each value keeps the place where it was written.
"""

from __future__ import annotations

import os
from collections.abc import Container, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from .limits import LEVELS_OF_A_VALUE, Limits
from .mistakes import Mistake, Position, did_you_mean, show
from .overlaying import Overlay, entries_of, key_of, mapping_of, shown, text_of
from .positions import nested, nodes_of
from .secrets import Secret
from .sources import Source, Unreadable, read_source
from .variables import Variables
from .yaml_nodes import Mapping, Node, Scalar
from .yaml_nodes import Sequence as ListNode

_INCLUDE: Final = "include"
_DEEPEST: Final = 16
"""Files that may include one another in a chain."""
_MOST_FILES: Final = 1_000
_CHILDREN: Final = ("children",)

_Work = Generator[Any, Any, Any]


@attrs.frozen
class TreeSource:
    """One file of a tree.

    Args:
        file: What positions call it.
        label: What people call it: the same, but for the file that was asked for.
        path: The file itself, wherever links have led.
        folder: Where the paths in it begin.
        root: Its top node; `None` if it cannot be read.
        includes: Whether it may include others.
    """

    file: str
    label: str
    path: str
    folder: Path
    root: Node | None
    includes: bool


class TreeSources:
    """Reads the files of a tree, each once.

    Args:
        variables: What paths of `include:` may have; it learns the folders of the files.
        limits: They hold for all files together.
        kinds: The names of the kinds of children, by which children are known.

    Attributes:
        mistakes: What is wrong with files as files.
        complete: Whether all of them could be read.
    """

    def __init__(self, variables: Variables, limits: Limits, kinds: Container[str]) -> None:
        self.variables = variables
        self.limits = limits
        self.kinds = kinds
        self.mistakes: list[Mistake] = []
        self.complete = True
        self._read: dict[str, TreeSource] = {}
        self._tried = 0
        self._size = 0
        self._values = 0
        self._steps = 0

    def read(self, source: Source, overlays: Iterable[Source | Mistake]) -> Node | None:
        """The top node of a tree.

        Args:
            source: The file that was asked for.
            overlays: What is laid over it, later ones over earlier ones; or why one cannot be.

        Returns:
            What they say together; `None` if the first of them cannot be read.
        """
        main = self._source(source, "")
        top = None if main.root is None else nested(self._opened(main, (), 0))
        overlay = Overlay(self.variables, self.kinds, self.mistakes, main.label)
        for each in overlays:
            if isinstance(each, Mistake):
                self._fail(each)
                continue
            over = self._source(each, each.label)
            said = None if over.root is None else nested(self._opened(over, (), 0))
            if said is not None and top is not None:
                top = overlay.laid_over(top, said)
        return top

    def _source(self, source: Source, file: str) -> TreeSource:
        """Takes the text of a file apart, unless that was done before."""
        path = os.path.realpath(source.path)
        known = self._read.get(path)
        if known is not None:
            return known
        self._size += len(source.text)
        if file:
            self.variables.folders[file] = source.folder
        root = nodes_of(source.text, self.limits, file)
        if isinstance(root, Mistake):
            self._fail(root)
        top = None if isinstance(root, Mistake) else root
        made = TreeSource(file, source.label, path, source.folder, top, _INCLUDE in source.text)
        self._read[path] = made
        return made

    def _opened(self, source: TreeSource, chain: tuple[TreeSource, ...], depth: int) -> _Work:
        """The top of a file with all that it includes."""
        assert source.root is not None
        weight = source.root.weight
        self._values += weight.values
        self._steps += weight.steps + weight.values * depth
        if not source.includes:
            return source.root
        chain = (*chain, source)
        if isinstance(source.root, ListNode):
            return (yield self._list(source.root, chain, depth))
        return (yield self._holder(source.root, chain, depth, top=True))

    def _holder(self, node: Node, chain: tuple[TreeSource, ...], depth: int, *, top: bool = False) -> _Work:
        """What has children, with all that they and it include."""
        if not isinstance(node, Mapping):
            return node
        entries = entries_of(node)
        named = {key_of(key): value for key, value in entries}
        if "children" in named and isinstance(named["children"], ListNode):
            children = yield self._list(named["children"], chain, depth + 1)
            entries = [(key, children if key_of(key) == "children" else value) for key, value in entries]
        if _INCLUDE not in named or not (top or "supervisor" in named):
            return mapping_of(node, entries) if "children" in named else node
        own = mapping_of(node, [(key, value) for key, value in entries if key_of(key) != _INCLUDE])
        overlay = Overlay(self.variables, self.kinds, self.mistakes, "")
        below: Node | None = None
        for place in _places(named[_INCLUDE]):
            found = yield self._included(place, chain, depth)
            if not isinstance(found, Mapping):
                own = _with_children(own, place)  # That they are missing is no further mistake.
            if found is not None and not isinstance(found, Mapping):
                wanted = "expected a mapping with children: in what is included here"
                self._note(place, f"{wanted}, got a list; among children, an entry {{include: ...}} takes it")
            elif found is not None:
                below = found if below is None else overlay.laid_over(below, found)
        return own if below is None else overlay.laid_over(below, own)

    def _list(self, node: ListNode, chain: tuple[TreeSource, ...], depth: int) -> _Work:
        """Children, with those of other files in the places of the entries that include them."""
        items: list[Node] = []
        for item in node.items:
            named = (
                {key_of(key): value for key, value in entries_of(item)} if isinstance(item, Mapping) else {}
            )
            if _INCLUDE in named and (len(named) == 1 or not self._has_kind(named)):
                others = [show(key) for key in named if key != _INCLUDE]
                if others:
                    what = f"expected include: alone, or beside supervisor:, got also: {', '.join(others)}"
                    self._note(item, what)
                for place in _places(named[_INCLUDE]):
                    items += yield self._spliced(place, chain, depth + 1)
            else:
                items.append((yield self._holder(item, chain, depth + 1)))
        return ListNode(node.tag, node.position, items, node.weight)

    def _spliced(self, place: Node, chain: tuple[TreeSource, ...], depth: int) -> _Work:
        """The children of a file that is included among children."""
        found = yield self._included(place, chain, depth)
        if isinstance(found, ListNode):
            return found.items
        if not isinstance(found, Mapping):
            return []
        children: list[Node] = []
        for key, value in entries_of(found):
            name = key_of(key)
            if name == "children" and isinstance(value, ListNode):
                children = value.items
            elif name == "children":
                self._note(value, f"expected a list, got: {shown(value)}")
            else:
                what = "expected children: and nothing else in a file that is included among children"
                hint = did_you_mean(name, _CHILDREN) or (
                    "; to have a supervisor with its options of a file: {supervisor: NAME, include: FILE}"
                )
                self._note(key, f"{what}, got: {show(name)}{hint}")
        return children

    def _included(self, place: Node, chain: tuple[TreeSource, ...], depth: int) -> _Work:
        """The top of an included file; `None` if there is none, which was noted."""
        try:
            source = self._found(place, chain)
            if source is None or source.root is None:
                return None
            self._check_weight(source, depth)
        except ValueError as error:
            self._note(place, str(error))
            return None
        opened = yield self._opened(source, chain, depth)
        if not isinstance(opened, (Mapping, ListNode)):
            wanted = "expected children:, or a list of children, in a file that is included"
            self._note(opened, f"{wanted}, got: {shown(opened)}")
            return None
        return opened

    def _found(self, place: Node, chain: tuple[TreeSource, ...]) -> TreeSource | None:
        """The file that an include names; `None` if its text is none, which was noted.

        Raises:
            ValueError: It cannot be included.
        """
        path, label = self._path(place, chain[-1])
        real = os.path.realpath(path)
        steps = [each.path for each in chain]
        if real in steps:
            circle = [each.label for each in chain[steps.index(real) :]]
            raise ValueError(f"the file includes itself: {' -> '.join([*circle, label])}")
        if len(chain) > _DEEPEST:
            way = " -> ".join([chain[0].label, "...", *(each.label for each in chain[-3:]), label])
            raise ValueError(f"files include one another more than {_DEEPEST} deep: {way}")
        if real in self._read:
            return self._read[real]
        self._tried += 1
        if self._tried > _MOST_FILES:
            self.complete = False
            raise ValueError(
                f"{show(label)} cannot be included: the tree has more than {_MOST_FILES:,} files"
            )
        try:
            source = read_source(str(path), self.limits)
        except Unreadable as error:
            self.complete = False
            at, reason = error.mistake.position, error.mistake.reason
            if at.line == 0:
                raise ValueError(f"{show(label)} cannot be included: {reason}") from None
            self.mistakes.append(Mistake((), Position(at.line, at.column, label), reason))
            return None
        if self._size + len(source.text) > self.limits.size:
            self.complete = False
            most = f"more than {self.limits.size:,} bytes, which is the limit for a tree"
            raise ValueError(f"{show(label)} cannot be included: its files have {most}")
        return self._source(attrs.evolve(source, label=label), label)

    def _path(self, place: Node, includer: TreeSource) -> tuple[Path, str]:
        """The path of an include, and what to call it."""
        text = text_of(place)
        if text is None:
            raise ValueError(f"expected the path of a file, or a list of paths, got: {shown(place)}")
        path = self.variables.fill(text, place.position.file)
        if isinstance(path, Secret):
            raise ValueError("expected the path of a file, got a secret")
        if not path.strip():
            raise ValueError("expected the path of a file, got an empty text")
        label = os.path.join(os.path.dirname(includer.label), path)
        return includer.folder / path, os.path.normpath(label)

    def _check_weight(self, source: TreeSource, depth: int) -> None:
        """Refuses what makes the tree larger than the limits.

        Raises:
            ValueError: It does.
        """
        assert source.root is not None
        weight, limits = source.root.weight, self.limits
        values = self._values + weight.values
        steps = self._steps + weight.steps + weight.values * depth
        problem = ""
        if depth + weight.height + 1 > limits.depth:
            problem = f"the tree is nested too deeply with it: more than {limits.depth:,} levels"
        elif values + steps // LEVELS_OF_A_VALUE > limits.values:
            problem = (
                f"the tree has more than {limits.values:,} values with it, each include counted by itself"
            )
        if problem:
            self.complete = False
            raise ValueError(f"{show(source.label)} cannot be included: {problem}")

    def _has_kind(self, named: Iterable[object]) -> bool:
        return any(isinstance(key, str) and key in self.kinds for key in named)

    def _note(self, node: Node, reason: str) -> None:
        self.mistakes.append(Mistake((), node.position, reason))

    def _fail(self, mistake: Mistake) -> None:
        self.complete = False
        self.mistakes.append(mistake)


def _with_children(node: Mapping, place: Node) -> Mapping:
    """A mapping that has children: in any case."""
    entries = entries_of(node)
    if any(key_of(key) == "children" for key, _ in entries):
        return node
    key = Scalar("tag:yaml.org,2002:str", "children", place.position, plain=True)
    return mapping_of(node, [*entries, (key, ListNode("tag:yaml.org,2002:seq", place.position))])


def _places(node: Node) -> Sequence[Node]:
    """The paths of an include, one or several."""
    return node.items if isinstance(node, ListNode) else [node]
