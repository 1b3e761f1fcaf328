"""What is wrong with a subscription, beyond the errors that every room shares."""

from __future__ import annotations

from collections.abc import Sequence

from ..actors import NoProcess, Pid, ResproutError


class UnknownProducer(NoProcess):
    """There is nobody to subscribe to under that name.

    Attributes:
        target: The producer that was named.
    """

    def __repr__(self) -> str:
        return f"UnknownProducer({self.target!r})"


class SubscriptionCycle(ResproutError, ValueError):
    """A stage would be subscribed to itself, by way of others: events would go round for ever.

    Attributes:
        chain: The stages, each subscribed to the next one; the last is the first.
    """

    def __init__(self, chain: Sequence[Pid]) -> None:
        self.chain = tuple(chain)
        super().__init__(tuple(chain))

    def __str__(self) -> str:
        way = " to ".join(str(pid) for pid in self.chain)
        return f"expected subscriptions without a circle, got: {way}; leave one of them out"
