"""A future of ours as a ``concurrent.futures.Future``, for code that insists on that class."""

from __future__ import annotations

import concurrent.futures
from typing import Any, TypeVar

T = TypeVar("T")


class Mirror(concurrent.futures.Future[T]):
    """Ends as another future does, and is cancelled only if that one can be, as those of an executor are."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._source = source
        # Who pops it tells those who wait of a cancellation, which may be done once only.
        self._untold = [True]
        source.add_done_callback(self._end)

    def cancel(self) -> bool:
        """Give up on it; False when it has ended, or its work has begun and cannot be stopped."""
        if not self.done() and self._source.cancel():
            self._cancelled()
        return self.cancelled()

    def _cancelled(self) -> None:
        super().cancel()
        try:
            self._untold.pop()
        except IndexError:
            return
        # Or concurrent.futures.wait and as_completed would wait on.
        self.set_running_or_notify_cancel()

    def _end(self, _source: object) -> None:
        try:
            value = self._source.result(0.0)
        except concurrent.futures.CancelledError:
            self._cancelled()
        except BaseException as error:
            self.set_exception(error)
        else:
            self.set_result(value)
