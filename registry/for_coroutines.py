"""The forms for coroutines of what waits for the engine of a registry."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ..actors import Pid, need_loop
from ..actors.engine import check_alive, dead_but_running
from .owner import owner_here
from .table import find
from .via import unique


class ForCoroutines:
    """What `Registry` has for coroutines. Without an engine they do the same as the plain names, at once."""

    @staticmethod
    async def aregister(
        registry: str | Pid, key: Hashable, value: Any = None, timeout: float | None = None
    ) -> Pid:
        """The form of `Registry.register` for coroutines. One that is cancelled has registered nothing."""
        if dead_but_running:
            check_alive()
        need_loop("Registry.aregister()")
        table = find(registry)
        me = owner_here()
        while True:
            if await table.aregister(me, key, value, timeout):
                return me
            # It died while it registered.
            me = owner_here()

    @staticmethod
    async def aunregister(registry: str | Pid, key: Hashable) -> None:
        """The form of `Registry.unregister` for coroutines. It is given up even if this is cancelled."""
        if dead_but_running:
            check_alive()
        need_loop("Registry.aunregister()")
        await find(registry).agive_up(owner_here(), key)

    @staticmethod
    async def alookup(registry: str | Pid, key: Hashable) -> list[tuple[Pid, Any]]:
        """The form of `Registry.lookup` for coroutines."""
        if dead_but_running:
            check_alive()
        need_loop("Registry.alookup()")
        return await find(registry).apairs(key)

    @staticmethod
    async def awhereis(registry: str | Pid, key: Hashable) -> Pid | None:
        """The form of `Registry.whereis` for coroutines."""
        if dead_but_running:
            check_alive()
        need_loop("Registry.awhereis()")
        return await unique(registry).aowner(key)
