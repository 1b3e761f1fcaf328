"""What the `child_spec` of a supervisor is given: options of its start and fields of the spec, side by side.

One form for all: a mapping, so that `(DynamicSupervisor, {"name": "sessions"})` is a child; or keyword
arguments; or both, where the keyword arguments count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from ...actors import ChildSpec, SpecError, child_spec, one_of
from ...actors.engine import split_fields

FIELDS: Final = tuple(field.name for field in attrs.fields(ChildSpec))
STARTING: Final = ("name", "timeout")
"""The options of every start."""


@attrs.frozen
class Given:
    """What a `child_spec` was given, told apart.

    Attributes:
        owner: The name of the supervisor's class.
        options: What its start is called with.
        fields: Fields of the spec.
    """

    owner: str
    options: dict[str, Any]
    fields: dict[str, Any]

    def only(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Those of the options with such a name that are not None."""
        return not_none(**{name: self.options.get(name) for name in names})

    def spec(self, start: Any, *args: Any) -> ChildSpec:
        """The spec of a supervisor that is started with these arguments and the options.

        Its id is the name of the process, if it has one, or else that of the class.
        """
        name = self.options.get("name")
        made = {
            "id": self.owner if name is None else name,
            "start": (start, args, self.options),
            "type": "supervisor",
            **self.fields,
        }
        return child_spec(made)


def not_none(**options: Any) -> dict[str, Any]:
    """Those of the options that are not None, which says the same as nothing."""
    return {name: value for name, value in options.items() if value is not None}


def read_options(owner: str, options: object, more: Mapping[str, Any], allowed: tuple[str, ...]) -> Given:
    """Reads what a `child_spec` was given.

    Args:
        owner: The name of the supervisor's class.
        options: The mapping, or None.
        more: The keyword arguments, which count more.
        allowed: The options of the start.

    Raises:
        SpecError: An option is unknown, or what was given is no mapping.
    """
    if not isinstance(options, (Mapping, type(None))):
        problem = f"expected a mapping of options ({', '.join(allowed)}), got: {options!r}"
        raise SpecError(owner, "options", problem)
    starting, fields = split_fields({**(options or {}), **more}, allowed)
    known = (*allowed, *(field for field in FIELDS if field not in allowed))
    for name in starting:
        if name not in allowed:
            one_of(owner, str(name), name, known)
    return Given(owner, starting, fields)


def spec_of_module(
    module: type, base: type, arg: Any, more: Mapping[str, Any], inner: tuple[str, ...]
) -> ChildSpec:
    """The spec of a supervisor whose class has an `init` of its own, which gets `arg` as it is.

    Args:
        module: The class.
        base: The class of this library that it is made from.
        arg: What its `init` is called with.
        more: The keyword arguments.
        inner: The options that only its `init` can give.

    Raises:
        SpecError: A keyword argument is unknown.
        TypeError: It is for the `init` to give.
    """
    refuse_beside_init(module, base, [name for name in more if name in inner])
    start: Any = module
    return read_options(module.__name__, None, more, STARTING).spec(start.start_link, arg)


def refuse_beside_init(module: type, base: type, options: list[str]) -> None:
    """Refuses options of a supervisor whose class says in its `init` what it is.

    Raises:
        TypeError: There are such options.
    """
    if options:
        where = f"to {base.__name__}.init_spec there"
        raise TypeError(f"{module.__name__} has an init of its own: give {options[0]!r} {where}")


def refuse_beside_spec(module: type, spec: object, options: list[str]) -> None:
    """Refuses options of a supervisor that is given what it is as a whole.

    Raises:
        SpecError: There are such options.
    """
    if options:
        problem = f"expected it in the {type(spec).__name__} that is given, or no such spec, got both"
        raise SpecError(module.__name__, options[0], problem)
