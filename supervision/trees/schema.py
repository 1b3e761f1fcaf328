"""The kinds of children -> a JSON Schema of tree files, by which editors complete and check them.

It is made of the same classes that read the files: keys, types, defaults, words that are allowed, and the
prose of their docstrings. What only a look into modules or at other children can tell (that `start` is there,
that an id is taken) is for `resprout check`.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, Union, get_args, get_origin

import attrs

from .durations import Seconds, Shutdown
from .kinds import Child, Common, installed_kinds, not_negative
from .references import Reference
from .structuring import Arguments, option_type, options_of
from .tree_reader import Root

Schema = dict[str, Any]

_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
_VARIABLE: Final[Schema] = {"type": "string", "pattern": r"\$\{", "description": "Text with variables."}
_SCALARS: Final[Mapping[Any, Schema]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}
_TIME: Final = r"^\s*(\d+(\.\d+)?|(\d+(\.\d+)?\s*(ms|s|min|m|h)\s*)+)\s*$|\$\{"
_PLAIN: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    Seconds: {"$ref": "#/definitions/time"},
    Shutdown: {"$ref": "#/definitions/shutdown"},
    Reference: {"$ref": "#/definitions/reference"},
    Child: {"$ref": "#/definitions/child"},
    Arguments: {"type": "object"},
}
_PATHS: Final[Schema] = {
    "description": "The path of a file, from the folder of this one, or several.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}
_REMOVE: Final[Schema] = {
    "description": "true: takes the child away; a list: these keys of it.",
    "anyOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}],
}
_INCLUDING: Final = ("supervisor",)
"""The kinds whose keys may come from a file."""
_REFERENCE: Final = "#/definitions/"
_OVER: Final = "over_"
"""What the definitions begin with of what is laid over a file that is included."""


def tree_schema(*, overlay: bool = False, kinds: Mapping[str, Callable[[], type]] | None = None) -> Schema:
    """Makes the JSON Schema (draft 7) of tree files.

    Args:
        overlay: That of files which are laid over others: nothing has to be there, and `remove` may be.
        kinds: The kinds of children, by default all that are installed. One that cannot be loaded may have
            any keys.

    Returns:
        The schema, of dicts, lists, texts, numbers and truth values.
    """
    return _Maker(installed_kinds() if kinds is None else kinds, overlay).make()


class _Maker:
    def __init__(self, kinds: Mapping[str, Callable[[], type]], overlay: bool) -> None:
        self.overlay = overlay
        self.kinds = kinds
        self.classes = {name: _loaded(load) for name, load in sorted(kinds.items())}
        self.options = {name: {} if cls is None else options_of(cls) for name, cls in self.classes.items()}
        self.definitions: Schema = {
            "time": {
                "description": "A time: a number of seconds, or with units: 5s, 500ms, 1m30s, 2h.",
                "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _TIME}],
            },
            "shutdown": {
                "description": "A time, infinity, or brutal_kill.",
                "anyOf": [{"$ref": "#/definitions/time"}, {"enum": ["infinity", "brutal_kill"]}],
            },
            "reference": {
                "description": "module:name, looked for beside the tree file and where Python looks.",
                "type": "string",
                "pattern": r"^[^:]+:[^:]+$|\$\{",
            },
        }

    def make(self) -> Schema:
        root = self._object(Root, {**options_of(Root)})
        root["properties"]["include"] = _PATHS
        root.pop("required", None)
        if self.overlay:
            root["properties"]["remove"] = _REMOVE
        for name, cls in self.classes.items():
            self.definitions[f"kind_{name}"] = self._kind(name, cls)
        self.definitions["child"] = self._child()
        self.definitions["tree"] = root
        if not self.overlay:
            over = _Maker(self.kinds, True).make()["definitions"]
            self.definitions.update(
                {_OVER + name: _over(each) for name, each in over.items() if _is_laid_over(name)}
            )
            self.definitions["tree"] = _with_include(root, "tree")
        children = {"type": "array", "items": {"$ref": "#/definitions/child"}}
        tree = {"$ref": "#/definitions/tree"}
        return {
            "$schema": _DIALECT,
            "title": "An overlay of a resprout tree file" if self.overlay else "A resprout tree file",
            # A file that is included may be a list of children.
            **(tree if self.overlay else {"if": {"type": "array"}, "then": children, "else": tree}),
            "definitions": dict(sorted(self.definitions.items())),
        }

    def _child(self) -> Schema:
        """A child is of the kind whose key it has; a kind may have an option that is named like another."""
        names = list(self.classes)
        cases: list[Schema] = []
        for name in names:
            others = [each for each in names if each != name and name in self.options[each]]
            here: Schema = {"required": [name]}
            if others:
                here["not"] = {"anyOf": [{"required": [each]} for each in others]}
            cases.append({"if": here, "then": {"$ref": f"#/definitions/kind_{name}"}})
        included = {"properties": {"include": _PATHS}, "additionalProperties": False}
        other = {"not": {"anyOf": [{"required": [name]} for name in (*names, "id")]}}
        cases.append({"if": {**other, "required": ["include"]}, "then": included})
        ways = [*names, "include", *(["id"] if self.overlay else [])]
        child: Schema = {
            "type": "object",
            "description": "A child: one key names its kind, and its value is the id.",
            "anyOf": [{"required": [name]} for name in ways],
            "allOf": cases,
        }
        if self.overlay:
            child["properties"] = {"id": {"type": "string"}, "remove": _REMOVE}
        return child

    def _kind(self, name: str, cls: type | None) -> Schema:
        if cls is None:
            return {"type": "object"}
        made = self._object(cls, {**options_of(Common), **options_of(cls)}, Common)
        if name in _INCLUDING:
            made["properties"]["include"] = _PATHS
            made["required"] = [key for key in made["required"] if key != "children"]
            if not self.overlay:
                return _with_include(made, f"kind_{name}")
        if self.overlay:
            made["properties"]["remove"] = _REMOVE
            made.pop("required", None)
        return made

    def _object(
        self, cls: type, options: Mapping[str, attrs.Attribute[Any]], beside: type | None = None
    ) -> Schema:
        """A mapping with options, in the order of the class, those of every child last."""
        own = options_of(cls)
        told = {**({} if beside is None else dict(_told(beside))), **dict(_told(cls))}
        properties = {}
        for name in (*own, *(each for each in options if each not in own)):
            option = options[name]
            owner = cls if name in own else beside
            assert owner is not None
            properties[name] = self._option(option, option_type(owner, option), told.get(name))
        required = [name for name, option in options.items() if option.default is attrs.NOTHING]
        return {
            "type": "object",
            "description": _first_sentence(cls),
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def _option(self, option: attrs.Attribute[Any], kind: Any, told: str | None) -> Schema:
        schema = self._type(kind)
        if option.validator is not_negative and schema.get("anyOf"):
            schema = {**schema, "anyOf": [_not_negative(each) for each in schema["anyOf"]]}
        if told:
            schema = {"description": told, **({"allOf": [schema]} if "$ref" in schema else schema)}
        default = option.default
        if default is not None and type(default) in (str, int, float, bool) and not callable(default):
            schema = {**schema, **({"allOf": [schema]} if "$ref" in schema else {}), "default": default}
            schema.pop("$ref", None)
        return schema

    def _type(self, kind: Any) -> Schema:
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if kind in _SCALARS:
            return {"anyOf": [_SCALARS[kind], _VARIABLE]}
        origin, inner = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return {"anyOf": [each for member in inner for each in self._members(member)]}
        if origin is Literal:
            return {"anyOf": [{"enum": list(inner)}, _VARIABLE]}
        if origin in (list, tuple, Sequence):
            return self._array(origin, inner)
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": self._type(inner[1])}
        if isinstance(kind, type) and attrs.has(kind):
            if kind.__name__ not in self.definitions:
                self.definitions[kind.__name__] = {}
                self.definitions[kind.__name__] = self._object(kind, options_of(kind))
            return {"$ref": f"#/definitions/{kind.__name__}"}
        return {}

    def _members(self, kind: Any) -> Iterable[Schema]:
        if kind is type(None):
            return [{"type": "null"}]
        schema = self._type(kind)
        return schema["anyOf"] if set(schema) == {"anyOf"} else [schema]

    def _array(self, origin: Any, inner: tuple[Any, ...]) -> Schema:
        if origin is tuple and inner and inner[-1] is not Ellipsis:
            count = len(inner)
            items = [self._type(each) for each in inner]
            return {"type": "array", "items": items, "minItems": count, "maxItems": count}
        return {"type": "array", "items": self._type(inner[0]) if inner else {}}


def _with_include(made: Schema, name: str) -> Schema:
    """What may include a file: with one it is laid over that, without it has children of its own."""
    alone = {**made, "required": [*made.get("required", ()), "children"]}
    return {
        "if": {"required": ["include"]},
        "then": {"$ref": f"{_REFERENCE}{_OVER}{name}"},
        "else": alone,
    }


def _is_laid_over(name: str) -> bool:
    return name in ("child", "tree") or name.startswith("kind_")


def _over(schema: Any) -> Any:
    """A definition of an overlay's, under the names that they have beside those of a tree."""
    if isinstance(schema, list):
        return [_over(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _over(value) for key, value in schema.items()}
    name = str(schema.get("$ref", "")).removeprefix(_REFERENCE)
    return {**made, "$ref": f"{_REFERENCE}{_OVER}{name}"} if _is_laid_over(name) else made


def _loaded(load: Callable[[], type]) -> type | None:
    try:
        cls = load()
        options_of(cls)
    except Exception:
        return None  # It belongs to a package that is half installed; a tree that uses it says so.
    return cls


def _not_negative(schema: Schema) -> Schema:
    return {**schema, "minimum": 0} if schema.get("type") in ("integer", "number") else schema


def _first_sentence(cls: type) -> str:
    text = " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
    return text.replace("`", "")


def _told(cls: type) -> Iterator[tuple[str, str]]:
    """What the docstring of a class says of each of its options."""
    section = re.search(r"^ *Args:\n(.*?)(?:\n\s*\n|\Z)", cls.__doc__ or "", re.DOTALL | re.MULTILINE)
    if section is None:
        return
    for entry in re.split(r"\n(?= {8}\w)", section[1].rstrip()):
        names, _, text = entry.partition(":")
        for name in names.split(","):
            yield name.strip(), " ".join(text.split()).replace("`", "")
