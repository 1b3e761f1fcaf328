"""`resprout check`: says everything that is wrong with a tree file, and starts nothing of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import attrs

from ..actors import ConfigError
from ..supervision import Application
from .specs import census

__all__ = ["INVALID", "CheckOptions", "check_tree", "job_mistake"]

INVALID = 2
"""The exit status of a command whose tree file or options are wrong."""

_JOB_METHODS = ("progress", "report", "summary")


@attrs.frozen
class CheckOptions:
    """What to check.

    Args:
        tree: The tree file.
        settings: Values of the variables in it.
    """

    tree: Path
    settings: Mapping[str, str] = attrs.field(factory=dict)


def check_tree(options: CheckOptions, out: TextIO | None = None) -> int:
    """Writes all mistakes, one a line, or that there is none.

    Returns:
        The exit status: 0 for a valid tree.
    """
    out = sys.stdout if out is None else out
    try:
        application = Application.load(options.tree, options.settings)
    except ConfigError as error:
        print(error, file=out)
        return INVALID
    mistake = job_mistake(application)
    application.tree.close()
    if mistake is not None:
        print(f"{options.tree}: {mistake}", file=out)
        return INVALID
    print(f"ok: {census(application.tree.children)}", file=out)
    return 0


def job_mistake(application: Application) -> str | None:
    """What the class of the job lacks, or None: better known before a run than at its end."""
    job = application.tree.job
    # A function that returns a job says nothing about it before it is called.
    if job is None or not isinstance(job.start.target, type):
        return None
    missing = [name for name in _JOB_METHODS if not callable(getattr(job.start.target, name, None))]
    if not missing:
        return None
    return f"job: {job.start.text} has no {', '.join(f'{name}()' for name in missing)}"
