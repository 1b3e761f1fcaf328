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
from functools import partial

from . import far
from .services import service

TOLD = "RESPROUT_PRELOAD"
"""The environment variable that has the path, the modules and the services, while a fork server is started:
JSON.
"""

__all__ = ["TOLD", "far", "load"]


def load() -> None:
    """Loads the modules; what one of them raises is told by the child that needs it."""
    for number in far.GROUP:
        signal.signal(number, signal.SIG_IGN)
    path, modules, services = json.loads(os.environ.pop(TOLD))
    # Before Python 3.12 the fork server leaves this to its children.
    sys.path[:] = path
    steps = [partial(importlib.import_module, name) for name in modules]
    steps += [partial(service, name) for name in services]
    for step in steps:
        try:
            step()
        except Exception:
            logging.getLogger("resprout.supervision").debug("%s was not preloaded", step.args, exc_info=True)


if TOLD in os.environ:
    load()
