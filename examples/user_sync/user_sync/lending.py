"""Who holds which event: a dispatcher that notes it, since stages forget an event once it is sent.

A stage that is killed loses at most what it held. A producer that knows what that was gives it to somebody
else instead. It knows them by what they are equal to, so no two may be equal: give each a number.
"""

from __future__ import annotations

from typing import Any

import attrs

from resprout.stages import From, Outcome
from resprout.stages.dispatchers.demand import DemandDispatcher

from .requests import Request


class LendingDispatcher(DemandDispatcher):
    """Gives events to whoever asks, as the one that stages have by default, and notes who got which."""

    def __init__(self, lent: dict[Request, From]) -> None:
        super().__init__()
        self._lent = lent

    def dispatch(self, events: list[Any]) -> Outcome:
        """Before anything is sent, so there is no moment in which an event is nobody's."""
        outcome = super().dispatch(events)
        for from_, some in outcome.deliveries:
            self._lent.update(dict.fromkeys(some, from_))
        return outcome


@attrs.frozen
class Lending:
    """What a producer's `init` says as its `dispatcher`.

    Args:
        lent: Filled as requests are handed out; the producer takes out what comes back or was done. Two equal
            requests would be one here, and one of them lost with its holder.
    """

    lent: dict[Request, From]

    def make(self) -> LendingDispatcher:
        """The dispatcher."""
        return LendingDispatcher(self.lent)
