"""The `${name}` and `${file:PATH}` of a tree: what stands in for them, and what became of each setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from .mistakes import did_you_mean
from .secrets import Secret, read_secret

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)(\})?")
_FILE: Final = "file:"
_MOST_FILES: Final = 1_000
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@attrs.frozen
class Filled:
    """A scalar in which variables were replaced.

    The type of an option decides how such a text is read, so `port: "${port}"` is a number although it is
    quoted. Where anything may stand (`args`), `value` counts.

    Args:
        text: The text with the variables replaced; a `Secret` if one of them was.
        value: What YAML makes of that text, if it was not quoted and is no secret.
        names: The variables.
    """

    text: str
    value: object
    names: tuple[str, ...] = attrs.field(default=(), eq=False)


@attrs.define
class Variables:
    """The values of variables: settings first, then the environment, then the default in the file.

    Args:
        settings: What the user set, by name. Each has to be used somewhere in the tree.
        environment: Environment variables by name.
        built_in: What the loader itself provides (`here`).

    Attributes:
        names: Those that the tree has asked for.
        folders: The folder of each file but the one that was asked for, by what positions call the file:
            what `${here}` is there, and where the paths in it begin.
        secrets: The texts of all files of `${file:PATH}`.
    """

    settings: Mapping[str, str]
    environment: Mapping[str, str]
    built_in: Mapping[str, str]
    names: set[str] = attrs.field(factory=set, init=False)
    folders: dict[str, Path] = attrs.field(factory=dict, init=False)
    secrets: set[str] = attrs.field(factory=set, init=False, repr=False)
    _files: set[str] = attrs.field(factory=set, init=False)

    def fill(self, text: str, file: str = "") -> str:
        """Replaces the variables of a text.

        Args:
            text: `${name}` and `${name:-default}` are replaced, and `${file:PATH}` by what stands in that
                file; `$${` stands for `${`.
            file: What positions call the file that has the text.

        Returns:
            The text without variables; a `Secret` if a file was read for it.

        Raises:
            ValueError: A variable has no value, or what follows a `${` is not a variable, or a file cannot
                be read.
        """
        filled = _VARIABLE.sub(lambda found: self._value(found, file), text)
        return Secret(filled) if "${file:" in text and self._has_secret(text) else filled

    def names_in(self, text: str) -> tuple[str, ...]:
        """The names of the variables in a text, without those that cannot be set."""
        found = (match[1].partition(":-")[0] for match in _VARIABLE.finditer(text) if match[1] is not None)
        names = (name for name in dict.fromkeys(found) if not name.startswith(_FILE))
        return tuple(name for name in names if name not in self.built_in)

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

    def folder(self, file: str) -> Path:
        """The folder of a file of the tree."""
        return self.folders[file] if file in self.folders else Path(self.built_in.get("here", "."))

    def _has_secret(self, text: str) -> bool:
        return any((match[1] or "").startswith(_FILE) for match in _VARIABLE.finditer(text))

    def _value(self, found: re.Match[str], file: str) -> str:
        if found[0] == "$${":
            return "${"
        name, has_default, default = (found[1] or "").partition(":-")
        if found[2] is not None and name.startswith(_FILE):
            return self._secret(name.removeprefix(_FILE), default if has_default else None, file)
        if found[2] is None or not _NAME.fullmatch(name):
            forms = "${name} or ${name:-default} or ${file:PATH}; $${ stands for ${ itself"
            raise ValueError(f"expected {forms}, got: {found[0]!r}")
        self.names.add(name)
        if name == "here" and file in self.folders:
            return str(self.folders[file])
        for values in (self.built_in, self.settings, self.environment):
            if name in values:
                return values[name]
        if has_default:
            return default
        raise ValueError(
            f"${{{name}}} has no value: set it with --set {name}=... or as an environment variable, or give "
            f"it a default, ${{{name}:-...}}{did_you_mean(name, [*self.built_in, *self.settings])}"
        )

    def _secret(self, path: str, default: str | None, file: str) -> str:
        if not path.strip():
            raise ValueError("expected ${file:PATH} with the path of a file, got: ${file:}")
        where = self.folder(file) / path
        if default is not None and not where.exists():
            return default
        self._files.add(str(where))
        if len(self._files) > _MOST_FILES:
            raise ValueError(f"the tree has more than {_MOST_FILES:,} files of ${{file:PATH}}")
        try:
            secret = read_secret(where)
        except ValueError as error:
            # The whole path, since a relative one begins at the file that has it.
            raise ValueError(f"the file of ${{file:{path}}}, {where}: {error}") from None
        self.secrets.add(secret)
        return secret
