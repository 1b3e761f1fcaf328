"""Plain values of a file -> typed options, with all that is wrong with them, and where.

cattrs dispatches on the types of the options and carries the errors; the hooks here are stricter than its own
(it would read the list `[1]` as the text "[1]") and say what was expected.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)

from ...actors import Backoff, SpecError
from .durations import Seconds, Shutdown, read_seconds, read_shutdown
from .mistakes import Path, did_you_mean, show, told
from .positions import UNREADABLE, Block, nested
from .references import Reference, read_reference
from .variables import Filled

_Made = TypeVar("_Made")
_TRUE: Final = ("true", "yes", "on")
_LONGEST_NUMBER: Final = 1_000
_LARGEST_FACTOR: Final = 1000.0
_FALSE: Final = ("false", "no", "off")
_TYPES: Final[Mapping[type, Mapping[str, Any]]] = {
    Backoff: {"initial": Seconds, "maximum": Seconds, "reset_after": Seconds | None},
}


_MISPLACED: Final = {
    "placement": "only a worker has a placement",
    "include": "the top and a supervisor include, and an entry of children: that is {include: FILE}",
    "remove": "only an overlay, or what includes a file, removes",
}


class UnknownKey(ValueError):
    """A mapping has a key that it may not have."""

    def __init__(self, key: object, allowed: Iterable[str]) -> None:
        allowed = list(allowed)
        options = ", ".join(allowed)
        hint = _MISPLACED.get(key) if isinstance(key, str) else None
        hint = did_you_mean(key, allowed) if hint is None else f"; {hint}"
        super().__init__(f"unknown key {show(key)}; expected one of: {options}{hint}")
        self.key = key


class Arguments(dict[object, object]):
    """The `args` of a call as the file has them: what they mean is known together with what is called."""


class AlreadyReported(Exception):
    """The value could not be read from the text, which was reported there."""


def plain(value: object) -> Any:
    """A value as Python has it, with nothing left of where it came from.

    Raises:
        AlreadyReported: It, or something in it, could not be read.
    """
    return nested(_plain(value)) if isinstance(value, (list, dict)) else _plain_scalar(value)


def _plain(value: list[object] | dict[object, object]) -> Generator[Any, Any, Any]:
    if isinstance(value, list):
        items = []
        for item in value:
            plain_item = (yield _plain(item)) if isinstance(item, (list, dict)) else _plain_scalar(item)
            items.append(plain_item)
        return items
    entries = {}
    for key, item in value.items():
        entries[key] = (yield _plain(item)) if isinstance(item, (list, dict)) else _plain_scalar(item)
    return entries


def _plain_scalar(value: object) -> object:
    if value is UNREADABLE:
        raise AlreadyReported
    return value.value if isinstance(value, Filled) else value


def new_converter() -> Converter:
    """A converter that reads options strictly and reports every error; for one file.

    Known are: text, numbers, truth values, `Seconds`, `Shutdown`, `Literal`, unions, lists, tuples, mappings,
    attrs classes, and `object` for whatever the file has there.
    """
    converter = Converter(detailed_validation=True)
    failed: dict[str, str] = {}

    def register(matches: Callable[[Any], bool], hook: Callable[[Any, Any, Converter], Any]) -> None:
        converter.register_structure_hook_func(matches, lambda value, kind: hook(value, kind, converter))

    register(lambda kind: kind in (object, Any), lambda value, kind, converter: plain(value))
    register(lambda kind: get_origin(kind) in (Union, types.UnionType), _union)
    register(lambda kind: get_origin(kind) is Literal, _literal)
    register(lambda kind: get_origin(kind) in (list, tuple, Sequence) or kind in (list, tuple), _sequence)
    register(lambda kind: get_origin(kind) in (dict, Mapping) or kind is dict, _mapping)
    register(lambda kind: isinstance(kind, type) and attrs.has(kind), structure_class)
    converter.register_structure_hook(Arguments, lambda value, kind: _arguments(value))
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _whole_number)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook(
        Reference, lambda value, kind: read_reference(_text(value, kind), failed)
    )
    converter.register_structure_hook(Seconds, lambda value, kind: read_seconds(_scalar(value)))
    converter.register_structure_hook(Shutdown, lambda value, kind: read_shutdown(_scalar(value)))
    return converter


@lru_cache(maxsize=64)
def options_of(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """The options that a class takes, by the names they have in a file.

    An attribute whose metadata has `{"option": False}` is none: it is given by whoever makes the instance.
    """
    attrs.resolve_types(cls)
    options = (field for field in attrs.fields(cls) if field.init and field.metadata.get("option", True))
    return {option.alias or option.name: option for option in options}


def option_type(cls: type, option: attrs.Attribute[Any]) -> Any:
    """The type of an option as a file has it."""
    return _TYPES.get(cls, {}).get(option.name, option.type)


def read_options(
    block: Block, cls: type, converter: Converter, leave_out: Container[str] = ()
) -> tuple[dict[str, Any], list[Exception]]:
    """Reads those entries of a mapping that are options of a class.

    Args:
        block: The mapping; its other entries are not looked at.
        cls: An attrs class.
        converter: What reads each value, by the type of its option.
        leave_out: Options not to read.

    Returns:
        The options that are right, and an error for each that is wrong or missing.
    """
    values: dict[str, Any] = {}
    errors: list[Exception] = []
    for name, option in options_of(cls).items():
        if name in leave_out:
            continue
        if name not in block:
            if option.default is attrs.NOTHING:
                errors.append(at_attribute(ValueError("it is missing"), name))
            continue
        try:
            values[name] = converter.structure(block[name], option_type(cls, option))
        except Exception as error:
            errors.append(at_attribute(error, name))
    return values, errors


def make(cls: type[_Made], values: Mapping[str, object]) -> _Made:
    """Makes an instance of an attrs class.

    Raises:
        ClassValidationError: Validators refuse values; it has what each of them says.
    """
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        refused = list(_refused(cls, values)) or [error]
        raise ClassValidationError(f"options of {cls.__name__}", refused, cls) from None


def structure_class(value: object, cls: type, converter: Converter) -> Any:
    """Reads a mapping that has the options of a class and nothing else.

    Raises:
        ValueError: It is no mapping.
        ClassValidationError: Keys or values are wrong.
    """
    allowed = options_of(cls)
    block = as_block(value, f"a mapping with {', '.join(allowed)}")
    values, errors = read_options(block, cls, converter)
    errors += [UnknownKey(key, allowed) for key in block if key not in allowed]
    if errors:
        raise ClassValidationError(f"options of {cls.__name__}", errors, cls)
    made: Any = make(cls, values)
    if isinstance(made, Backoff):
        _check_backoff(made)
    return made


def _check_backoff(backoff: Backoff) -> None:
    """Refuses waits that would never grow, or grow beyond what a float holds."""
    if backoff.initial > backoff.maximum:
        wanted = f"expected at most the maximum of {backoff.maximum:g} s"
        raise SpecError("backoff", "initial", f"{wanted}, got: {backoff.initial:g} s")
    if backoff.factor > _LARGEST_FACTOR:
        wanted = f"expected a number from 1 to {_LARGEST_FACTOR:g}"
        raise SpecError("backoff", "factor", f"{wanted}, got: {backoff.factor:g}")


def at_attribute(error: Exception, name: str) -> Exception:
    """Notes on an error to which key of a mapping it belongs, in cattrs' way."""
    error.__notes__ = [*getattr(error, "__notes__", []), AttributeValidationNote(name, name, object)]
    return error


