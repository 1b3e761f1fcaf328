"""casty: actors with keys that are never stopped, whose messages are serialized, on a runtime in Rust."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from casty import ActorSystem, Askable, Collections, Context, actor

from ..timing import atimed


@dataclass(frozen=True)
class Note:
    """Wants no answer."""

    number: int


@dataclass(frozen=True)
class Question(Askable[int]):
    """Wants its number back."""

    number: int


@actor(initial=0)
async def echo(context: Context[int, Note | Question]) -> None:
    """Answers what it is asked."""
    async for message in context.inbox:
        if isinstance(message, Question):
            message.reply_to.tell(message.number)


def one(use: Callable[[Any], Awaitable[float]]) -> float:
    """What is measured with one actor."""

    async def main() -> float:
        async with ActorSystem() as system:
            ref = system.ref(echo, "one")
            await ref.ask(Question(1))
            return await use(ref)

    return asyncio.run(main())


def call(times: int) -> float:
    """Ask, and get the answer."""
    return one(lambda ref: atimed(lambda: ref.ask(Question(1)), times))


def cast(times: int) -> float:
    """Tell, until all of it is handled."""

    async def flood(ref: Any) -> float:
        async def all_of_it() -> None:
            for _ in range(times):
                ref.tell(Note(1))
            await ref.ask(Question(1))

        return await atimed(all_of_it) / times

    return one(flood)


def lock(times: int) -> float:
    """Acquire and release a semaphore of two."""

    async def main() -> float:
        async with ActorSystem() as system:
            semaphore = Collections(system).semaphore("one", capacity=2)

            async def both() -> None:
                (await semaphore.acquire()).release()

            await both()
            return await atimed(both, times)

    return asyncio.run(main())
