"""A registry of the process that this one is a placed child of: the parent's table decides, and is asked
over the pipe.

Who owns what here is known here, as with any engine (see ``registry.shared_table``), and what the claims of
this process ask goes through the same core (``key_claims``). Only that the parent is told each operation at
once, as it is in reach for as long as this process lasts.
"""

from __future__ import annotations

import itertools
import pickle
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..actors.engine import kernel
from ..registry.placed import SharedTable
from ..supervision.engine import REGISTRIES, parents
from ..throttle.engine import EngineDown
from .far_pid import FarPid
from .key_claims import Elsewhere, Here, KeyClaims, Refusal, Refused
from .key_gate import Claim, KeyGate, Lookup
from .key_operations import KeyOperation
from .pipe_key_messages import (
    OURS,
    KeyAnswer,
    KeyDenied,
    KeyVoid,
    OpenedRegistry,
    Said,
    ToChild,
    packed,
    packed_key,
    unpacked,
)
from .pipe_lock import PARENT, parent_lives
from .stored_keys import stored_key, stored_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..actors import Pid
    from ..actors.engine import Worker
    from ..registry.engine import Owned, SharedSettings
    from ..registry.placed import Holdings

_numbers = itertools.count(1)
by_number: dict[int, ParentKeyGate] = {}
"""The registries, by what the numbers of their claims begin with."""


def tell_parent(registry: str, operation: KeyOperation) -> None:
    """Tells the parent something. Never waits; safe anywhere."""
    if parents:
        parents[0].tell(REGISTRIES, pickle.dumps(Said(registry, operation)))


class ParentKeys(KeyClaims):
    """What this process claims of a registry of the parent's."""

    def __init__(self, registry: str) -> None:
        super().__init__(OURS, lambda: None)
        self._registry = registry
        self.down = False

    def _post(self, operation: KeyOperation) -> None:
        if not self.down:
            tell_parent(self._registry, operation)

    def told(self, message: ToChild) -> None:
        """Take note of what the parent says. May be repeated."""
        match message:
            case KeyAnswer(operation, fact):
                self.answered([operation], [fact], monotonic())
            case KeyDenied(ref, error, _):
                claim, search = self.claims.get(ref), self.searches.get(ref)
                why = Refused(pickle.loads(error))
                if claim is not None and claim.token is None:
                    self._refuse(claim, why)
                elif search is not None:
                    search.found(why)
                    self.end_search(search)
            case KeyVoid(ref):
                claim = self.claims.get(ref)
                if claim is not None and claim.token is not None:
                    self._over(claim)


class _Unsaid(Exception):
    """Why something was refused. What is raised for it is made by whoever waits, as that prints a key and may
    ask the parent, and nothing of the kind is to be done on the thread of the hub.
    """

    def __init__(self, why: Refusal) -> None:
        super().__init__()
        self.why = why


class ParentClaim(Claim):
    """A claim that somebody waits for."""

    __slots__ = ()

    def refused(self, why: Refusal) -> None:
        self.answer.try_set_exception(_Unsaid(why))


class ParentLookup(Lookup):
    """A search whose finding is read by whoever waits for it."""

    __slots__ = ()

    def found(self, owner: Refusal | None) -> None:
        match owner:
            case Elsewhere(node, who, value):
                self.answer.try_set([(FarPid(node, who), _Unread(value))])
            case None | Here():
                super().found(owner)
            case _:
                self.answer.try_set_exception(_Unsaid(owner))


