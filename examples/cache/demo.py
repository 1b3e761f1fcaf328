"""Fifty callers of two kinds want one price, which is asked for once:  python examples/cache/demo.py"""

import asyncio
import time

from con_cache import ConCache
from resprout import Registry, Supervisor

Supervisor.start_link([(Registry, {"keys": "unique", "name": "locks"})], strategy="one_for_one")
prices = ConCache("locks", ttl=60.0)
asked: list[str] = []


def price() -> int:
    """Ask the supplier, who takes his time."""
    asked.append("in a thread")
    time.sleep(0.2)
    return 42


async def aprice() -> int:
    """The same in a coroutine."""
    asked.append("in a coroutine")
    await asyncio.sleep(0.2)
    return 42


async def main() -> list[int]:
    """As a web application has it: coroutines, and threads for what blocks."""
    tasks = [prices.aget_or_store("apples", aprice) for _ in range(25)]
    threads = [asyncio.to_thread(prices.get_or_store, "apples", price) for _ in range(25)]
    return list(await asyncio.gather(*threads, *tasks))


began = time.monotonic()
got = asyncio.run(main())
print(f"{len(got)} callers got {set(got)} after {time.monotonic() - began:.1f} s, asked for {asked}")
