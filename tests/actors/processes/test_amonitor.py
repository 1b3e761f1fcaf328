"""`process.amonitor`: the death of a process, awaited."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resprout.actors import Agent, CallTimeout, Pid, process

WATCHDOG = 20.0


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), WATCHDOG))


def watched(pid: Pid) -> int:
    info = process.info(pid)
    assert info is not None
    return len(info.monitored_by)


def test_it_gives_the_down_and_puts_nothing_into_the_mailbox() -> None:
    async def main() -> None:
        agent = await Agent.astart(dict)
        monitor = process.amonitor(agent)
        waiting = [asyncio.ensure_future(wait(monitor)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not monitor.done()
        process.exit(agent, "kill")
        for each in waiting:
            down = await each
            assert (down.ref, down.pid, down.reason) == (monitor.ref, agent, "killed")
        assert await monitor is down
        with pytest.raises(CallTimeout):
            await process.areceive(timeout=0)

    run(main)


async def wait(monitor: process.Monitor) -> Any:
    return await monitor


@pytest.mark.parametrize("who", ["pid", "name"])
def test_who_is_dead_already_is_down_at_once(who: str) -> None:
    async def main() -> None:
        agent = await Agent.astart(dict)
        process.exit(agent, "kill")
        monitor = process.amonitor(agent if who == "pid" else "nobody")
        assert monitor.done()
        assert (await monitor).reason == "noproc"

    run(main)


def test_a_wait_that_is_cancelled_ends_that_wait_only() -> None:
    async def main() -> None:
        agent = await Agent.astart(dict)
        monitor = process.amonitor(agent)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(monitor, 0.001)
        process.exit(agent, "kill")
        assert (await monitor).reason == "killed"

    run(main)


@pytest.mark.parametrize("end", ["block", "stop", "forgotten"])
def test_it_ends_with_its_block_and_when_nobody_has_it(end: str) -> None:
    async def main() -> None:
        agent = await Agent.astart(dict)
        if end == "block":
            async with process.amonitor(agent):
                assert watched(agent) == 1
        elif end == "stop":
            monitor = process.amonitor(agent)
            monitor.stop()
            monitor.stop()
        else:
            process.amonitor(agent)
            gc.collect()
        assert watched(agent) == 0
        await Agent.astop(agent)

    run(main)
