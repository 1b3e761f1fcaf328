"""What becomes of a message whose handler has raised: decided here, without a process or a clock."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from ...actors import Backoff


@attrs.frozen
class Again:
    """Call the handler once more, after so many seconds."""

    delay: float


@attrs.frozen
class PutAside:
    """It is a dead letter: put it aside, and go on behind it."""


@attrs.frozen
class GiveUp:
    """Crash, so that whoever supervises decides."""


Step: TypeAlias = Again | PutAside | GiveUp


@attrs.frozen
class Retrying:
    """How often a handler is called for a message, and what comes then.

    Args:
        retries: How often it is called again.
        backoff: How long it is waited before each of these.
        dead_letters: Whether there is a place for messages that cannot be handled.
    """

    retries: int
    backoff: Backoff
    dead_letters: bool

    def after(self, failures: int, chance: float) -> Step:
        """What to do after the handler has failed.

        Args:
            failures: How often it has by now, with this message: 1 or more.
            chance: A number from 0 to 1, for the jitter of the backoff.
        """
        if failures <= self.retries:
            return Again(self.backoff.delay(failures - 1, chance))
        return PutAside() if self.dead_letters else GiveUp()
