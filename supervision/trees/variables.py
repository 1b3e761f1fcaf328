"""The `${name}` of a tree file: what stands in for them, and what became of each setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from .mistakes import did_you_mean

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)(\})?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@attrs.frozen
class Filled:
    """A scalar in which variables were replaced.

    The type of an option decides how such a text is read, so `port: "${port}"` is a number although it is
    quoted. Where anything may stand (`args`), `value` counts.

    Args:
        text: The text with the variables replaced.
        value: What YAML makes of that text, if it was not quoted.
        names: The variables.
    """

    text: str
    value: object
    names: tuple[str, ...] = attrs.field(default=(), eq=False)


@attrs.define
class Variables:
    """The values of variables: settings first, then the environment, then the default in the file.

    Args:
        settings: What the user set, by name. Each has to be used somewhere in the file.
        environment: Environment variables by name.
        built_in: What the loader itself provides (`here`).
    """

    settings: Mapping[str, str]
    environment: Mapping[str, str]
    built_in: Mapping[str, str]
    names: set[str] = attrs.field(factory=set, init=False)

    def fill(self, text: str) -> str:
        """Replaces the variables of a text.

        Args:
            text: `${name}` and `${name:-default}` are replaced, `$${` stands for `${`.

        Returns:
            The text without variables.

        Raises:
            ValueError: A variable has no value, or what follows a `${` is not a variable.
        """
        return _VARIABLE.sub(self._value, text)

    def names_in(self, text: str) -> tuple[str, ...]:
        """The names of the variables in a text, without those that cannot be set."""
        found = (match[1].partition(":-")[0] for match in _VARIABLE.finditer(text) if match[1] is not None)
        return tuple(name for name in dict.fromkeys(found) if name not in self.built_in)

    def unused(self) -> list[tuple[str, str]]:
        """The settings that no variable of the file asks for, each with what is wrong."""
        known = sorted(self.names - set(self.built_in))
        there = f"its variables are: {', '.join(known)}" if known else "it has no variables"
        return [
            (name, "it is built in and cannot be set")
            if name in self.built_in
            else (name, f"the file has no ${{{name}}}; {there}{did_you_mean(name, known)}")
            for name in self.settings
            if name not in known
        ]

    def _value(self, found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, has_default, default = (found[1] or "").partition(":-")
        if found[2] is None or not _NAME.fullmatch(name):
            forms = "${name} or ${name:-default}; $${ stands for ${ itself"
            raise ValueError(f"expected {forms}, got: {found[0]!r}")
        self.names.add(name)
        for values in (self.built_in, self.settings, self.environment):
            if name in values:
                return values[name]
        if has_default:
            return default
        raise ValueError(
            f"${{{name}}} has no value: set it with --set {name}=... or as an environment variable, or give "
            f"it a default, ${{{name}:-...}}{did_you_mean(name, [*self.built_in, *self.settings])}"
        )
