"""What tests do to an engine behind its back: the same for each kind of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Database(Protocol):
    """A place of a test's own on a server, in which an engine keeps what it has."""

    url: str
    port: int

    def claims(self) -> int:
        """How many there are."""

    def keys(self) -> int:
        """How many keys of registries there are."""

    def num_slots(self) -> int:
        """Of the one lock that there is; 0 before the engine has heard of it."""

    def lose_everything(self) -> None:
        """As after an engine has reaped the process `here`: its session and all claims are gone."""

    def forget(self) -> None:
        """Remove all that the engine keeps, while it runs."""

    def sessions(self) -> int:
        """How many engines are connected."""

    def cut(self) -> int:
        """End all connections of engines; how many sessions had them."""

    def silent(self) -> AbstractContextManager[None]:
        """For a while, nothing that engines say about registries is answered."""

    def closed(self) -> AbstractContextManager[None]:
        """For a while, no engine is connected."""

    def keep_history(self) -> None:
        """Have each grant and each end of one noted, in the order in which they happen."""

    def most_by_history(self) -> int:
        """How many slots were taken at once; no token is given twice, and they rise."""
