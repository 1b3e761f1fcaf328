"""Work that goes on until the test lets it end."""

from __future__ import annotations

import threading
from typing import Any

SOON = 20.0


class Gate:
    """A job, or a step, that says when it is reached and stays at work until it is let go.

    Attributes:
        reached: it has begun.
        open: set by the test; it goes on then, and whoever comes later passes.
    """

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, value: Any = "done") -> Any:
        """Stay, and then return what it was called with."""
        self.reached.set()
        assert self.open.wait(SOON)
        return value
