"""What tests that interrupt a step at any place of it have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

at_safe_points = pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="CPython 3.10 looks for signals between any two opcodes: see docs/semantics.md, Ctrl-C",
)
"""For a test that interrupts a step only where CPython looks for signals."""


def traced(trace: Callable[[FrameType, str, object], object], step: Callable[[], object]) -> None:
    """Do a step under a trace function that may ask for every bytecode; what it raises comes out of this."""
    before = sys.gettrace()
    # Python 3.12 looks for this when tracing begins.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        step()
    finally:
        sys.settrace(before)
