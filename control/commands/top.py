"""`resprout top`: the processes of a running system, over and over. No other file of this room knows rich."""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...actors.engine import printable
from ..client import Client
from .meant import meant
from .showing import HEADS, duration, ps, status
from .view import HELP, View, keys_in

__all__ = ["top"]

_NUMBERS = ("UPTIME", "RESTARTS", "MAILBOX")
_LOCKS = 3
"""So many locks are shown, those for which the most wait."""
_STYLES = {"running": "green", "restarting": "yellow", "backing_off": "yellow", "down": "red"}


def top(options: argparse.Namespace) -> int:
    """Shows a system until `q`, Ctrl-C or its end; where there is no terminal, once.

    Raises:
        NoSystem, Refusal: It cannot be asked.
    """
    console = Console()
    view = View(sort=options.sort)
    wanted = {"match": options.match, "state": options.state}
    with Client(meant(options)) as client:
        if options.json or not console.is_terminal:
            told = _look(client, view, wanted, 1_000)
            _write(told, options)
            return 0
        with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                if not view.wants_on:
                    break
                height = max(1, console.height - 4 - _LOCKS)
                told = _look(client, view, wanted, height)
                live.update(_picture(told, view), refresh=True)
                _await_key(keyboard, view, height, options.interval)
    return 0


def _look(client: Client, view: View, wanted: dict[str, Any], height: int) -> dict[str, Any]:
    page = {**wanted, "sort": view.sort, "offset": view.offset, "limit": min(height, 1_000)}
    rows = client.ask("ps", page)["rows"]
    if not rows and view.offset:
        # There are fewer than there were.
        view.offset = 0
        rows = client.ask("ps", {**page, "offset": 0})["rows"]
    return {"status": client.ask("status"), "locks": client.ask("locks"), "processes": rows}


def _write(told: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(told, ensure_ascii=False))
        return
    for line in (*_summary(told), *ps(told["processes"])):
        print(line)


def _summary(told: dict[str, Any]) -> Iterator[str]:
    """What the system is, without its versions, and the locks that are waited for most."""
    yield from list(status(told["status"]))[:2]
    busiest = sorted(told["locks"], key=lambda lock: (-lock["waiting"], -lock["used"]))[:_LOCKS]
    for lock in busiest:
        slots = f"{lock['used']} of {lock['num_slots']} slots used"
        yield f"{printable(lock['name'])}: {slots}, {lock['waiting']} waiting"


def _picture(told: dict[str, Any], view: View) -> Group:
    table = Table(box=None, expand=True, header_style="bold", padding=(0, 1))
    for head in HEADS:
        sorted_by = head.lower() == view.sort
        right = head in _NUMBERS
        table.add_column(
            f"{head} *" if sorted_by else head,
            justify="right" if right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=3 if head == "PATH" else None,
        )
    for row in told["processes"]:
        state = row["state"]
        table.add_row(
            Text(printable(row["path"])),
            Text(state.replace("_", " "), _STYLES.get(state, "")),
            Text("-" if row["pid"] is None else row["pid"].strip("<>").partition(" ")[0]),
            Text(printable(row["module"] or row["kind"])),
            Text(duration(row["uptime"]) or "-"),
            Text(str(row["restarts"]), "yellow" if row["restarts"] else ""),
            Text("-" if row["mailbox"] is None else str(row["mailbox"])),
        )
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in _summary(told)]
    return Group(*lines, table, Text(HELP, "dim", no_wrap=True, overflow="ellipsis"))


@contextmanager
def _keys() -> Iterator[int | None]:
    """The file of a keyboard whose keys come at once; None where there is none."""
    try:
        import termios
        import tty
    except ImportError:
        yield None
        return
    if not sys.stdin.isatty():
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _await_key(keyboard: int | None, view: View, height: int, seconds: float) -> None:
    """Waits until the next look is due, or a key was pressed."""
    if keyboard is None:
        time.sleep(seconds)
        return
    readable, _, _ = select.select([keyboard], [], [], seconds)
    if readable:
        data = os.read(keyboard, 1_024)
        for key in keys_in(data) if data else ["q"]:
            view.press(key, height)
