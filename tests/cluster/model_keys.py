"""An engine of keys in memory, as plain as can be: what PostgreSQL does for registries, without its ways to
fail.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import attrs

from resprout.cluster.key_operations import (
    ChangeKey,
    ClaimKey,
    FindKey,
    KeepKey,
    KeyClaimed,
    KeyDone,
    KeyFact,
    KeyFree,
    KeyGone,
    KeyOperation,
    KeyOwned,
    KeyRow,
    KeyUndecided,
    ReleaseKey,
)


@attrs.define
class Owned:
    """A row."""

    member: int
    ref: int
    token: int
    value: str
    who: str
    shown: bool = True


@attrs.define
class ModelKeys:
    """The keys of one registry.

    Attributes:
        quiet: it claims nothing for anybody, and takes the word of those who own.
        dead: members whose sessions have ended.
        doubtful: members whose sessions may have ended.
        ended: members that were found to have ended, whatever is lost otherwise.
    """

    clock: int = 0
    quiet: bool = False
    rows: dict[str, Owned] = attrs.field(factory=dict)
    dead: set[int] = attrs.field(factory=set)
    doubtful: set[int] = attrs.field(factory=set)
    ended: set[int] = attrs.field(factory=set)

    def snapshot(self) -> ModelKeys:
        return copy.deepcopy(self)

    def rows_of(self, member: int) -> dict[int, KeyRow]:
        return {row.ref: KeyRow(key, row.token) for key, row in self.rows.items() if row.member == member}

    def forget(self, member: int) -> None:
        for row in self.rows_of(member).values():
            del self.rows[row.key]

    def step(self, member: int, operations: Sequence[KeyOperation]) -> list[KeyFact]:
        return [self._do(member, each) for each in operations]

    def _do(self, member: int, operation: KeyOperation) -> KeyFact:
        row = self.rows.get(operation.key)
        mine = row is not None and (row.member, row.ref) == (member, operation.ref)
        match operation:
            case ClaimKey(ref, key, value, who):
                return self._claim(member, ref, key, value, who)
            case FindKey():
                return self._find(member, row)
            case ReleaseKey(_, key):
                if mine:
                    del self.rows[key]
                return KeyDone()
            case ChangeKey(_, _, value, shown):
                if row is None or not mine:
                    return KeyGone()
                row.value, row.shown = value, shown
                return KeyDone()
            case KeepKey(ref, key, token, value, shown, who):
                if row is not None and mine and row.token == token:
                    return KeyDone()
                if not self.quiet or (row is not None and row.token >= token):
                    return KeyGone()
                self.rows[key] = Owned(member, ref, token, value, who, shown)
                return KeyDone()

    def _claim(self, member: int, ref: int, key: str, value: str, who: str) -> KeyFact:
        row = self.rows.get(key)
        if row is not None and (row.member, row.ref) == (member, ref):
            return KeyClaimed(row.token)
        if row is not None and row.member not in self.dead | self.doubtful:
            return KeyOwned(row.member, row.ref, "", row.who, row.value)
        if self.quiet or (row is not None and row.member in self.doubtful):
            return KeyUndecided(1.0)
        if row is not None:
            self.ended.add(row.member)
        self.clock += 1
        self.rows[key] = Owned(member, ref, self.clock, value, who)
        return KeyClaimed(self.clock)

    def _find(self, member: int, row: Owned | None) -> KeyFact:
        if row is not None and row.member not in self.dead | self.doubtful:
            return KeyOwned(row.member, row.ref, "", row.who, row.value) if row.shown else KeyFree()
        return KeyUndecided(1.0) if self.quiet or (row and row.member in self.doubtful) else KeyFree()
