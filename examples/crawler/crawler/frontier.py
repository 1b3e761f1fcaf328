"""The frontier: knows which URLs were seen, has each fetched by a task, and tries again what failed.

Elixir's idea: who keeps the books does no work. A GenServer starts a task for each piece of work
(`Task.Supervisor.async_nolink`), and a result or a crash of one is a message to it like any other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from threading import Event

import attrs
import httpx

from resprout import Down, GenServer, NoProcess, NoReply, Ok, Ref, Stop, TaskSupervisor, process

from .fetch import fetch
from .site import url_of

FETCHES = "fetches"
MAX_ATTEMPTS = 3
PAUSE = 0.1
"""Seconds before the second attempt; before each further one twice as many."""

finished = Event()
"""Is set when nothing was left; a crawl that is stopped before that never sets it."""

logger = logging.getLogger(__name__)


@attrs.frozen
class Attempt:
    """A try to fetch a page: the first one, or a later one."""

    url: str
    number: int = 1


@attrs.define
class Crawl:
    """The state.

    Args:
        client: What all tasks ask with.
        seen: Every URL that was met so far.
        left: Those that are neither fetched nor given up.
        under_way: Attempts that a task is at, by the monitors of the tasks.
    """

    client: httpx.AsyncClient
    seen: set[str] = attrs.field(factory=set)
    left: set[str] = attrs.field(factory=set)
    under_way: dict[Ref, Attempt] = attrs.field(factory=dict)


class Frontier(GenServer):
    """Crawls until nothing is left, then stops as "normal".

    It starts a task for each URL at once, since the tasks wait for their hosts, in line: a slow host holds
    up its own pages only.
    """

    trap_exit = True  # so `terminate` is called, too, when the tree is told to stop

    async def init(self, arg: dict[str, str]) -> Ok:
        """Begins at the first page of a host."""
        crawl = Crawl(self.own(httpx.AsyncClient()))
        await self._want([url_of(arg["begin_at"], 0)], crawl)
        return Ok(crawl)

    async def handle_info(self, message: object, crawl: Crawl) -> NoReply | Stop:
        """A task has a result, or has ended without one, or the pause before another attempt is over."""
        match message:
            case (ref, links):
                process.demonitor(ref, flush=True)
                crawl.left.remove(crawl.under_way.pop(ref).url)
                await self._want(links, crawl)
            case Down(ref=ref, reason=reason):
                self._failed(crawl.under_way.pop(ref), reason, crawl)
            case Attempt():
                await self._start(message, crawl)
        return NoReply(crawl) if crawl.left else Stop("normal", crawl)

    async def terminate(self, reason: object, crawl: Crawl) -> None:
        """Notes that it came to its end, or ends its tasks, if it is stopped: the client goes with it."""
        if reason == "normal":
            finished.set()
        with suppress(NoProcess):  # then they have ended with their supervisor
            for task in await TaskSupervisor.achildren(FETCHES):
                process.exit(task, "shutdown")

    async def _want(self, urls: Iterable[str], crawl: Crawl) -> None:
        for url in urls:
            if url not in crawl.seen:
                crawl.seen.add(url)
                crawl.left.add(url)
                await self._start(Attempt(url), crawl)

    async def _start(self, attempt: Attempt, crawl: Crawl) -> None:
        task = await TaskSupervisor.aasync_nolink(FETCHES, fetch, crawl.client, attempt.url)
        crawl.under_way[task.ref] = attempt

    def _failed(self, attempt: Attempt, reason: object, crawl: Crawl) -> None:
        if attempt.number == MAX_ATTEMPTS:
            crawl.left.remove(attempt.url)
            logger.warning("given up after %d attempts: %s: %s", attempt.number, attempt.url, reason)
        else:
            pause = PAUSE * 2 ** (attempt.number - 1)
            process.send_after(self.pid, attrs.evolve(attempt, number=attempt.number + 1), pause)
