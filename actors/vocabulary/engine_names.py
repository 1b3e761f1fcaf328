"""The name of an engine, as locks and registries are given it; both stand below the room of the engines."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

E = TypeVar("E")


def check_engine(engine: object) -> str | None:
    """Return the name of an engine, or raise the ValueError that says what is wrong."""
    if engine is None:
        return None
    if isinstance(engine, str) and "://" in engine:
        raise ValueError(
            f"expected engine to be the name of an engine, got a URL ({engine.partition('://')[0]}://...); "
            f"declare it, as in `{{engine: shared, url: ...}}` or "
            f"cluster.Engine.start_link(url, name='shared'), and name it here"
        )
    if not isinstance(engine, str) or not engine:
        raise ValueError(f"expected engine to be the name of an engine, or None, got: {engine!r}")
    return engine


def check_without_engine(on_lost: str, on_unreachable: str) -> None:
    """Refuse what means something with an engine alone, where there is none."""
    for option, value, default in (("on_lost", on_lost, "exit"), ("on_unreachable", on_unreachable, "wait")):
        if value != default:
            raise ValueError(
                f"expected {option} to be left out where there is no engine, got: {value!r}; name the engine "
                f"that may be lost or unreachable, as in `engine: shared` or engine='shared'"
            )


def engine_named(name: str, engines: Mapping[str, E], user: str) -> E:
    """Return an engine.

    Args:
        user: what wants one, for people.

    Raises:
        ValueError: there is none of that name.
    """
    engine = engines.get(name)
    if engine is None:
        near = difflib.get_close_matches(name, engines, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        there = f" (there are: {', '.join(sorted(engines))})" if engines else ""
        raise ValueError(
            f"expected engine to be the name of an engine that was started before, got: {name!r}{there}"
            f"{meant}; declare it in front of the {user}, as in `{{engine: {name}, url: ...}}` or "
            f"cluster.Engine.start_link(url, name={name!r})"
        )
    return engine
