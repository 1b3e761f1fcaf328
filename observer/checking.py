"""`resprout check`: says everything that is wrong with a tree file, and starts nothing of it."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import attrs

from ..actors import ConfigError
from ..supervision import Application
from .specs import census
from .streams import to_nobody_if_gone

__all__ = ["INVALID", "CheckOptions", "check_tree", "job_mistake", "tree_kept"]

INVALID = 2
"""The exit status of a command whose tree file or options are wrong."""

_JOB_METHODS = ("progress", "report", "summary")


@attrs.frozen
class CheckOptions:
    """What to check.

    Args:
        tree: The tree file.
        settings: Values of the variables in it.
        overlays: What is laid over it.
    """

    tree: Path
    settings: Mapping[str, str] = attrs.field(factory=dict)
    overlays: Sequence[str] = ()

    @property
    def label(self) -> str:
        """What lines about the file call it."""
        return "<stdin>" if str(self.tree) == "-" else str(self.tree)


def check_tree(options: CheckOptions, out: TextIO | None = None) -> int:
    """Writes all mistakes, one a line, or that there is none.

    Returns:
        The exit status: 0 for a valid tree.
    """
    # The one of now: modules that are imported may put another in its place.
    out = sys.stdout if out is None else out
    status, text = _checked(options)
    try:
        with to_nobody_if_gone(out):
            print(text, file=out, flush=True)
    except (OSError, ValueError) as error:
        # A full disk behind `>`, or a module that has closed it.
        print(f"resprout: the result cannot be written: {error}", file=sys.stderr)
        return INVALID
    return status


def _checked(options: CheckOptions) -> tuple[int, str]:
    try:
        application = Application.load(options.tree, options.settings, overlays=options.overlays)
    except ConfigError as error:
        return INVALID, str(error)
    with tree_kept():
        mistake = job_mistake(application)
        application.tree.close()
        if mistake is not None:
            return INVALID, f"{options.label}: {mistake}"
        return 0, f"ok: {census(application.tree.children)}"


@contextmanager
def tree_kept() -> Iterator[None]:
    """Spares the garbage collector what there is: a tree that was read stays until the end, and with ten
    thousand children a quarter of its start would go to looking through it again and again.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def job_mistake(application: Application) -> str | None:
    """What the class of the job lacks, or None: better known before a run than at its end."""
    job = application.tree.job
    if job is None:
        return None
    ask = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(is_it(job.start.target) for is_it in ask):
        wanted = "job: expected a class, or a function that returns a job"
        return f"{wanted}; {job.start.text} makes a coroutine or a generator"
    # A function that returns a job says nothing about it before it is called.
    if not isinstance(job.start.target, type):
        return None
    missing = [name for name in _JOB_METHODS if not callable(getattr(job.start.target, name, None))]
    if not missing:
        return None
    return f"job: {job.start.text} has no {', '.join(f'{name}()' for name in missing)}"