def errors_in(error: Exception, path: Path) -> Iterator[tuple[Path, bool, str]]:
    """Takes an error of structuring apart.

    Args:
        error: What a hook raised, single or a group of groups.
        path: The path of the value that was structured.

    Returns:
        For each single error the path it belongs to, whether it is the key that is wrong, and the reason.
    """
    waiting: list[tuple[BaseException, Path]] = [(error, path)]
    while waiting:
        each, at = waiting.pop()
        match each:
            case BaseValidationError():
                waiting += [(part, (*at, *_steps(part))) for part in reversed(each.exceptions)]
            case AlreadyReported():
                pass
            case UnknownKey():
                yield (*at, each.key), True, str(each)
            case SpecError():
                yield (at if each.field is None else (*at, each.field)), False, each.problem
            case _:
                yield at, False, _reason(each)


def _steps(error: BaseException) -> Path:
    for note in getattr(error, "__notes__", []):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (note.index,)
    return ()


def _reason(error: BaseException) -> str:
    if isinstance(error, (TypeError, ValueError)) and error.args and isinstance(error.args[0], str):
        # attrs' own validators put the message first and follow it with the attribute and the values.
        return error.args[0]
    return told(error)


def _refused(cls: type[Any], values: Mapping[str, object]) -> Iterator[Exception]:
    """Asks each validator alone, since an attrs class stops at the first that refuses."""
    blank: Any = object.__new__(cls)
    fields = [field for field in attrs.fields(cls) if field.init]
    for field in fields:
        value = values.get(field.alias or field.name, field.default)
        if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
            value = None if value.takes_self else value.factory()  # type: ignore[attr-defined]
        object.__setattr__(blank, field.name, value)
    for field in fields:
        name = field.alias or field.name
        if field.validator is not None and name in values:
            try:
                field.validator(blank, field, getattr(blank, field.name))
            except (TypeError, ValueError) as error:
                yield at_attribute(error, name)


def _scalar(value: object) -> Any:
    """A scalar whose text counts, quoted or not, if it had variables."""
    if value is UNREADABLE:
        raise AlreadyReported
    return value.text if isinstance(value, Filled) else value


