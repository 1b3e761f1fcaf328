"""A cache with a single flight, as Elixir's ConCache: of all who miss a key one computes, the others wait."""

import time
from collections.abc import Awaitable, Callable, Hashable
from threading import Lock
from typing import Any, NamedTuple

from resprout import Registry


class Row(NamedTuple):
    """A value, and until when it is one."""

    value: Any
    until: float


class ConCache:
    """Values by key, forgotten `ttl` seconds after they were stored; a registry of the tree has the locks."""

    def __init__(self, registry: str, ttl: float) -> None:
        self._registry, self._ttl, self._sweep_at, self._lock = registry, ttl, time.monotonic() + ttl, Lock()
        self._rows: dict[Hashable, Row] = {}

    def get(self, key: Hashable) -> Row | None:
        """The row of a key, without waiting for anybody who is about to store one."""
        return row if (row := self._rows.get(key)) and row.until > time.monotonic() else None

    def get_or_store(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value, which is computed if it is not there; if that fails, the next who waits computes."""
        row = self.get(key) or self.isolated(key, lambda: self.get(key) or self.dirty_put(key, compute()))
        return row.value

    async def aget_or_store(self, key: Hashable, compute: Callable[[], Awaitable[Any]]) -> Any:
        """The same for coroutines; threads and coroutines wait for each other."""

        async def store() -> Any:
            return self.get(key) or self.dirty_put(key, await compute())

        return (self.get(key) or await Registry.alock(self._registry, (id(self), key), store)).value

    def isolated(self, key: Hashable, fn: Callable[[], Any]) -> Any:
        """Call a function while nobody else computes for that key, or is isolated with it."""
        return Registry.lock(self._registry, (id(self), key), fn)

    def dirty_put(self, key: Hashable, value: Any) -> Row:
        """Store a value without waiting for those who are isolated with the key."""
        with self._lock:  # so that nothing is stored between the sweep's look at a row and its deletion
            now = time.monotonic()
            if now >= self._sweep_at:
                self._sweep_at = now + self._ttl
                for old in [key for key, row in list(self._rows.items()) if row.until <= now]:
                    self.dirty_delete(old)
            self._rows[key] = row = Row(value, now + self._ttl)
        return row

    def dirty_delete(self, key: Hashable) -> None:
        """Forget a value; in `isolated`, none that is being computed is stored afterwards."""
        self._rows.pop(key, None)
