"""One registry as its engine sees it: what this process claims of its keys, and what the engine says of that,
goes through one combiner, as the steps of a lock do.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..actors import AlreadyRegistered, CallTimeout, Future, ResproutError, process
from ..actors.engine import Alarm, kernel
from ..throttle.engine import Combiner, EngineDown
from .far_pid import FarPid
from .key_claims import Away, Elsewhere, Here, KeyClaim, KeyClaims, Refusal, Refused, Search
from .key_operations import KeyFact, KeyOperation, KeyRequest, KeyRow
from .stored_keys import stored_key, stored_value, value_of

if TYPE_CHECKING:
    from ..registry.engine import Owned, SharedSettings

MOST_OPERATIONS = 500
"""In one request."""


class Claim(KeyClaim):
    """A claim that somebody waits for.

    Attributes:
        answer: True when it has its key, False when it was given up; raises what it was refused for.
    """

    __slots__ = ("_expired", "_gate", "answer")

    def __init__(self, gate: KeyGate, ref: int, key: str, value: str, owner: Owned) -> None:
        super().__init__(ref, key, value, str(owner.pid), owner)
        self._gate = gate
        self._expired = False
        self.answer: Future[bool] = Future()

    def granted(self) -> None:
        self.answer.try_set(True)

    def reverted(self) -> None:
        # In this order, and the other way round in expire: so one of the two sees the other.
        self.answer = Future()
        if self._expired:
            self.expire()

    def dropped(self) -> None:
        if not self.answer.try_set(False):
            # Whoever was told that they have it, and has not gone on yet, looks again.
            self.answer = Future()
            self.answer.try_set(False)

    def refused(self, why: Refusal) -> None:
        self.answer.try_set_exception(self._gate.error_of(why, self.owner.key))

    def expire(self) -> None:
        """It was waited for long enough, also if it has to wait again."""
        self._expired = True
        self.answer.try_set_exception(
            CallTimeout(f"registry {self._gate.name!r}: the engine has not answered")
        )


class Lookup(Search):
    """A search that somebody waits for."""

    __slots__ = ("_gate", "answer")

    def __init__(self, gate: KeyGate, ref: int, key: str) -> None:
        super().__init__(ref, key)
        self._gate = gate
        self.answer: Future[list[tuple[Any, Any]]] = Future()

    def found(self, owner: Refusal | None) -> None:
        match owner:
            case None:
                self.answer.try_set([])
            case Elsewhere(node, who, value):
                self.answer.try_set([(FarPid(node, who), value_of(value))])
            case Here(claim):
                pid = claim.owner.pid
                # As in the table: the dead are not shown, swept or not.
                self.answer.try_set([(pid, claim.owner.value)] if pid.alive else [])
            case _:
                self.answer.try_set_exception(self._gate.error_of(owner, None))

    def expire(self) -> None:
        """It was waited for long enough."""
        self.answer.try_set_exception(self._gate.away())


class KeyGate:
    """See the module. To the registry it is a SharedKeys (see registry.engine).

    Args:
        number: no other gate of this process has it; it is in the numbers of all claims.
        member: what the engine calls this process.
        wake: told that there is something to be sent; safe anywhere.
        valid: tells whether the engine was heard of lately enough.
        away: makes the error for what needs a connection.
        patience: tells how many seconds a search that begins now waits for an answer.
    """

    def __init__(
        self,
        settings: SharedSettings,
        number: int,
        member: int,
        wake: Callable[[KeyGate], object],
        valid: Callable[[], bool],
        away: Callable[[], EngineDown],
        patience: Callable[[], float],
    ) -> None:
        self.name = settings.name
        self.number = number
        self.valid = valid
        self.away = away
        self.claims = KeyClaims(member, lambda: wake(self), settings.on_unreachable == "raise")
        self._lose = settings.lose
        self._ended = settings.ended
        self._patience = patience
        self._numbers = itertools.count((number << 32) + 1)
        self._combiner = Combiner(lambda: wake(self))

    # -- for the registry ------------------------------------------------------

    stored_key = staticmethod(stored_key)
    stored_value = staticmethod(stored_value)

    def claim(self, key: str, value: str, owner: Owned) -> Claim:
        """Make a claim, which is not asked for yet."""
        return Claim(self, next(self._numbers), key, value, owner)

    def ask(self, claim: Claim) -> None:
        """Ask for its key; its answer tells what came of that.

        Raises:
            ResproutError: here nothing can be decided.
        """
        if self._combiner.decide(partial(self.claims.ask, claim)) is None:
            raise ResproutError(
                f"registry {self.name!r}: no key can be registered in a signal handler that interrupts this "
                f"very registry; have a thread or process do that"
            )

    def expire(self, claim: Claim, timeout: float) -> Alarm:
        """Have a claim refused if that takes too long; the alarm is to be cancelled."""
        return kernel.at(monotonic() + timeout, claim.expire)

    def take(self, claim: Claim) -> bool:
        """Its owner is in the table now; False when it has lost its key meanwhile, and waits again."""
        return bool(self._combiner.decide(partial(self._take, claim)))

    def _take(self, claim: Claim) -> bool:
        return self.claims.take(claim, self.valid())

    def drop(self, claim: Claim) -> None:
        """Give a claim up; the engine is told without waiting. Never blocks, may be repeated."""
        self._combiner.submit(partial(self.claims.drop, claim))

    def leave(self, claim: Claim) -> Future[None]:
        """Give a claim up; the answer comes when the engine knows, or is away."""
        known: Future[None] = Future()
        self._combiner.submit(partial(self.claims.leave, claim, partial(known.try_set, None)))
        return known

    def change(self, claim: Claim, value: str) -> None:
        """An owner has another value."""
        self._combiner.submit(partial(self.claims.change, claim, value, claim.shown))

    def hide(self, claim: Claim) -> None:
        """An owner is dead, and its key stays taken."""
        self._combiner.submit(partial(self._hide, claim))

    def _hide(self, claim: Claim) -> None:
        self.claims.change(claim, claim.value, False)

    def search(self, key: str) -> Lookup:
        """Find out who has a key; the alarm of what that gives is to be cancelled."""
        search = Lookup(self, next(self._numbers), key)
        self._combiner.submit(partial(self.claims.search, search))
        return search

    def find(self, key: str) -> list[tuple[Any, Any]]:
        """Find out who has a key, with its value. One round trip."""
        search = self.search(key)
        try:
            return search.answer.result(self._patience())
        except CallTimeout:
            raise self.away() from None
        finally:
            self._combiner.submit(partial(self.claims.end_search, search))

    async def afind(self, key: str) -> list[tuple[Any, Any]]:
        """The form of `find` for coroutines."""
        search = self.search(key)
        alarm = kernel.at(monotonic() + self._patience(), search.expire)
        try:
            return await search.answer
        finally:
            alarm.cancel()
            self._combiner.submit(partial(self.claims.end_search, search))

    def close(self) -> None:
        """The registry has ended."""
        self._combiner.submit(self.claims.close)

    def error_of(self, why: Refusal | None, key: object) -> BaseException:
        """What a claim or search is refused with."""
        match why:
            case Here(claim):
                return AlreadyRegistered(claim.owner.pid, key)
            case Elsewhere(node, who, _):
                return AlreadyRegistered(FarPid(node, who), key)
            case Away():
                return self.away()
            case Refused(error):
                return error
            case _:
                return self._ended()

    # -- for whoever talks to the server -----------------------------------------

    def request(self, now: float) -> KeyRequest | None:
        """Collect what is to be said; None where there is nothing."""
        operations = self.claims.collect(now, MOST_OPERATIONS)
        return KeyRequest(self.name, operations) if operations else None

    @property
    def next_look(self) -> float | None:
        """When there is something to be said again, though nobody here says it."""
        due = self.claims.due
        return min(list(due.values()), default=None) if due else None

    def tell(
        self, operations: Sequence[KeyOperation], facts: Sequence[KeyFact], until: float, now: float
    ) -> None:
        """Take note of an answer, if it is not too late for it."""
        self._combiner.decide(partial(self._answered, operations, facts, until, now))
        self._tell_the_losers()

    def _answered(
        self, operations: Sequence[KeyOperation], facts: Sequence[KeyFact], until: float, now: float
    ) -> bool:
        if monotonic() < until:
            self.claims.answered(operations, facts, now)
        else:
            self.claims.unanswered(operations)
        return True

    def gone(self) -> None:
        """The engine is away."""
        self._combiner.submit(self.claims.gone)

    def reassert(self, rows: Mapping[int, KeyRow], trusting: bool) -> int:
        """Say again what there is here; returns how many keys are lost."""
        self._combiner.decide(partial(self._reassert, rows, trusting))
        return self._tell_the_losers()

    def _reassert(self, rows: Mapping[int, KeyRow], trusting: bool) -> bool:
        self.claims.reassert(rows, trusting)
        return True

    def void(self) -> int:
        """It was away for too long; returns how many keys that costs."""
        self._combiner.decide(self._void)
        return self._tell_the_losers()

    def _void(self) -> bool:
        # Unless it was heard of just now.
        if not self.valid():
            self.claims.void()
        return True

    def _tell_the_losers(self) -> int:
        lost = []
        while True:
            try:
                lost.append(self.claims.lost.popitem()[1])
            except KeyError:
                break
        if lost:
            process.spawn(self._tell, lost)
        return len(lost)

    def _tell(self, lost: Sequence[KeyClaim]) -> None:
        for claim in lost:
            self._lose(claim.owner)
