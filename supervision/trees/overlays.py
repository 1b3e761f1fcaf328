"""The overlays of a tree, as they are named: `production` is `tree.production.yaml` beside a `tree.yaml`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from .limits import Limits
from .mistakes import Mistake, Position
from .sources import STDIN, Source, Unreadable, read_source

_ENDINGS: Final = (".yaml", ".yml")

OverlayName: TypeAlias = "str | os.PathLike[str]"
Overlays: TypeAlias = "OverlayName | Iterable[OverlayName]"


def read_overlays(source: Source, overlays: Overlays, limits: Limits) -> Iterator[Source | Mistake]:
    """Reads overlays, in the order in which they are laid over a file.

    Args:
        source: The file.
        overlays: A name or path, or several.
        limits: As for the file.

    Returns:
        The text of each, or why there is none.
    """
    for overlay in _several(overlays):
        try:
            path = _path(source, os.fspath(overlay))
        except ValueError as error:
            yield Mistake((f"--overlay {os.fspath(overlay)}",), Position(0, 0), str(error))
            continue
        try:
            yield read_source(path, limits)
        except Unreadable as error:
            at = error.mistake.position
            yield Mistake((), Position(at.line, at.column, path), error.mistake.reason)


def absolute(overlays: Overlays) -> tuple[OverlayName, ...]:
    """Overlays whose paths do not depend on the current folder any more; names stay names."""
    given = [os.fspath(each) for each in _several(overlays)]
    return tuple(os.path.abspath(each) if _is_path(each) else each for each in given)


def _several(overlays: Overlays) -> Iterable[OverlayName]:
    if isinstance(overlays, (str, os.PathLike)):
        return [overlays]
    if not isinstance(overlays, Iterable):
        raise TypeError(f"expected overlays to be a name, a path, or several of them, got: {overlays!r}")
    return overlays


def _is_path(overlay: str) -> bool:
    return overlay.endswith(_ENDINGS) or "/" in overlay or os.sep in overlay


def _path(source: Source, overlay: str) -> str:
    if overlay == STDIN:
        raise ValueError("expected a name, or the path of a file, got: '-'")
    if not overlay.strip():
        raise ValueError("expected a name, or the path of a file, got an empty text")
    if _is_path(overlay):
        return overlay
    if source.path == STDIN:
        wanted = f"expected a path such as ./tree.{overlay}.yaml, as standard input has no name"
        raise ValueError(f"{wanted}, got: {overlay!r}")
    base = Path(source.path)
    ending = base.suffix if base.suffix in _ENDINGS else ".yaml"
    stem = base.stem if base.suffix in _ENDINGS else base.name
    return os.path.join(os.path.dirname(source.path), f"{stem}.{overlay}{ending}")
