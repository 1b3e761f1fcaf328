"""Looks for what keeps resprout from working as it should, here and for this user."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version

import attrs

from ..client import Client, NoSystem
from ..companion import VARIABLE
from ..errors import Refusal
from ..sockets import CAN_LISTEN, listed, usable_folder

__all__ = ["Finding", "findings"]

_NEEDED = ("pykka", "attrs", "cattrs", "PyYAML", "typing_extensions")
_EXTRAS = (("rich", "the live picture of `resprout run`", "cli"), ("uvicorn", "`asgi:` children", "asgi"))


@attrs.frozen
class Finding:
    """One thing that was looked at.

    Args:
        ok: Whether it is as it should be.
        what: What was found.
        advice: What to do about it, or what it means.
    """

    ok: bool
    what: str
    advice: str = ""


def findings() -> Iterator[Finding]:
    """Everything that was looked at, in order."""
    good = sys.version_info >= (3, 10)
    implementation = platform.python_implementation()
    yield Finding(good, f"{implementation} {platform.python_version()}", "" if good else "3.10 is the oldest")
    for name in _NEEDED:
        yield _package(name)
    for name, purpose, extra in _EXTRAS:
        there = _package(name).ok
        advice = "" if there else f"not installed; without it there is no {purpose.removeprefix('the ')}"
        yield Finding(True, f"{name}, for {purpose} (extra {extra})", advice)
    yield from _kinds()
    yield from _socket()
    yield from _systems()


def _package(name: str) -> Finding:
    try:
        return Finding(True, f"{name} {version(name)}")
    except PackageNotFoundError:
        return Finding(False, name, "not installed; install resprout again, with what it needs")


def _kinds() -> Iterator[Finding]:
    """Whether every kind of children and every companion that is installed can be loaded."""
    for group, what in (("resprout.kinds", "kinds of children"), ("resprout.companions", "companions")):
        names = []
        for point in entry_points(group=group):
            try:
                point.load()
            except Exception as error:
                yield Finding(False, f"{what}: {point.name}", f"{type(error).__name__}: {error}")
            else:
                names.append(point.name)
        advice = "" if names else "resprout itself is not installed as a package: pip install it"
        yield Finding(bool(names), f"{what}: {', '.join(sorted(names))}", advice)


def _socket() -> Iterator[Finding]:
    if not CAN_LISTEN:
        yield Finding(True, "control socket", "there are no Unix sockets here; the commands cannot ask trees")
        return
    said = os.environ.get(VARIABLE)
    if said is not None:
        yield Finding(True, f"{VARIABLE}={said}", "says where trees listen that this shell starts")
    try:
        yield Finding(True, f"runtime directory {usable_folder()}")
    except OSError as error:
        advice = f"{error.strerror or error}; set XDG_RUNTIME_DIR to a folder of your own"
        yield Finding(False, f"runtime directory {error.filename}", advice)


def _systems() -> Iterator[Finding]:
    there = listed() if CAN_LISTEN else []
    if not there:
        yield Finding(True, "running systems", "none of this user")
    for each in there:
        try:
            with Client(each.path, 5.0) as client:
                told = client.ask("status")
        except (NoSystem, Refusal) as error:
            yield Finding(False, f"system {each.label}", str(error))
        else:
            counts = told["counts"]
            well = counts["running"] == counts["children"]
            running = f"{counts['running']} of {counts['children']} children running"
            yield Finding(
                True, f"system {each.label}, {running}", "" if well else "see: resprout ps --state down"
            )
