"""A tree file -> child specs, or every mistake that it has.

Reading starts nothing. It does import the modules that the file refers to, with the folder of the file in
front of `sys.path`, as Python does for a script.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import attrs

from ...actors import ChildSpec
from ..supervisors.options import AutoShutdown, Strategy
from .kinds import Child, closers_of, every_child, installed_kinds, specs_of
from .limits import DEFAULTS, Limits
from .mistakes import NOWHERE, Mistake, few_hints, invalid_tree
from .overlays import Overlays, read_overlays
from .positions import UNREADABLE, Document, read_nodes
from .secrets import hidden
from .sources import Unreadable, label_of, read_source
from .tree_reader import Job, TreeReader
from .tree_sources import TreeSources
from .variables import Variables

_NO_DOCUMENT: Final = Document(UNREADABLE, {}, {}, ())
_HINTS: Final = 10
"""For each mistake that is told, as what is read first need not stand first in the file."""


@attrs.frozen
class Tree:
    """What a tree file says: the options of the root supervisor and the specs of its children.

    Args:
        name: The name of the application, by default that of the file's folder.
        strategy: Of the root supervisor, as all up to `children`.
        job: What to make before the tree starts, if the file has a `job:`.
        closers: What `close` calls.
        lookouts: What `obstacles` asks.
        label: What to call the file.
        entries: What the file says of each child.
    """

    name: str
    strategy: Strategy
    max_restarts: int
    max_seconds: float
    auto_shutdown: AutoShutdown
    children: tuple[ChildSpec, ...]
    job: Job | None
    closers: tuple[Callable[[], object], ...] = ()
    lookouts: tuple[Callable[[], str | None], ...] = ()
    label: str = ""
    entries: tuple[Child, ...] = ()

    def obstacles(self) -> list[str]:
        """What would keep children from starting here and now, a sentence each."""
        return [found for look in self.lookouts if (found := look()) is not None]

    def place(self, path: Sequence[Any]) -> str:
        """Where the file tells of a child, as `file:line:column`.

        Args:
            path: The ids from the top of the tree down to it; of one that the file does not list the place of
                who is above it is given.
        """
        entry = self.entry(path)
        if entry is None or entry.position is NOWHERE:
            return self.label
        at = entry.position
        return f"{at.file or self.label}:{at.line}:{at.column}"

    def entry(self, path: Sequence[Any]) -> Child | None:
        """What the file says of a child, or of who is above it; None where it says nothing."""
        found, below = None, self.entries
        for id in path:
            here = next((each for each in below if id in each.ids), None)
            if here is None:
                break
            found, below = here, here.children
        return found

    def close(self) -> None:
        """Gives back what outlives single children, such as listening sockets, when the tree has ended."""
        for close in self.closers:
            close()


def load_tree(
    path: str | os.PathLike[str],
    settings: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    kinds: Mapping[str, Callable[[], type]] | None = None,
    limits: Limits = DEFAULTS,
    overlays: Overlays = (),
) -> Tree:
    """Reads a tree file, with what it includes and what is laid over it.

    Args:
        path: The file, or `-` for standard input. Its folder goes in front of `sys.path`.
        settings: Values of `${name}` variables.
        environment: What stands in for variables without a setting; by default the environment variables.
        kinds: The kinds of children, by default all that are installed.
        limits: How large the files may be, and what is in them.
        overlays: Files that are laid over it in this order: `production` is `tree.production.yaml` beside a
            `tree.yaml`; what has a separator of folders, or ends in `.yaml` or `.yml`, is a path.

    Returns:
        The tree.

    Raises:
        InvalidTree: The files have mistakes; it lists all of them.
    """
    kinds = installed_kinds() if kinds is None else kinds
    try:
        source = read_source(os.fspath(path), limits)
    except Unreadable as error:
        raise invalid_tree(label_of(os.fspath(path)), [error.mistake]) from None
    folder = source.folder
    variables = Variables(
        {} if settings is None else settings,
        os.environ if environment is None else environment,
        {"here": str(folder)},
    )
    _put_on_path(str(folder))
    with _no_collections(), few_hints(_HINTS * limits.mistakes_shown):
        files = TreeSources(variables, limits, kinds)
        top = files.read(source, read_overlays(source, overlays, limits))
        document = _NO_DOCUMENT if top is None else read_nodes(top, variables, limits)
        reader = TreeReader(document, kinds, limits, source.label)
        root = reader.read()
    mistakes = [*files.mistakes, *document.mistakes, *reader.mistakes]
    # A file that is no YAML has told none of its variables.
    if files.complete and document.value is not UNREADABLE:
        mistakes += [Mistake((f"--set {name}",), NOWHERE, reason) for name, reason in variables.unused()]
    if mistakes or root is None:
        told = limits.mistakes_shown
        raise invalid_tree(source.label, mistakes, told, lambda text: hidden(text, variables.secrets))
    return Tree(
        name=root.name or folder.name,
        strategy=root.strategy,
        max_restarts=root.max_restarts,
        max_seconds=root.max_seconds,
        auto_shutdown=root.auto_shutdown,
        children=tuple(specs_of(root.children)),
        job=root.job,
        closers=tuple(closers_of(root.children)),
        lookouts=tuple(each.obstacle for each in every_child(root.children) if each.obstacle is not None),
        label=source.label,
        entries=root.children,
    )


@contextmanager
def _no_collections() -> Iterator[None]:
    """Has the garbage collector wait: all that is made while a tree is read is kept, in bounds that its
    limits set, and would be looked through again and again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _put_on_path(folder: str) -> None:
    if not sys.path or sys.path[0] != folder:
        sys.path.insert(0, folder)
    # Modules may have been written since the folder was last looked into.
    importlib.invalidate_caches()
