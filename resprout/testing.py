"""Helpers for tests of code that uses resprout: waiting for events instead of sleeping.

>>> from resprout import testing
>>> testing.quiesce()
"""

from __future__ import annotations

from .supervision import NotQuiet, quiesce

__all__ = ["NotQuiet", "quiesce"]
