"""The line of a lock that an engine keeps, as it stands here: what joins it is asked for there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..throttle.engine import WaitQueue

if TYPE_CHECKING:
    from ..throttle.engine import Claim


class Asker(Protocol):
    """Who speaks for the line."""

    def turned_away(self, claim: Claim) -> bool:
        """Refuse a claim for which the engine is not asked."""

    def ask(self, claim: Claim) -> None:
        """Ask the engine for the slots of a claim that is in the line."""

    def left_the_line(self, claim: Claim) -> None:
        """A claim is out of the line: it was granted, or has to be given up."""


class Line(WaitQueue):
    """The local line, which tells the ledger who comes and who goes.

    Args:
        first: its tickets begin after this number.
    """

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Asker, first: int) -> None:
        super().__init__()
        self.tickets = first
        self._ledger = ledger

    def push(self, claim: Claim) -> None:
        if not claim.ticket and not self._ledger.turned_away(claim):
            super().push(claim)
            self._ledger.ask(claim)

    def remove(self, claim: Claim) -> None:
        super().remove(claim)
        self._ledger.left_the_line(claim)
