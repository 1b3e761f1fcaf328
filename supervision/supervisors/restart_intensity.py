"""The restart window: how often something may be started again within how long."""

from __future__ import annotations

from collections import deque


class RestartWindow:
    """Counts restarts and says when there were too many in too short a time.

    A pure core: no clock of its own, the same calls give the same answers. It holds one number a restart
    within the window, and each restart costs O(1) on average, so that even a very generous intensity stays
    cheap.

    Args:
        max_restarts: How many restarts are fine within any `max_seconds`.
        max_seconds: The length of the window in seconds.

    Semantics: OTP supervisor(3), "Maximum restart intensity": more than `max_restarts` within `max_seconds`.
    Differs from OTP: time is not rounded to whole seconds.
    """

    __slots__ = ("_times", "max_restarts", "max_seconds")

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._times: deque[float] = deque()

    def add(self, now: float) -> bool:
        """Counts one more restart.

        Args:
            now: The time in seconds, never less than in the call before.

        Returns:
            Whether the restart is still within the intensity.
        """
        times = self._times
        times.append(now)
        oldest = now - self.max_seconds
        while times[0] < oldest:
            times.popleft()
        return len(times) <= self.max_restarts

    def __len__(self) -> int:
        return len(self._times)
