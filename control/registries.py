"""Registries as plain data: what there are, and the entries of one by page."""

from __future__ import annotations

from typing import Any

from ..registry import Registry, UnknownRegistry
from .errors import Refusal, near
from .words import label, shown

__all__ = ["entries", "registries"]


def registries() -> list[dict[str, Any]]:
    """Every registry with its figures."""
    found = []
    for name in Registry.registries():
        try:
            each = Registry.statistics(name)
        except UnknownRegistry:
            continue  # it has ended while we looked
        found.append(
            {
                "name": each.name,
                "pid": None if each.pid is None else str(each.pid),
                "keys": each.keys,
                "partitions": each.partitions,
                "entries": each.entries,
                "owners": each.owners,
                "locked": each.locked,
                "waiting": each.waiting,
                "restarts": each.restarts,
            }
        )
    return found


def entries(name: str, key: str | None = None, offset: int = 0, limit: int = 100) -> dict[str, Any]:
    """A page of the entries of a registry.

    Args:
        name: The registry's.
        key: Only the entries whose key reads like this, as itself or as its repr.
        offset: How many entries come before the page: a multiple of `limit`.
        limit: How many it has at the most.

    Returns:
        `rows`, and `next`, the offset of the next page, None if there is none.

    Raises:
        Refusal: There is no such registry, no such key in it, or the page begins inside of another.
    """
    if offset % limit:
        wrong = f"expected offset to be a multiple of limit, which is {limit}, got: {offset}"
        raise Refusal("bad_argument", wrong)
    there = Registry.registries()
    if name not in there:
        raise Refusal("unknown_registry", f"there is no registry {name!r}", near(name, there))
    snapshot = Registry.snapshot(name)
    if key is None:
        first = offset // limit
        rows = snapshot.page(first, limit)
        more = (first + 1) * limit < len(snapshot)
        return {"rows": [_row(each) for each in rows], "next": (first + 1) * limit if more else None}
    rows = tuple(each for page in snapshot.pages() for each in page if _reads(each.key, key))
    if not rows:
        raise Refusal("unknown_key", f"registry {name!r} has no key {key!r}")
    return {"rows": [_row(each) for each in rows[:limit]], "next": None}


def _reads(key: object, text: str) -> bool:
    return label(key) == text or shown(key) == text


def _row(row: Any) -> dict[str, Any]:
    return {"key": shown(row.key, 500), "pid": str(row.pid), "value": shown(row.value, 500)}
