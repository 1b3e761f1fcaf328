"""What is asked for: a queue of user ids with many repeats, the same for the same seed."""

from __future__ import annotations

import random
from typing import Literal

import attrs

USERS = 250
TROUBLE = 0.03
"""The part of all requests whose first sync crashes the worker."""


@attrs.frozen
class Request:
    """A wish that a user be synced.

    Args:
        number: Tells repeats of a user apart.
        user: The user's id.
        seconds: How long the remote system takes over it.
        trouble: Whether the first attempt crashes, before it had an effect or after that.
    """

    number: int
    user: int
    seconds: float
    trouble: Literal["before", "after"] | None


def make_requests(seed: int, count: int) -> list[Request]:
    """Makes the queue: a few users are asked for often, most of them now and then.

    Raises:
        ValueError: The count is negative.
    """
    if count < 0:
        raise ValueError(f"expected count to be 0 or more, got: {count}")
    chance = random.Random(seed)
    weights = [1.0 / (rank + 40) for rank in range(USERS)]
    users = chance.choices(range(USERS), weights, k=count)
    return [
        Request(number, user, chance.uniform(0.01, 0.04), _trouble(chance))
        for number, user in enumerate(users)
    ]


def _trouble(chance: random.Random) -> Literal["before", "after"] | None:
    if chance.random() >= TROUBLE:
        return None
    return chance.choice(["before", "after"])
