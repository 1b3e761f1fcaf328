"""The fast path of a release: the head of the line takes over the very slots that are given back.

The plain form is ``Ledger.release``: take the hold out, then serve the line. Under contention nearly every
release is this one case of it. Pure, as the ledger is; called by ``lock/fast_steps``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .holds import Hold
    from .ledger import Ledger


def hand_over(ledger: Ledger, hold: Hold, now: float) -> bool:
    """Grant to the head of the line what a hold gives back; False, and nothing is done, where more is to do.

    Args:
        ledger: one that is plain and strict, and has the hold.
    """
    holders = ledger.holders
    queue = ledger.queue
    front = queue.front
    if (
        not front
        or (claim := front[0]).out
        or not claim.own
        or claim.weight != hold.weight
        or ledger.used != ledger.num_slots
        or (key := claim.key) in holders
        or queue.chained
    ):
        return False
    ledger.token = claim.token = ledger.token + 1
    holders[key] = claim
    taken = claim.offer(claim)
    # ``used`` stays, so a cut leaves it too high, until it is mended.
    del holders[hold.key]
    claim.since = now
    if taken:
        # WaitQueue.remove for the head. Its lane may be empty now, which WaitQueue.head notices.
        claim.out = True
        queue.size -= 1
        del front[0], queue.by_key[key]
    else:
        ledger.drop(claim)
        queue.remove(claim)
        ledger.serve(now)
    return True