def _text(value: object, kind: object) -> str:
    text = _scalar(value)
    if isinstance(text, str):
        return text
    quote = "" if text is None or isinstance(text, (dict, list)) else "; quote it if it is meant as text"
    raise ValueError(f"expected text, got: {show(text)}{quote}")


def _whole_number(value: object, kind: object) -> int:
    number = _scalar(value)
    if isinstance(value, Filled) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value.text, re.ASCII):
        return int(value.text)
    if isinstance(number, int) and not isinstance(number, bool):
        return number
    raise ValueError(f"expected a whole number, got: {show(number)}")


def _number(value: object, kind: object) -> float:
    number = _scalar(value)
    if isinstance(value, Filled) and len(value.text) <= _LONGEST_NUMBER:
        try:
            return float(value.text)
        except ValueError:
            pass
    elif isinstance(number, (int, float)) and not isinstance(number, bool):
        try:
            return float(number)
        except OverflowError:
            pass  # A whole number beyond what a float holds.
    raise ValueError(f"expected a number, got: {show(number)}")


def _truth(value: object, kind: object) -> bool:
    truth = _scalar(value)
    if isinstance(truth, bool):
        return truth
    if isinstance(value, Filled) and value.text.lower() in _TRUE + _FALSE:
        return value.text.lower() in _TRUE
    raise ValueError(f"expected true or false, got: {show(truth)}")


def _literal(value: object, kind: Any, converter: Converter) -> object:
    chosen = _scalar(value)
    allowed = get_args(kind)
    for choice in allowed:
        if type(choice) is type(chosen) and choice == chosen:
            return choice
    words = [choice for choice in allowed if isinstance(choice, str)]
    listed = ", ".join(map(str, allowed))
    raise ValueError(f"expected one of {listed}, got: {show(chosen)}{did_you_mean(chosen, words)}")


def _union(value: object, kind: Any, converter: Converter) -> object:
    members = [member for member in get_args(kind) if member is not type(None)]
    if (value.value if isinstance(value, Filled) else value) is None and len(members) < len(get_args(kind)):
        return None
    if len(members) == 1:
        return converter.structure(value, members[0])
    reasons: list[str] = []
    for member in members:
        try:
            return converter.structure(value, member)
        except AlreadyReported:
            raise
        except Exception as error:
            reasons += [reason for _, _, reason in errors_in(error, ())]
    raise ValueError(", or ".join(dict.fromkeys(reasons)))


def _sequence(value: object, kind: Any, converter: Converter) -> object:
    if value is UNREADABLE:
        raise AlreadyReported
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got: {show(_scalar(value))}")
    arguments = get_args(kind) or (object, ...)
    into = tuple if (get_origin(kind) or kind) is tuple else list
    if into is list or arguments[-1] is Ellipsis:
        kinds: Sequence[Any] = [arguments[0]] * len(value)
    elif len(arguments) == len(value):
        kinds = arguments
    else:
        raise ValueError(f"expected a list of {len(arguments)} values, got one of {len(value)}")
    items = [(index, item, kinds[index]) for index, item in enumerate(value)]
    return into(_each(items, kind, converter).values())


def _mapping(value: object, kind: Any, converter: Converter) -> object:
    block = as_block(value, "a mapping")
    key_kind, value_kind = get_args(kind) or (object, object)
    if key_kind is str:
        wrong = [
            at_index(ValueError(f"expected text as a key, got: {show(key)}"), key)
            for key in block
            if not isinstance(key, str)
        ]
        if wrong:
            raise IterableValidationError("keys", wrong, dict)
    return _each([(key, item, value_kind) for key, item in block.items()], kind, converter)


def _arguments(value: object) -> Arguments:
    block = as_block(value, "a mapping")
    plain(block)  # what could not be read was reported there
    return Arguments(block)


def _each(items: Iterable[tuple[Any, object, Any]], kind: Any, converter: Converter) -> dict[Any, Any]:
    read: dict[Any, Any] = {}
    errors: list[Exception] = []
    for step, item, item_kind in items:
        try:
            read[step] = converter.structure(item, item_kind)
        except Exception as error:
            errors.append(at_index(error, step))
    if errors:
        raise IterableValidationError("items", errors, kind)
    return read


def at_index(error: Exception, step: Any) -> Exception:
    """Notes on an error to which item of a list or mapping it belongs, in cattrs' way."""
    error.__notes__ = [*getattr(error, "__notes__", []), IterableValidationNote(str(step), step, object)]
    return error


def as_block(value: object, wanted: str) -> Block:
    """A value that has to be a mapping.

    Raises:
        ValueError: It is something else; the message says what was wanted.
    """
    if value is UNREADABLE:
        raise AlreadyReported
    if not isinstance(value, Block):
        raise ValueError(f"expected {wanted}, got: {show(_scalar(value))}")
    return value
