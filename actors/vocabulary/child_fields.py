"""The fields of a child spec as keyword arguments, for type checkers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from .child_spec import Backoff, BrutalKill, ChildType, Infinity, OnExhausted, Placement, RestartType


class ChildFields(TypedDict, total=False):
    """See `ChildSpec`."""

    id: object
    start: Callable[..., Any] | tuple[Any, ...]
    restart: RestartType
    shutdown: float | Infinity | BrutalKill | Literal["infinity", "brutal_kill"] | None
    type: ChildType
    significant: bool
    backoff: Backoff | None
    max_restarts: int | None
    max_seconds: float | None
    on_exhausted: OnExhausted
    ready_timeout: float | None
    placement: Placement
    env: Mapping[str, str] | None


class NamedChildFields(ChildFields, total=False):
    """The same, and the name that the start function gets: a str or a Via."""

    name: Any
