"""Where the partitions of a consumer end, as far as the client knows: noted while somebody watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from .assignment import Key
from .client import confluent, place_of


class Watching:
    """Whether somebody wants to know the ends."""

    __slots__ = ("wanted",)

    def __init__(self) -> None:
        self.wanted = False


watching: Final = Watching()


def watch_ends(wanted: bool) -> None:
    """Have the ends of all partitions of this process noted from now on, or not any more."""
    watching.wanted = wanted


def ends_of(consumer: Any, keys: Iterable[Key]) -> dict[Key, int]:
    """The ends that the client has heard of with what it fetched; on the thread of the consumer. No request
    is made.
    """
    found: dict[Key, int] = {}
    for key in keys:
        try:
            known = consumer.get_watermark_offsets(place_of(key), cached=True)
        except confluent().KafkaException:
            # Of a partition that was just assigned.
            continue
        if known is not None and known[1] >= 0:
            found[key] = known[1]
    return found
