"""The journal: what happened to the keys, in order, until it has been told to the listeners.

Many write, anywhere and without waiting; one reads, the registry's process. The order holds for each key
because of when things are written: an end is written *before* the entry leaves the table, and only then can
the next owner come in, who writes its beginning *after* that. An owner can be ended by others before it has
written its own beginning; they write it for it. So records may come twice, never too late, and the reader
drops those that it has told already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .events import Change, Registered, Unregistered
from .index import Entry

_NOTHING, _BEGINNING, _END = 0, 1, 2


class Journal:
    """The records that have not been told yet.

    Args:
        registry: the name that events carry.
    """

    def __init__(self, registry: str) -> None:
        self.registry = registry
        self._records: deque[tuple[Entry, Change]] = deque()

    def begin(self, entry: Entry) -> None:
        """Write that an entry is in the table. After it came in."""
        self._records.append((entry, Registered(self.registry, entry.key, entry.pid, entry.value)))
        entry.logged = True

    def end(self, entry: Entry) -> None:
        """Write that an entry is over. Before it leaves the table."""
        if not entry.logged:
            self.begin(entry)
        self._records.append((entry, Unregistered(self.registry, entry.key, entry.pid)))

    def tell(self, hear: Callable[[Change], None], limit: int) -> bool:
        """Tell the oldest records; return whether some are left. For one reader at a time.

        A record goes only after it has been told, so a reader that dies in between leaves it to the next.
        """
        for _ in range(limit):
            if not self._records:
                return False
            entry, event = self._records[0]
            news = _BEGINNING if type(event) is Registered else _END
            if news > entry.told:
                hear(event)
                entry.told = news
            self._records.popleft()
        return bool(self._records)

    def __len__(self) -> int:
        return len(self._records)
