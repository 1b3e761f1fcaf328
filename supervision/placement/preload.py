"""What a fork server does before it forks: loads what its children need, and turns a deaf ear to signals.

Whoever presses Ctrl-C, or ends a service, signals the whole process group; the tree stops its children in
order. They inherit this until they have handlers of their own.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import sys

from . import far

TOLD = "RESPROUT_PRELOAD"
"""The environment variable that has the path and the modules, while a fork server is started: JSON."""

__all__ = ["TOLD", "far", "load"]


def load() -> None:
    """Loads the modules; what one of them raises is told by the child that needs it."""
    for number in far.GROUP:
        signal.signal(number, signal.SIG_IGN)
    path, modules = json.loads(os.environ.pop(TOLD))
    # Before Python 3.12 the fork server leaves this to its children.
    sys.path[:] = path
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:
            logging.getLogger("resprout.supervision").debug("%s was not preloaded", name, exc_info=True)


if TOLD in os.environ:
    load()
