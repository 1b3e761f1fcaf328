"""What a running tree shows of itself: progress, chaos, reports, and the commands of `resprout`."""

from __future__ import annotations

from .chaos import Rules
from .checking import CheckOptions, check_tree
from .job import Job, Progress
from .running import RunOptions, run_tree
from .streams import open_streams, to_nobody_if_gone

__all__ = [
    "CheckOptions",
    "Job",
    "Progress",
    "Rules",
    "RunOptions",
    "check_tree",
    "open_streams",
    "run_tree",
    "to_nobody_if_gone",
]
