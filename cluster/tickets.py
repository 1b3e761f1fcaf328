"""What a shared ledger knows of each claim that the engine was asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..throttle.engine import Claim, Hold


class Ticket:
    """What is known of a claim that the engine was asked about."""

    __slots__ = ("asked", "asserted", "claim", "first", "hold", "passed", "place", "ref", "until")

    def __init__(self, claim: Claim) -> None:
        self.ref = claim.ticket
        self.claim = claim
        self.asked = False
        """The engine was asked for it; until then a step that was cut may have left it unsaid."""
        self.hold: Hold | None = None
        """What it was granted here."""
        self.first: int | None = None
        """The first token of its block, by the engine, with its grant."""
        self.passed = 0
        """How often it has gone from hand to hand: so many tokens of its block are used up."""
        self.asserted = False
        """A transaction was told to go on only with it, so its slots go back to the engine, which knows when
        that ends.
        """
        self.until = 0.0
        """Until when it may do so."""
        self.place: int | None = None
        """In the engine's line; None until it has answered."""

    @property
    def token(self) -> int:
        """Of whoever has it now, or is about to get it."""
        assert self.first is not None
        return self.first + self.passed
