"""Errors that can be copied, and sent to another interpreter.

Python makes a copy of an exception, or reads a pickled one, by calling its class with its ``args``. That is
wrong for every class whose constructor takes something else than it hands on: the copy has a text twice as
long, or there is none, and whoever waits for the result of a process pool waits for ever. So an error of ours
is rebuilt without its constructor, from its class, its args and its attributes.

What lives in this interpreter only cannot travel. In a pickled error a Pid, and whatever else cannot be
pickled (a lambda, a lock, a class of a function's own), becomes its printed form, however deep inside a
reason or a request it is; the text of the error stays the same. A copy within the interpreter keeps them.
"""

from __future__ import annotations

import copy
import io
import pickle
import types
from typing import Any

import pykka

PROTOCOL = 4
"""Of the pickle inside an error's pickle; every Python that we run on reads it."""
_DEEPEST = 20
"""So many lists and mappings, one in another, are taken apart to find what of them can travel."""


class Printed(str):
    """The printed form of something that could not be pickled: a str that is shown as what it stands for."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Portable:
    """Mixed into the errors of the library, before the built-in exception that they are."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), _packed(self))

    def __copy__(self) -> Any:
        kind, made_from, args, state = _parts(self)
        return _rebuilt(kind, made_from, args, dict(state))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        kind, made_from, args, state = _parts(self)
        twin = memo[id(self)] = _rebuilt(kind, made_from, args, {})
        twin.args = tuple(_deep(item, memo) for item in args)
        _update(twin, {name: _deep(value, memo) for name, value in state.items()})
        return twin


def restored(kind: type[BaseException], packed: bytes) -> BaseException:
    """Read an error that was pickled."""
    made_from, args, state = pickle.loads(packed)
    return _rebuilt(kind, made_from, args, state)


def _rebuilt(
    kind: type[BaseException], made_from: tuple[Any, ...], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    """Make an exception without the constructor of its class.

    Args:
        made_from: what the built-in exception under it takes, which for some is more than args (OSError).
    """
    built_in = _built_in(kind)
    error: BaseException = built_in.__new__(kind, *made_from)
    try:
        # Some keep their values in C, and print those (UnicodeError, OSError, SystemExit).
        built_in.__init__(error, *made_from)
    except TypeError:
        pass
    error.args = args
    _update(error, state)
    return error


def _built_in(kind: Any) -> Any:
    """The class of Python's own that a class of exceptions adds to."""
    while kind.__module__ != "builtins":
        kind = kind.__base__
    return kind


def _parts(error: Any) -> tuple[type[BaseException], tuple[Any, ...], tuple[Any, ...], dict[str, Any]]:
    """What an exception is rebuilt from."""
    _, made_from, *state = _built_in(type(error)).__reduce__(error)
    return type(error), made_from, error.args, state[0] if state and state[0] else {}


def _deep(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy, or the thing itself where there can be none (a lock)."""
    # A copy that fails leaves halves of what it was made of in its memo, which nobody else must find there.
    made = dict(memo)
    try:
        copied = copy.deepcopy(value, made)
    except Exception:
        return value
    alive = made.pop(id(made), [])
    memo.update(made)
    memo.setdefault(id(memo), []).extend(alive)
    return copied


def _packed(error: Any) -> bytes:
    _, made_from, args, state = _parts(error)
    try:
        return _checked((made_from, args, state))
    except Exception:
        # Something in it pickles and cannot be read, or fails in another odd way: each value for itself.
        return _pickled(
            (_each(made_from), _each(args), {name: _safe(value) for name, value in state.items()})
        )


def _each(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_safe(value) for value in values)


def _safe(value: Any, depth: int = 0) -> Any:
    """A value that travels: itself, made of such parts, or its printed form."""
    try:
        _checked(value)
        return value
    except Exception:
        if depth < _DEEPEST and type(value) in (tuple, list):
            return type(value)(_safe(item, depth + 1) for item in value)
        if depth < _DEEPEST and type(value) is dict:
            return {_safe(key, depth + 1): _safe(item, depth + 1) for key, item in value.items()}
        return printed(value)


def _checked(value: Any) -> bytes:
    """Pickle it, and see whether it can be read."""
    packed = _pickled(value)
    pickle.loads(packed)
    return packed


def _pickled(value: Any) -> bytes:
    into = io.BytesIO()
    _Pickler(into, PROTOCOL).dump(value)
    return into.getvalue()


def crossing(value: Any) -> bytes:
    """Pickle a value that is to be read in another interpreter; what of it cannot travel is printed."""
    return _pickled(_safe(value))


class _Pickler(pickle.Pickler):
    """Pickles what can be, and the printed form of what cannot, however deep it lies."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, pykka.ActorRef):
            return Printed, (str(value),)
        if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
            return NotImplemented if _importable(value) else (Printed, (printed(value),))
        if isinstance(value, BaseException) and _by_default(value):
            # By parts, as ours: the constructors of users' exceptions are no better.
            return _rebuilt_at(value)
        try:
            reduced = value.__reduce_ex__(PROTOCOL)
        except Exception:
            return Printed, (printed(value),)
        named = [reduced[0], *reduced[1]] if isinstance(reduced, tuple) else []
        if any(isinstance(each, (type, types.FunctionType)) and not _importable(each) for each in named):
            return Printed, (printed(value),)
        return NotImplemented


def _rebuilt_at(error: BaseException) -> tuple[Any, ...]:
    kind, made_from, args, state = _parts(error)
    if not _importable(kind):
        return Printed, (printed(error),)
    # The attributes come after it is made, so that one may refer to the error itself.
    return _rebuilt, (kind, made_from, args, {}), state or None, None, None, _update


def _update(error: BaseException, state: dict[str, Any]) -> None:
    for name, value in state.items():
        if hasattr(BaseException, name) or name not in dir(_built_in(type(error))):
            error.__dict__[name] = value
        else:
            # One of those in C: the name of an ImportError.
            setattr(error, name, value)


def _by_default(error: BaseException) -> bool:
    """Whether nobody but Python, or we, say how it is pickled."""
    for name in ("__reduce_ex__", "__reduce__", "__getstate__"):
        owner = next((base for base in type(error).__mro__ if name in vars(base)), object)
        if owner is not Portable and owner.__module__ != "builtins":
            return False
    return True


def _importable(thing: Any) -> bool:
    """Whether another interpreter finds a class or function by its name."""
    try:
        pickle.dumps(thing, PROTOCOL)
    except Exception:
        return False
    return True


def printed(value: object) -> Printed:
    """What a value looks like, also when its repr raises."""
    try:
        return Printed(repr(value))
    except Exception as error:
        return Printed(f"<{type(value).__name__} whose repr raised {type(error).__name__}>")
