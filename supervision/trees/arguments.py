"""The `args` of a tree file -> the arguments of a call, as the signature of what is called says.

Anything may stand in `args`, so YAML decides what a value is. Only a text in which variables were replaced
says nothing about itself: `"${every:-0.05}"` is a number for a parameter `every: float`, and text for
`every: str`.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, Union, get_args, get_origin

from cattrs import Converter
from cattrs.errors import ClassValidationError

from ...actors.engine import constructed_by
from .positions import Block, nested
from .references import signature_of
from .structuring import at_attribute, at_index, errors_in, new_converter, plain
from .variables import Filled

_NUMBERED: Final = "{index}"
_ORDER: Final = (bool, int, float, str)
"""Of the types of a union, the pickiest first, as text is always text."""
_NULL: Final = ("", "~", "null")
_LISTS: Final = (list, tuple, set, frozenset, Sequence)
_MAPPINGS: Final = (dict, Mapping)


def typed_arguments(arguments: Mapping[Any, object], target: Callable[..., Any]) -> dict[Any, Any]:
    """The arguments of a call as the annotations of its parameters say.

    Args:
        arguments: As the file has them, by name.
        target: What will be called.

    Returns:
        The arguments with nothing left of where they came from. Values without variables are as they were,
        and so is what belongs to a parameter without an annotation, or with one that is no number, truth
        value or text.

    Raises:
        ClassValidationError: Texts with variables that are not what the annotation says, each at its key.
    """
    converter = _converter()
    read: dict[Any, Any] = {}
    wrong: list[Exception] = []
    for name, value in arguments.items():
        try:
            read[name] = nested(_followed(value, _annotation(target, name), converter))
        except Exception as error:
            wrong.append(at_attribute(error, name))
    if wrong:
        raise ClassValidationError("arguments", wrong, dict)
    return read


_converter: Final = lru_cache(maxsize=1)(new_converter)


def _annotation(target: Callable[..., Any], name: object) -> Any:
    """What a parameter is annotated with; `object` where nobody knows."""
    try:
        return _found_annotation(target, name)
    except TypeError:  # It cannot be hashed.
        return _found_annotation.__wrapped__(target, name)


@lru_cache(maxsize=256)
def _found_annotation(target: Callable[..., Any], name: object) -> Any:
    signature = signature_of(target)
    if signature is None or not isinstance(name, str):
        return object
    parameter = signature.parameters.get(name)
    if parameter is None or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        rest = [each for each in signature.parameters.values() if each.kind is each.VAR_KEYWORD]
        parameter = rest[0] if rest else None
    if parameter is None or parameter.annotation is parameter.empty:
        return object
    holder: Any = types.SimpleNamespace(__annotations__={name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, globalns=_names_around(target))[name]
    except Exception:
        # Postponed, and of names that are there for type checkers only.
        return object


def _names_around(target: Any) -> dict[str, Any]:
    """Where the names of a callable's annotations are looked up."""
    owner: Any = constructed_by(target) or getattr(target, "func", target)  # that of a functools.partial
    is_class = isinstance(owner, type)
    function = owner.__init__ if is_class else inspect.unwrap(owner)
    if not hasattr(function, "__globals__"):
        function = getattr(function, "__func__", None) or vars(type(function)).get("__call__")
    module = sys.modules.get(getattr(owner, "__module__", None) or "")
    return {**vars(module or types), **getattr(function, "__globals__", {})}


def _followed(value: object, kind: Any, converter: Converter) -> Generator[Any, Any, Any]:
    """A value with all texts in it that had variables read as an annotation says."""
    kind = getattr(kind, "__supertype__", kind)  # that of a NewType
    if isinstance(value, Filled):
        # The number of a replica is not known yet.
        return plain(value) if _NUMBERED in value.text else _read(value, kind, converter)
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(value, list):
        item = inner[0] if origin in _LISTS and inner and (len(inner) == 1 or inner[1] is ...) else object
        items = []
        for index, each in enumerate(value):
            try:
                items.append((yield _followed(each, item, converter)))
            except Exception as error:
                raise ClassValidationError("items", [at_index(error, index)], list) from None
        return items
    if isinstance(value, Block):
        item = inner[1] if origin in _MAPPINGS and len(inner) == 2 else object
        entries = {}
        for key, each in value.items():
            try:
                entries[key] = yield _followed(each, item, converter)
            except Exception as error:
                raise ClassValidationError("items", [at_index(error, key)], dict) from None
        return entries
    return plain(value)


def _read(value: Filled, kind: Any, converter: Converter) -> Any:
    choices = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    kinds = [getattr(choice, "__supertype__", choice) for choice in choices if choice is not type(None)]
    if not kinds or not all(each in _ORDER or _is_words(each) for each in kinds):
        return plain(value)
    if len(kinds) < len(choices):
        if value.value is None or (str not in kinds and value.text.strip().lower() in _NULL):
            return None
    reasons: list[str] = []
    for choice in sorted(kinds, key=_rank):
        try:
            return converter.structure(value, choice)
        except ValueError as error:
            reasons += [reason for _, _, reason in errors_in(error, ())]
    raise ValueError(", or ".join(dict.fromkeys(reasons)))


def _is_words(kind: Any) -> bool:
    return get_origin(kind) is Literal and all(isinstance(word, str) for word in get_args(kind))


def _rank(kind: Any) -> int:
    return _ORDER.index(kind) if kind in _ORDER else -1
