"""Kills pods at random, with SIGKILL, which no program can do anything about."""

from __future__ import annotations

import random

from resprout import process

from .receipts import receipts
from .till import PODS


def kill_pods(every: float, seed: int) -> None:
    """Kills one now and then, until the tree stops.

    Args:
        every: Seconds between two kills, on average.
    """
    chance = random.Random(seed)
    while True:
        process.sleep(chance.uniform(0.5, 1.5) * every)
        pod = process.whereis(f"pod{chance.randrange(PODS)}")
        if pod is not None:
            process.exit(pod, "kill")
            receipts.note_kill()
