"""How long event loops take to call back: asked at one look, known at the next; nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import Final
from weakref import WeakKeyDictionary

import attrs

from ..actors import process
from ..actors.engine import lock


@attrs.define(eq=False)
class _Question:
    asked_at: float
    answered_at: float | None = None
    before: float | None = None
    """How long the one before it took."""

    def answer(self) -> None:
        self.answered_at = monotonic()

    def seconds(self, now: float) -> float | None:
        """How long it took or takes; of one just asked, what the one before it took."""
        if self.answered_at is not None:
            return self.answered_at - self.asked_at
        waited = now - self.asked_at
        return waited if self.before is None else max(waited, self.before)


class LoopLag:
    """The latest question to each loop."""

    def __init__(self) -> None:
        self._questions: WeakKeyDictionary[asyncio.AbstractEventLoop, _Question] = WeakKeyDictionary()
        self._asking = lock()

    def worst(self, loops: Iterable[asyncio.AbstractEventLoop]) -> float | None:
        """The longest of what the loops took to answer the last look's question, or take until now; and asks
        anew whoever has answered.

        Returns:
            Seconds; None when none of them was asked before.
        """
        found: list[float] = []
        now = monotonic()
        with self._asking:
            for loop in loops:
                question = self._questions.get(loop)
                seconds = None if question is None else question.seconds(now)
                if seconds is not None:
                    found.append(seconds)
                if question is None or question.answered_at is not None:
                    self._ask(loop, _Question(now, before=seconds))
        return max(found, default=None)

    def _ask(self, loop: asyncio.AbstractEventLoop, question: _Question) -> None:
        try:
            loop.call_soon_threadsafe(question.answer)
        except RuntimeError:
            # It is closed.
            self._questions.pop(loop, None)
        else:
            self._questions[loop] = question


def loops() -> set[asyncio.AbstractEventLoop]:
    """The event loops on which processes run."""
    found = {getattr(pid, "loop", None) for pid in process.processes()}
    return {loop for loop in found if loop is not None}


loop_lag: Final = LoopLag()