class _Unread:
    """A value that has crossed."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _read(found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return [(pid, unpacked(value.text) if isinstance(value, _Unread) else value) for pid, value in found]


class ParentKeyGate(KeyGate):
    """What such a registry has for an engine.

    Args:
        settings: of its table here.
        stored: the parent has it on an engine.
        forget: ends the table, when the parent has no such registry.
    """

    claims: ParentKeys

    def __init__(self, settings: SharedSettings, stored: bool, forget: Callable[[], object]) -> None:
        super().__init__(settings, next(_numbers), OURS, _nothing, parent_lives, _away, _for_ever)
        self.claims = ParentKeys(settings.name)
        self.stored = stored
        self._forget = forget
        by_number[self.number] = self

    def stored_key(self, key: object) -> str:
        if self.stored:
            stored_key(key)
        return packed_key(key)

    def stored_value(self, value: object) -> str:
        if self.stored:
            stored_value(value)
        return packed("value", value)

    def claim(self, key: str, value: str, owner: Owned) -> ParentClaim:
        return ParentClaim(self, next(self._numbers), key, value, owner)

    def search(self, key: str) -> ParentLookup:
        search = ParentLookup(self, next(self._numbers), key)
        self._combiner.submit(partial(self.claims.search, search))
        return search

    def find(self, key: str) -> list[tuple[Any, Any]]:
        search = self.search(key)
        try:
            return _read(search.answer.result(None))
        except _Unsaid as unsaid:
            raise self.error_of(unsaid.why, None) from None
        finally:
            self._combiner.submit(partial(self.claims.end_search, search))

    async def afind(self, key: str) -> list[tuple[Any, Any]]:
        search = self.search(key)
        try:
            return _read(await search.answer)
        except _Unsaid as unsaid:
            raise self.error_of(unsaid.why, None) from None
        finally:
            self._combiner.submit(partial(self.claims.end_search, search))

    def close(self) -> None:
        super().close()
        by_number.pop(self.number, None)

    # On the thread of the hub.

    def told(self, message: ToChild) -> None:
        """The parent has said something."""
        self._combiner.submit(partial(self._told, message))

    def _told(self, message: ToChild) -> None:
        self.claims.told(message)
        if self.claims.lost:
            kernel.pool.submit(Later(self._tell_the_losers))
        if isinstance(message, KeyDenied) and message.gone and not self.claims.claims:
            # One of that name that comes later may be of another kind.
            kernel.pool.submit(Later(self._forget))

    def parent_died(self) -> None:
        """Nothing is owned any more."""
        self._combiner.submit(self._parent_died)
        self.close()

    def _parent_died(self) -> None:
        self.claims.void()
        self.claims.gone()
        if self.claims.lost:
            kernel.pool.submit(Later(self._tell_the_losers))


class Later:
    """A task of the pool."""

    __slots__ = ("_step",)

    def __init__(self, step: Callable[[], object]) -> None:
        self._step = step

    def run(self, worker: Worker) -> None:
        self._step()


class ParentTable(SharedTable):
    """The table of such a registry. It has no process here, as nothing of it can crash by itself."""

    shared: ParentKeyGate
    no_meta = " in this process; that of the tree's is in the parent: hand the child what it needs"

    def __init__(self, opened: OpenedRegistry) -> None:
        self.stored = opened.stored
        super().__init__(
            opened.name,
            PARENT,
            opened.on_lost,
            "wait",
            partitions=opened.partitions,
            linger=opened.linger,
        )

    def _make_keys(self, settings: SharedSettings) -> ParentKeyGate:
        return ParentKeyGate(settings, self.stored, self.end)

    def register(
        self,
        me: Pid,
        key: Any,
        value: Any,
        timeout: float | None = None,
        holdings: Holdings | None = None,
    ) -> bool:
        try:
            return super().register(me, key, value, timeout, holdings)
        except _Unsaid as unsaid:
            raise self.shared.error_of(unsaid.why, key) from None

    async def aregister(self, me: Pid, key: Any, value: Any, timeout: float | None = None) -> bool:
        try:
            return await super().aregister(me, key, value, timeout)
        except _Unsaid as unsaid:
            raise self.shared.error_of(unsaid.why, key) from None


def told(body: bytes) -> None:
    """The parent has told something. On the thread of the hub."""
    message: ToChild = pickle.loads(body)
    gate = by_number.get(message.ref >> 32)
    if gate is not None:
        gate.told(message)


def parent_died() -> None:
    """The parent is gone, or the pipe was closed. On the thread of the hub."""
    for gate in list(by_number.values()):
        gate.parent_died()


def _nothing(gate: KeyGate) -> None:
    """Nobody collects what is to be said: it is told at once."""


def _for_ever() -> float:
    """How long a search waits for the parent, which answers as long as it lives."""
    return float("inf")


def _away() -> EngineDown:
    return EngineDown(PARENT)
