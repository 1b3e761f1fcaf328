"""A line of the control socket <-> a request or an answer. Pure; docs/control.md has the format."""

from __future__ import annotations

import json
from typing import Any

import attrs

from .errors import Refusal
from .words import shown

__all__ = ["VERSION", "Request", "answer", "read_request", "refusal", "streamed"]

VERSION = 1
"""Of the format. A server answers requests of its own version only."""
_KEYS = ("v", "id", "do", "with")


@attrs.frozen
class Request:
    """What a client asks for.

    Args:
        do: The name of the request.
        args: Its arguments, by name.
        id: Whatever the client has put there to know the answer by.
    """

    do: str
    args: dict[str, Any] = attrs.field(factory=dict)
    id: str | int | None = None


def read_request(line: bytes) -> Request:
    """A request from a line.

    Raises:
        Refusal: It is none, or one of another version.
    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refusal(
            "bad_request", f"expected an object of JSON on a line, got: {shown(line, 80)}"
        ) from error
    if not isinstance(told, dict):
        raise Refusal("bad_request", f"expected an object of JSON on a line, got: {shown(told, 80)}")
    version = told.get("v")
    if version != VERSION or isinstance(version, bool):
        what = "no `v`" if "v" not in told else f"v: {shown(version, 80)}"
        raise Refusal("bad_version", f"expected v: {VERSION}, the version of this server, got: {what}")
    id, do, args = told.get("id"), told.get("do"), told.get("with", {})
    if isinstance(id, bool) or not isinstance(id, (str, int, type(None))):
        raise Refusal("bad_request", f"expected id to be a text or a whole number, got: {shown(id, 80)}")
    if not isinstance(do, str):
        raise Refusal("bad_request", f"expected do to be the name of a request, got: {shown(do, 80)}")
    if not isinstance(args, dict):
        raise Refusal("bad_request", f"expected with to be an object, got: {shown(args, 80)}")
    unknown = [key for key in told if key not in _KEYS]
    if unknown:
        raise Refusal("bad_request", f"expected the keys {', '.join(_KEYS)}, got: {shown(unknown[0], 80)}")
    return Request(do, args, id)


def answer(id: str | int | None, result: object) -> bytes:
    """The line of an answer."""
    return _line({"v": VERSION, "id": id, "ok": True, "result": result})


def streamed(id: str | int | None, result: object) -> bytes:
    """A line of those that follow an answer."""
    return _line({"v": VERSION, "id": id, "ok": True, "more": True, "result": result})


def refusal(id: str | int | None, refused: Refusal) -> bytes:
    """The line of an answer that is no."""
    error = {"kind": refused.kind, "message": refused.message, "meant": list(refused.meant)}
    return _line({"v": VERSION, "id": id, "ok": False, "error": error})


def _line(told: dict[str, Any]) -> bytes:
    # ASCII, so that text that UTF-8 cannot write, halves of surrogate pairs, comes through as well.
    return json.dumps(told, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
