"""`module:name` references of a tree file -> the objects they name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, Final

import attrs

from ...actors import GenServer, Killed
from ...actors.engine import constructed_by
from .mistakes import did_you_mean, shortened, show, told

_LONGEST: Final = 500
"""Characters of a reference; importing takes memory in the square of that."""


def resolve(reference: str, failed: dict[str, str] | None = None) -> object:
    """Imports what a reference names.

    Args:
        reference: `module:name`, such as `orders.api:app`; the name may have dots.
        failed: What became of modules that could not be imported, by name, so that none is tried twice.

    Returns:
        The object.

    Raises:
        ValueError: The reference has another form, the module is not there or fails, or has no such name.
    """
    if len(reference) > _LONGEST:
        raise ValueError(f"expected 'module:name', got a text of {len(reference):,} characters")
    module_name, _, name = reference.partition(":")
    if not _dotted(module_name) or not _dotted(name):
        module_name, _, name = reference.rpartition(".")
        hint = f"; did you mean '{module_name}:{name}'?" if _dotted(module_name) and _dotted(name) else ""
        raise ValueError(f"expected 'module:name', got: {reference!r}{hint}")
    failed = {} if failed is None else failed
    if module_name in failed:
        raise ValueError(failed[module_name])
    try:
        target: object = _import(module_name)
    except ValueError as error:
        failed[module_name] = str(error)
        raise
    for part in name.split("."):
        target = _attribute(target, part, module_name)
    return target


@attrs.frozen
class Reference:
    """Something callable that a file names; kinds use it as the type of an option.

    Args:
        text: `module:name` as the file has it.
        target: What that is.
    """

    text: str
    target: Callable[..., Any]


def read_reference(text: str, failed: dict[str, str] | None = None) -> Reference:
    """Imports what a reference names, which must be callable.

    Raises:
        ValueError: As `resolve`, or it is not callable.
    """
    target = resolve(text, failed)
    if not callable(target):
        raise ValueError(f"{text} is not callable, it is: {type(target).__name__}")
    return Reference(text, target)


def is_async(target: Callable[..., Any]) -> bool:
    """Whether calling it makes a coroutine: a coroutine function, or an object that is called like one."""
    return _is(inspect.iscoroutinefunction, target)


def is_generator(target: Callable[..., Any]) -> bool:
    """Whether calling it makes a generator, which does nothing by itself."""
    return _is(inspect.isgeneratorfunction, target) or _is(inspect.isasyncgenfunction, target)


def _is(asks: Callable[[Any], bool], target: Any) -> bool:
    try:
        return _answer(asks, target)
    except TypeError:  # It cannot be hashed.
        return _answer.__wrapped__(asks, target)


@lru_cache(maxsize=256)
def _answer(asks: Callable[[Any], bool], target: Any) -> bool:
    return asks(target) or (not isinstance(target, type) and asks(inspect.getattr_static(target, "__call__")))


def check_arguments(reference: Reference, arguments: Mapping[Any, object]) -> None:
    """Checks that a callable takes these keyword arguments, without calling it.

    Raises:
        ValueError: It does not. A callable that does not tell its signature (some in C) is believed.
    """
    check_keywords(reference, arguments)
    problem = refused(reference.target, (), arguments)
    if problem is not None:
        raise ValueError(f"{problem}; {reference.text} takes: {parameters_of(reference.target)}")


def check_keywords(reference: Reference, arguments: Mapping[Any, object]) -> None:
    """Checks that the keys of arguments can be names of parameters.

    Raises:
        ValueError: One is no text.
    """
    for key in arguments:
        if not isinstance(key, str):
            wanted = f"expected names as keys, since {reference.text} takes keywords"
            raise ValueError(f"{wanted}, got: {show(key)}")


def init_of(call: Callable[..., Any]) -> Callable[..., Any] | None:
    """The `init`, without `self`, that a start of this library's hands its first argument to, else `None`."""
    owner = getattr(call, "__self__", None)
    if not (isinstance(owner, type) and issubclass(owner, GenServer)):
        return None
    ours = getattr(call, "__func__", None) is GenServer.start_link.__func__  # type: ignore[attr-defined]
    init = inspect.getattr_static(owner, "init")
    return _without_self(init) if ours and inspect.isfunction(init) else None


@lru_cache(maxsize=64)
def _without_self(init: Callable[..., Any]) -> Callable[..., Any]:
    """One object for each `init`, whose signature is then looked at once."""
    return partial(init, None)


def refused(target: Callable[..., Any], positional: Sequence[Any], keywords: Mapping[Any, Any]) -> str | None:
    """Why a callable would not take these arguments, or `None` if it would, as far as its signature tells."""
    signature = signature_of(target)
    if signature is None:
        return None
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        return str(error)
    return None


def parameters_of(target: Callable[..., Any]) -> str:
    """The names of a callable's parameters, for people."""
    signature = signature_of(target)
    return (", ".join(signature.parameters) if signature is not None else "") or "none"


def signature_of(target: Callable[..., Any]) -> inspect.Signature | None:
    """How something is called; `None` if it does not tell."""
    try:
        return _signature_of(target)
    except TypeError:  # It cannot be hashed.
        return _signature_of.__wrapped__(target)


@lru_cache(maxsize=64)
def _signature_of(target: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(constructed_by(target) or target)
    # Some in C do not tell; of others the signature is code of whoever wrote them.
    except Exception:
        return None


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            near = did_you_mean(missing, _siblings(missing))
            raise ValueError(f"no module named {missing!r}{near}") from None
        raise ValueError(f"importing {name} failed: {_told(error)}") from error
    except (KeyboardInterrupt, Killed):
        raise
    # A module that ends the interpreter (sys.exit at its top level) must not end the check of a file.
    except BaseException as error:
        raise ValueError(f"importing {name} failed: {_told(error)}") from error


def _attribute(target: object, name: str, module: str) -> object:
    try:
        return getattr(target, name)
    except (KeyboardInterrupt, Killed):
        raise
    except BaseException as error:
        if not isinstance(error, AttributeError):
            raise ValueError(f"reading {name!r} of {module} failed: {_told(error)}") from error
        raise ValueError(f"{_shown(target, module)} has no {name!r}{_nearest(name, target)}") from None


def _shown(target: object, module: str) -> str:
    if isinstance(target, ModuleType):
        return f"module {module!r}"
    try:
        return shortened(repr(target), 100)
    except Exception:
        return f"what is a {type(target).__name__}"


def _nearest(name: str, target: object) -> str:
    try:
        return did_you_mean(name, [word for word in dir(target) if not word.startswith("_")])
    except Exception:
        return ""


def _siblings(missing: str) -> list[str]:
    """The modules that lie where the missing one was looked for first."""
    package, _, _ = missing.rpartition(".")
    if package:
        path = list(getattr(sys.modules.get(package), "__path__", []))
        return [f"{package}.{module.name}" for module in pkgutil.iter_modules(path)]
    return [module.name for module in pkgutil.iter_modules(sys.path[:1])]


def _told(error: BaseException) -> str:
    """An error in one line, with the line of code that it came from."""
    text = told(error)
    if isinstance(error, SyntaxError):
        return f"{text} ({error.filename}:{error.lineno})"
    ours = (__file__, "importlib")
    theirs = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(o in frame.filename for o in ours)
    ]
    return f"{text} ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else text
