"""Opens a page for a browser, and keeps it open."""

from __future__ import annotations

import argparse
import json
import sys
import time
import webbrowser

from ..client import Client, NoSystem, find_system

__all__ = ["observe"]


def observe(options: argparse.Namespace) -> int:
    """Opens a page, tells its address, and has it go on until Ctrl-C or the end of the system.

    A page that the tree has of its own is only told of.
    """
    # A connection for each request: one that is idle is closed, and who stops here must not wait for one.
    path = find_system(options.name, options.socket)
    allow = True if options.allow_actions else None
    with Client(path) as client:
        told = client.ask("observe", {"port": options.port, "allow_actions": allow})
    _say(told, options)
    page = told["page"]
    if page is None:
        return 0
    try:
        while True:
            time.sleep(told["seconds"] / 3)
            with Client(path) as client:
                client.ask("observe", {"page": page})
    except NoSystem as error:
        print(f"resprout: {error}", file=sys.stderr)
        return 0
    except KeyboardInterrupt:
        with Client(path) as client:
            client.ask("observe", {"page": page, "close": True})
        return 0


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
    if options.open:
        webbrowser.open(str(told["url"]))
