"""The index: which entries a key has. The part of a registry that another engine could replace.

An index knows no processes' lives, no threads and no clock. Whether the holder of a key is over is decided
by the caller, who then replaces exactly the entry that it judged. Every method is one step (or a loop of
steps that ends as soon as nobody was faster), so an index may be used from anywhere at any time: see
`resprout.actors.engine`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..actors.engine import remove, remove_all, remove_empty, replace
from .keys import key_of

if TYPE_CHECKING:
    from ..actors import Pid

SLICE = 1000
"""How many keys are removed in one C call, while which other threads wait (about 0.2 ms)."""


class Entry:
    """One registration. Its identity is what counts: two entries are never equal.

    Attributes:
        ident: the key, or its stand.
        pid: the owner.
        value: what was registered with it; only its owner changes it.
        holdings: what the owner has in this registry; the table's.
        logged: its beginning is in the journal.
        told: what listeners know of it: 0 nothing, 1 its beginning, 2 its end. Belongs to the journal's
            reader.
    """

    __slots__ = ("holdings", "ident", "logged", "pid", "told", "value")

    def __init__(self, ident: Any, pid: Pid, value: Any, holdings: Any) -> None:
        self.ident = ident
        self.pid = pid
        self.value = value
        self.holdings = holdings
        self.logged = False
        self.told = 0

    @property
    def key(self) -> Any:
        """The key as it was registered."""
        return key_of(self.ident)

    def __repr__(self) -> str:
        return f"<entry {self.key!r} of {self.pid}>"


class Index(Protocol):
    """What a table needs of an index."""

    def claim(self, entry: Entry) -> Entry:
        """Enter it; return it, or the entry that has the key."""
        ...

    def replace(self, old: Entry, new: Entry) -> bool:
        """Put an entry in the place of another of the same key; False when that one is gone."""
        ...

    def release(self, entry: Entry) -> bool:
        """Take an entry out; False when it is not there."""
        ...

    def release_all(self, entries: Sequence[Entry]) -> None:
        """Take many out, letting others in between."""
        ...

    def holds(self, entry: Entry) -> bool:
        """Tell whether the entry is there."""
        ...

    def under(self, ident: Any) -> tuple[Entry, ...]:
        """The entries of a key, oldest first."""
        ...

    def walk(self) -> Iterator[tuple[Entry, ...]]:
        """All entries, in pieces that are each a consistent view."""
        ...

    def __len__(self) -> int:
        """How many entries there are; in constant time."""
        ...


class UniqueIndex:
    """A key has at most one entry.

    Args:
        partitions: how many dicts the keys are spread over. Each grows by itself, and while a dict of
            millions of keys grows, the interpreter stands still; more of them stand still for shorter.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.parts: tuple[dict[Any, Entry], ...] = tuple({} for _ in range(partitions))
        self.whole: dict[Any, Entry] | None = self.parts[0] if partitions == 1 else None

    def part(self, ident: Any) -> dict[Any, Entry]:
        """The dict that a key belongs into."""
        whole = self.whole
        return whole if whole is not None else self.parts[hash(ident) % len(self.parts)]

    def claim(self, entry: Entry) -> Entry:
        part = self.whole
        if part is None:
            part = self.part(entry.ident)
        return part.setdefault(entry.ident, entry)

    def replace(self, old: Entry, new: Entry) -> bool:
        return replace(self.part(old.ident), old.ident, old, new)

    def release(self, entry: Entry) -> bool:
        part = self.whole
        if part is None:
            part = self.part(entry.ident)
        return remove(part, entry.ident, entry)

    def release_all(self, entries: Sequence[Entry]) -> None:
        for part, several in self._by_part(entries):
            for start in range(0, len(several), SLICE):
                piece = several[start : start + SLICE]
                remove_all(part, [entry.ident for entry in piece], piece)

    def _by_part(self, entries: Sequence[Entry]) -> Iterator[tuple[dict[Any, Entry], Sequence[Entry]]]:
        if self.whole is not None:
            yield self.whole, entries
            return
        for number, part in enumerate(self.parts):
            yield part, [entry for entry in entries if hash(entry.ident) % len(self.parts) == number]

    def holds(self, entry: Entry) -> bool:
        return self.part(entry.ident).get(entry.ident) is entry

    def under(self, ident: Any) -> tuple[Entry, ...]:
        entry = self.part(ident).get(ident)
        return () if entry is None else (entry,)

    def walk(self) -> Iterator[tuple[Entry, ...]]:
        for part in self.parts:
            yield (*part.values(),)

    def __len__(self) -> int:
        return sum(map(len, self.parts))


class DuplicateIndex:
    """A key has any number of entries, in the order in which they came.

    Args:
        partitions: as in UniqueIndex.
    """

    def __init__(self, partitions: int = 1) -> None:
        # A cell is a dict used as an ordered set. Invariant: a cell that has been removed is empty, and
        # stays so but for entries whose claims will notice, and put it back or take theirs out and move on.
        self.parts: tuple[dict[Any, dict[Entry, None]], ...] = tuple({} for _ in range(partitions))
        # Its length is the number of entries: append and pop are steps, an addition is not.
        self._tally: list[None] = []

    def part(self, ident: Any) -> dict[Any, dict[Entry, None]]:
        """The dict that a key belongs into."""
        return self.parts[hash(ident) % len(self.parts)]

    def claim(self, entry: Entry) -> Entry:
        part, ident = self.part(entry.ident), entry.ident
        # First, since the entry may be released as soon as it is in.
        self._tally.append(None)
        while True:
            cell = part.get(ident)
            if cell is None:
                cell = part.setdefault(ident, {})
            cell[entry] = None
            # Emptied and removed between the look and the store? Then nobody has seen the entry: the cell
            # goes back or, if there is another one by now, the entry goes into that. (Not by a mere look,
            # which does not wait for who is removing the cell on a build without a GIL.)
            if part.setdefault(ident, cell) is cell:
                return entry
            # Out of the first one again: somebody else who saw it, too, may put it back.
            cell.pop(entry, None)
            if not cell:
                remove_empty(part, ident)

    def replace(self, old: Entry, new: Entry) -> bool:
        raise NotImplementedError("nobody is in the way of a duplicate key")

    def release(self, entry: Entry) -> bool:
        part, ident = self.part(entry.ident), entry.ident
        cell = part.get(ident)
        if cell is None or cell.pop(entry, entry) is entry:
            return False
        self._tally.pop()
        if not cell:
            # Looked at once more inside the step: somebody may have come in.
            remove_empty(part, ident)
        return True

    def release_all(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.release(entry)

    def holds(self, entry: Entry) -> bool:
        return entry in self.part(entry.ident).get(entry.ident, ())

    def under(self, ident: Any) -> tuple[Entry, ...]:
        return (*self.part(ident).get(ident, ()),)

    def walk(self) -> Iterator[tuple[Entry, ...]]:
        for part in self.parts:
            for cell in list(part.values()):
                yield (*cell,)

    def __len__(self) -> int:
        return len(self._tally)
