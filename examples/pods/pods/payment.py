"""What is to be paid: the same for the same seed."""

from __future__ import annotations

import random

import attrs

USERS = 5


@attrs.frozen
class Payment:
    """An amount that goes to the account, and into the statement of a user.

    Args:
        number: Tells payments apart.
        user: Whose statement.
        amount: In cents.
    """

    number: int
    user: int
    amount: int


def make_payments(seed: int, count: int) -> list[Payment]:
    """Makes so many payments.

    Raises:
        ValueError: The count is negative.
    """
    if count < 0:
        raise ValueError(f"expected count to be 0 or more, got: {count}")
    chance = random.Random(seed)
    return [Payment(number, chance.randrange(USERS), chance.randrange(1, 10_000)) for number in range(count)]
