"""Calls that are not over when they return: of coroutine functions, generator functions, and functions that
return what those make.
"""

from __future__ import annotations

import inspect
from functools import partial
from types import AsyncGeneratorType, BuiltinFunctionType, CoroutineType, FunctionType, GeneratorType
from typing import Final, TypeVar

T = TypeVar("T")

_BODY_LATER: Final = (
    inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
)
_UNFINISHED: Final = frozenset({CoroutineType, GeneratorType, AsyncGeneratorType})


def is_coroutine_function(fn: object) -> bool:
    """Tell whether calling fn makes a coroutine; sees through partial and callable objects."""
    return _makes(fn, inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE) or _marked(fn)


def is_generator_function(fn: object) -> bool:
    """Tell whether calling fn makes a generator; sees through the same."""
    return _makes(fn, inspect.CO_GENERATOR)


def is_async_generator_function(fn: object) -> bool:
    """Tell whether calling fn makes an async generator; sees through the same."""
    return _makes(fn, inspect.CO_ASYNC_GENERATOR)


def _makes(fn: object, flags: int) -> bool:
    while isinstance(fn, partial):
        fn = fn.func
    if isinstance(fn, (type, BuiltinFunctionType)):
        # For certain not; asking further costs as much as taking the lock.
        return False
    for each in (fn, getattr(fn, "__func__", None), getattr(type(fn), "__call__", None)):  # noqa: B004  # the method
        if isinstance(each, FunctionType):
            return bool(each.__code__.co_flags & flags)
    return False


def _marked(fn: object) -> bool:
    """Tell whether fn says that it is a coroutine function (``inspect.markcoroutinefunction``)."""
    while isinstance(fn, partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn)


def check_callable(fn: object, form: str) -> None:
    """Refuse what can't be called, or not by this form (``run``, ``arun``, ``execute``).

    Raises:
        TypeError: which says what was expected, and what to write instead.
    """
    if fn.__class__ is FunctionType and not fn.__code__.co_flags & _BODY_LATER and not fn.__dict__:
        # Nearly always, and with no room for a mark.
        return
    if not callable(fn):
        raise TypeError(f"expected fn to be callable, got: {fn!r}")
    if form == "run" and is_coroutine_function(fn):
        instead = "use `await throttle.arun(...)`, or in a thread `throttle.execute(...).result()`"
        raise TypeError(f"expected fn to be a plain function, got the coroutine function {fn!r}; {instead}")
    if is_generator_function(fn):
        raise TypeError(_advice(f"the generator function {fn!r}", form))
    if is_async_generator_function(fn):
        raise TypeError(_advice(f"the async generator function {fn!r}", form))


def check_finished(value: T, fn: object, form: str) -> T:
    """Return what a call has returned, or refuse what only begins when somebody goes on with it.

    Raises:
        TypeError: which says what to write instead.
    """
    if value.__class__ not in _UNFINISHED:
        return value
    kind = type(value).__name__.replace("_", " ")
    if isinstance(value, CoroutineType):
        state = inspect.getcoroutinestate(value)
        if state == inspect.CORO_CLOSED:
            return value
        if state == inspect.CORO_CREATED:
            # Nobody will await it, and nobody need be warned of that besides.
            value.close()
    elif isinstance(value, GeneratorType) and inspect.getgeneratorstate(value) == inspect.GEN_CLOSED:
        return value
    raise TypeError(_advice(f"{fn!r}, which returned an unfinished {kind}", form))


def _advice(got: str, form: str) -> str:
    if form == "limited":
        what = "expected a function whose work is done when it returns"
        return f"{what}, got {got}; decorate the function that makes it"
    return (
        f"expected fn to be a function whose work is done when it returns, got {got}, whose body would run "
        f"without a slot; decorate it with `@throttle.limited(name)`, which holds the slot to the end, or "
        f"exhaust it inside a function"
    )
