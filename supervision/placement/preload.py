"""What a fork server does before it forks: loads what its children need, and turns a deaf ear to signals.

Whoever presses Ctrl-C, or ends a service, signals the whole process group; the tree stops its children in
order. They inherit this until they have handlers of their own.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal

from . import far

MODULES = "RESPROUT_PRELOAD"
"""The environment variable that names the modules, in the moment in which a fork server is started."""

__all__ = ["MODULES", "far", "load"]


def load() -> None:
    """Loads the modules; what one of them raises is told by the child that needs it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for name in filter(None, os.environ.pop(MODULES, "").split(",")):
        try:
            importlib.import_module(name)
        except Exception:
            logging.getLogger("resprout.supervision").debug("%s was not preloaded", name, exc_info=True)


if MODULES in os.environ:
    load()
