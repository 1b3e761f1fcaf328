"""Opens a page for a browser, and keeps it open."""

from __future__ import annotations

import argparse
import html
import json
import os
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

from ..client import Client, NoSystem
from ..tcp import TcpAddress
from .meant import meant

__all__ = ["leading_to", "observe"]

_READ = 10.0
"""Seconds in which a browser that is opened has read where to go."""
_LEADING = """\
<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}"><title>resprout</title><a href="{url}">the observer</a>
"""


def observe(options: argparse.Namespace) -> int:
    """Opens a page, tells its address, and has it go on until Ctrl-C or the end of the system.

    A page that the tree has of its own is only told of.
    """
    # A connection for each request: one that is idle is closed, and who stops here must not wait for one.
    path = meant(options)
    allow = True if options.allow_actions else None
    with Client(path) as client:
        told = client.ask("observe", {"port": options.port, "allow_actions": allow})
    _say(told, options)
    page = told["page"]
    try:
        with leading_to(told["url"]) if options.open else nullcontext() as file:
            if file is not None:
                webbrowser.open(file.as_uri())
            if page is not None:
                _keep_open(path, told)
            elif file is not None:
                time.sleep(_READ)
    except NoSystem as error:
        print(f"resprout: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        if page is not None:
            with Client(path) as client:
                client.ask("observe", {"page": page, "close": True})
    return 0


def _keep_open(path: Path | TcpAddress, told: dict[str, Any]) -> NoReturn:
    while True:
        time.sleep(told["seconds"] / 3)
        with Client(path) as client:
            client.ask("observe", {"page": told["page"]})


@contextmanager
def leading_to(url: str) -> Iterator[Path]:
    """A file of this user's alone that leads a browser to a page: the address is as good as a password, and
    everybody on the machine sees what a program is called with.
    """
    with tempfile.TemporaryDirectory(prefix="resprout-") as folder:
        file = Path(folder) / "observe.html"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writing:
            writing.write(_LEADING.format(url=html.escape(url)))
        yield file


def _say(told: dict[str, object], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(told))
    else:
        print(told["url"])
        if told["page"] is None:
            print("the tree has this page of its own", file=sys.stderr)
        else:
            acts = "it may act" if told["allow_actions"] else "it only looks; --allow-actions lets it act"
            print(f"whoever has this address sees the system; {acts}; Ctrl-C closes it", file=sys.stderr)
    sys.stdout.flush()
