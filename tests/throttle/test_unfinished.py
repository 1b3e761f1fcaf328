"""Generators, async generators and coroutines: calls that are not over when they return."""

from __future__ import annotations

import ast
import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import BlockingInLoop

Lock = Callable[..., str]
SOON = 20.0


def used(name: str) -> int:
    return throttle.lock_state(name).used


def test_a_limited_generator_holds_its_slot_from_the_first_item_to_the_end(lock: Lock) -> None:
    name = lock(1)

    @throttle.limited(name)
    def rows(count: int) -> Iterator[int]:
        """Gives the slots in use."""
        for _ in range(count):
            yield used(name)

    generator = rows(3)
    assert rows.__doc__ == "Gives the slots in use."
    assert used(name) == 0
    assert next(generator) == 1
    assert used(name) == 1
    assert list(generator) == [1, 1]
    assert used(name) == 0


def test_a_limited_generator_gives_its_slot_back_when_it_is_closed_collected_or_raises(lock: Lock) -> None:
    name = lock(1)

    @throttle.limited(name)
    def rows() -> Iterator[int]:
        yield 1
        raise KeyError

    generator = rows()
    next(generator)
    generator.close()  # type: ignore[attr-defined]  # of a generator
    assert used(name) == 0
    generator = rows()
    next(generator)
    assert used(name) == 1
    del generator
    assert used(name) == 0
    with pytest.raises(KeyError):
        list(rows())
    assert used(name) == 0


def test_a_limited_generator_is_sent_to_and_thrown_into_like_any_other(lock: Lock) -> None:
    name = lock(1)

    @throttle.limited(name)
    def echo() -> Any:
        got: list[object] = []
        while len(got) < 2:
            try:
                got.append((yield len(got)))
            except LookupError as error:
                got.append(type(error))
        return got

    generator = echo()
    assert next(generator) == 0
    assert generator.send("sent") == 1
    with pytest.raises(StopIteration) as end:
        generator.throw(LookupError())
    assert end.value.value == ["sent", LookupError]
    assert used(name) == 0


def test_a_limited_async_generator_does_all_of_that_too(lock: Lock) -> None:
    name = lock(1)

    @throttle.limited(name)
    async def echo() -> Any:
        got: list[object] = []
        try:
            while len(got) < 3:
                try:
                    got.append((yield used(name), list(got)))
                except LookupError as error:
                    got.append(type(error))
        finally:
            ended.append(used(name))

    ended: list[int] = []

    async def main() -> None:
        generator = echo()
        assert used(name) == 0
        assert await generator.__anext__() == (1, [])
        assert await generator.asend("sent") == (1, ["sent"])
        assert await generator.athrow(LookupError()) == (1, ["sent", LookupError])
        with pytest.raises(StopAsyncIteration):
            await generator.__anext__()
        assert used(name) == 0
        generator = echo()
        await generator.__anext__()
        await generator.aclose()
        assert used(name) == 0
        generator = echo()
        await generator.__anext__()
        with pytest.raises(ZeroDivisionError):
            await generator.athrow(ZeroDivisionError())
        assert used(name) == 0

    asyncio.run(main())
    assert ended == [1, 1, 1]
    assert used(name) == 0


def rows() -> Iterator[int]:
    yield 1


async def async_rows() -> AsyncIterator[int]:
    yield 1


async def coroutine() -> int:
    return 1


class Rows:
    def __call__(self) -> Iterator[int]:
        yield 1

    def method(self) -> Iterator[int]:
        yield 1


MAKERS: list[Any] = [
    rows,
    async_rows,
    functools.partial(rows),
    Rows(),
    Rows().method,
    lambda: rows(),
    lambda: async_rows(),
    lambda: (each for each in "ab"),
]


def refused(name: str, form: str, fn: Any) -> str:
    """Have it refused, and return the advice; its code is Python."""
    with pytest.raises(TypeError, match="whose work is done when it returns, got") as error:
        match form:
            case "run":
                throttle.run(name, fn)
            case "execute":
                throttle.execute(name, fn).result(SOON)
            case "arun":
                asyncio.run(throttle.arun(name, fn))
            case "aexecute":
                asyncio.run(throttle.aexecute(name, fn))
            case _:
                throttle.limited(name)(fn)()
    for code in re.findall("`([^`]*)`", str(error.value)):
        ast.parse(code + "\ndef f(): pass" if code.startswith("@") else code)
    assert used(name) == 0
    return str(error.value)


@pytest.mark.parametrize("fn", MAKERS)
@pytest.mark.parametrize("form", ["run", "execute", "arun", "aexecute"])
def test_a_call_that_has_not_begun_when_it_returns_is_refused_and_told_what_to_write(
    lock: Lock, form: str, fn: Any
) -> None:
    assert "decorate it with `@throttle.limited(name)`" in refused(lock(1), form, fn)


@pytest.mark.parametrize("form", ["run", "execute", "limited"])
def test_a_coroutine_that_a_plain_function_returns_is_refused(lock: Lock, form: str) -> None:
    assert "unfinished coroutine" in refused(lock(1), form, lambda: coroutine())


@pytest.mark.parametrize("fn", MAKERS[5:])
def test_limited_refuses_what_a_plain_function_returns_unfinished(lock: Lock, fn: Any) -> None:
    assert "decorate the function that makes it" in refused(lock(1), "limited", fn)


@pytest.mark.parametrize("fn", [rows, functools.partial(rows), Rows(), Rows().method])
def test_limited_knows_a_generator_function_in_every_form(lock: Lock, fn: Any) -> None:
    name = lock(1)
    assert [(row, used(name)) for row in throttle.limited(name)(fn)()] == [(1, 1)]
    assert used(name) == 0


def test_arun_awaits_what_a_plain_function_returns(lock: Lock) -> None:
    assert asyncio.run(throttle.arun(lock(1), lambda: coroutine())) == 1


def test_what_was_over_already_may_be_returned(lock: Lock) -> None:
    name = lock(1)
    done = rows()
    assert list(done) == [1]
    assert throttle.run(name, lambda: done) is done


def test_the_advice_of_a_blocking_form_in_a_loop_is_python(lock: Lock) -> None:
    name = lock(1)

    async def main() -> None:
        for call in (
            lambda: throttle.acquire(name),
            lambda: throttle.run(name, print),
            lambda: throttle.slot(name).__enter__(),
        ):
            with pytest.raises(BlockingInLoop) as refused:
                call()
            (code,) = re.findall("`([^`]*)`", str(refused.value))
            compile(code, "advice", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    asyncio.run(main())
