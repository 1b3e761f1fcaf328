"""How many messages of a partition may be in memory, and so when it is paused and resumed: decisions only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

import attrs


class Fed(Protocol):
    """A partition, as far as this matters."""

    @property
    def backlog(self) -> int:
        """How many messages it has been given and has not handled."""

    @property
    def paused(self) -> bool:
        """Whether nothing more comes for it."""


Partition = TypeVar("Partition", bound=Fed)


@attrs.frozen
class Flow:
    """The marks that follow from `prefetch`.

    The client gives messages of any partitions, at most `batch` at once, and cannot be told of which. So a
    partition is paused as soon as a whole batch of its own might be too much: it has more than `full`.

    Args:
        prefetch: How many messages of a partition may be in memory at once.
    """

    prefetch: int

    @property
    def batch(self) -> int:
        """How many messages are fetched at once."""
        return max(1, self.prefetch // 4)

    @property
    def full(self) -> int:
        """With more than this a partition must get nothing more."""
        return self.prefetch - self.batch

    @property
    def low(self) -> int:
        """With so many left a partition that was paused gets more."""
        return self.full // 2

    def crowded(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Those that are not paused and have to be."""
        full = self.full
        return [each for each in partitions if each.backlog > full and not each.paused]

    def drained(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Those that are paused and need not be any longer."""
        low = self.low
        return [each for each in partitions if each.paused and each.backlog <= low]
