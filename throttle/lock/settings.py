"""What a lock is made from."""

from __future__ import annotations

from typing import Final

import attrs

from ..ledger.adaptive import Adaptive
from ..ledger.rate import Rate
from ..ledger.values import Fairness, Fork, OnLost, OnUnreachable

MOST_SLOTS: Final = 2**31 - 1
"""What an engine can count."""


@attrs.define(eq=False)
class Life:
    """Of a lock, from ``new`` to ``stop_lock``: what a restart that comes late has to know."""

    ended: bool = False


@attrs.frozen
class Settings:
    """What a lock is made from.

    Attributes:
        home: it is a lock of the library's own tree, which restores it.
        fork: what a forked child finds under its name: the same lock anew, or an error.
        paused: it grants nothing at first.
        engine: the name of the engine that keeps it, for several processes; None for this one alone.
        on_lost: how a holder hears that its grant is void, by an exit signal or a message.
        on_unreachable: what an acquire does while the engine can't be reached.
    """

    name: str
    num_slots: int
    max_waiting: int | None = None
    fairness: Fairness = "strict"
    rate: Rate | None = None
    adaptive: Adaptive | None = None
    home: bool = False
    fork: Fork = "renew"
    paused: bool = False
    engine: str | None = None
    on_lost: OnLost = "exit"
    on_unreachable: OnUnreachable = "wait"
    life: Life = attrs.field(factory=Life, eq=False, repr=False)
