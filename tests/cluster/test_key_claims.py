"""What one process claims of the keys of an engine: single rules, and sequences against an engine that
delays, repeats and loses what it says.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from resprout.cluster.key_claims import Away, Elsewhere, Ended, Here, KeyClaim, KeyClaims, Refusal, Search
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
    KeyRefused,
    KeyRow,
    KeyUndecided,
    ReleaseKey,
)

from .model_keys import ModelKeys

_refs = itertools.count(1)


class Cut(BaseException):
    """What a KeyboardInterrupt is in real life."""


class Noting(KeyClaim):
    """A claim that notes what it is told."""

    __slots__ = ("has_it", "why")

    def __init__(self, key: str = "k", owner: Any = None) -> None:
        super().__init__(next(_refs), key, "1", "<0.1>", owner)
        self.has_it = False
        self.why: Refusal | None = None

    def granted(self) -> None:
        self.has_it = True

    def reverted(self) -> None:
        self.has_it = False

    def dropped(self) -> None:
        pass

    def refused(self, why: Refusal) -> None:
        self.why = why


class Asking(Search):
    __slots__ = ("answers",)

    def __init__(self, key: str = "k") -> None:
        super().__init__(next(_refs), key)
        self.answers: list[Refusal | None] = []

    def found(self, owner: Refusal | None) -> None:
        self.answers.append(owner)


def claims_of(member: int = 1, **options: Any) -> KeyClaims:
    claims = KeyClaims(member, lambda: None, **options)
    claims.reassert({}, False)
    return claims


def tell(claims: KeyClaims, *facts: KeyFact, now: float = 0.0) -> list[KeyOperation]:
    """Answer what is to be said, in order."""
    said = claims.collect(now, 100)
    claims.answered(said, facts, now)
    return said


def claimed(claims: KeyClaims, token: int = 5) -> Noting:
    claim = Noting()
    claims.ask(claim)
    tell(claims, KeyClaimed(token))
    assert claims.take(claim, True)
    return claim


def test_a_claim_has_its_key_when_the_engine_has_said_so() -> None:
    claims = claims_of()
    claim = Noting()
    claims.ask(claim)
    assert not claims.take(claim, True)
    assert tell(claims, KeyClaimed(5)) == [ClaimKey(claim.ref, "k", "1", "<0.1>")]
    assert claim.has_it
    assert claims.take(claim, True)


def test_a_key_of_somebody_elsewhere_is_refused_with_who_it_is() -> None:
    claims = claims_of()
    claim = Noting()
    claims.ask(claim)
    tell(claims, KeyOwned(2, 9, "there", "<0.9>", "null"))
    assert claim.why == Elsewhere("there", "<0.9>", "null")
    assert claim.over
    assert not claims.claims


def test_a_key_of_another_claim_here_is_refused_with_that() -> None:
    claims = claims_of()
    first, second = claimed(claims), Noting()
    claims.ask(second)
    tell(claims, KeyOwned(1, first.ref, "here", "", "1"))
    assert second.why == Here(first)


def test_a_key_that_is_just_being_released_here_is_asked_for_again() -> None:
    claims = claims_of()
    first, second = claimed(claims), Noting()
    claims.ask(second)
    said = claims.collect(0.0, 100)
    claims.drop(first)
    claims.answered(said, [KeyOwned(1, first.ref, "here", "", "1")], 0.0)
    assert [type(each) for each in tell(claims, KeyDone(), KeyDone(), KeyClaimed(6))] == [
        ReleaseKey,
        ReleaseKey,
        ClaimKey,
    ]
    assert second.has_it


def test_a_release_and_a_claim_of_the_same_key_go_in_their_order_and_keys_in_that_of_all() -> None:
    claims = claims_of()
    first, second = claimed(claims), Noting()
    claims.ask(Noting("z"))
    claims.drop(first)
    claims.ask(second)
    claims.ask(Noting("a"))
    said = claims.collect(0.0, 100)
    assert [each.key for each in said] == ["a", "k", "k", "z"]
    assert said[1:3] == [ReleaseKey(first.ref, "k"), ClaimKey(second.ref, "k", "1", "<0.1>")]


def test_a_key_that_is_granted_to_a_claim_which_is_over_is_released() -> None:
    claims = claims_of()
    claim = Noting()
    claims.ask(claim)
    said = claims.collect(0.0, 100)
    claims.drop(claim)
    claims.answered(said, [KeyClaimed(5)], 0.0)
    assert not claim.has_it
    assert claims.collect(0.0, 100) == [ReleaseKey(claim.ref, "k")] * 2


def test_a_claim_that_was_given_up_before_it_was_asked_for_is_never_asked_for() -> None:
    claims = claims_of()
    claim = Noting()
    claims.drop(claim)
    claims.ask(claim)
    assert claims.collect(0.0, 100) == []
    assert not claims.claims


def test_what_is_undecided_is_asked_again_when_it_can_be_decided() -> None:
    claims = claims_of()
    claim, search = Noting(), Asking()
    claims.ask(claim)
    claims.search(search)
    tell(claims, KeyUndecided(0.1), KeyUndecided(0.2), now=10.0)
    assert min(claims.due.values()) == 10.1
    assert claims.collect(10.05, 100) == []
    assert tell(claims, KeyClaimed(5), now=10.15) == [ClaimKey(claim.ref, "k", "1", "<0.1>")]
    assert tell(claims, KeyFree(), now=10.25) == [FindKey(search.ref, "k")]
    assert search.answers == [None]


def test_a_search_finds_who_is_elsewhere_who_is_here_and_nobody() -> None:
    claims = claims_of()
    mine = claimed(claims)
    for fact, owner in (
        (KeyOwned(2, 9, "there", "<0.9>", "7"), Elsewhere("there", "<0.9>", "7")),
        (KeyOwned(1, mine.ref, "here", "", "1"), Here(mine)),
        (KeyOwned(1, 12345, "here", "", "1"), None),
        (KeyFree(), None),
    ):
        search = Asking()
        claims.search(search)
        tell(claims, fact)
        assert search.answers == [owner]
    assert not claims.searches


def test_a_dead_owner_whose_key_lingers_is_not_found_and_its_key_stays_taken() -> None:
    claims = claims_of()
    mine, search = claimed(claims), Asking()
    claims.change(mine, "1", False)
    claims.search(search)
    assert tell(claims, KeyDone(), KeyOwned(1, mine.ref, "", "", "1"))[0] == ChangeKey(
        mine.ref, "k", "1", False
    )
    assert search.answers == [None]
    assert not mine.over


def test_when_the_engine_was_not_heard_of_for_too_long_owners_are_told_and_who_waits_waits_on() -> None:
    claims = claims_of()
    mine, granted, waiting = claimed(claims), Noting("g"), Noting("w")
    claims.ask(granted)
    tell(claims, KeyClaimed(6))
    claims.ask(waiting)
    claims.gone()
    claims.void()
    assert list(claims.lost.values()) == [mine]
    assert mine.over
    assert not claims.take(granted, True)
    claims.reassert({}, False)
    assert {each.key for each in claims.collect(0.0, 100)} == {"g", "w"}


def test_a_key_that_was_granted_before_a_long_stop_is_asked_for_again_instead_of_taken() -> None:
    claims = claims_of()
    claim = Noting()
    claims.ask(claim)
    tell(claims, KeyClaimed(5))
    assert not claims.take(claim, False)
    assert not claim.has_it
    assert claims.collect(0.0, 100) == [ClaimKey(claim.ref, "k", "1", "<0.1>")]


def test_after_a_cut_what_the_engine_has_is_as_it_was() -> None:
    claims = claims_of()
    mine = claimed(claims)
    claims.gone()
    claims.reassert({mine.ref: KeyRow("k", 5), 77: KeyRow("old", 3)}, False)
    assert not claims.lost
    assert claims.collect(0.0, 100) == [ReleaseKey(77, "old")]


def test_after_a_cut_that_took_too_long_the_owner_is_told() -> None:
    claims = claims_of()
    mine = claimed(claims)
    claims.gone()
    claims.reassert({}, False)
    assert list(claims.lost.values()) == [mine]
    assert mine.over


def test_an_engine_that_may_have_lost_keys_hears_of_them_and_a_later_owner_has_the_higher_token() -> None:
    claims = claims_of()
    mine = claimed(claims)
    claims.gone()
    claims.reassert({}, True)
    assert tell(claims, KeyDone()) == [KeepKey(mine.ref, "k", 5, "1", True, "<0.1>")]
    assert not claims.lost
    claims.reassert({}, True)
    tell(claims, KeyGone())
    assert list(claims.lost.values()) == [mine]


def test_while_the_engine_is_away_claims_wait_or_are_refused_if_that_is_wanted() -> None:
    waiting, refused = claims_of(), claims_of(raises=True)
    for claims in (waiting, refused):
        before, after, search = Noting(), Noting("l"), Asking()
        claims.ask(before)
        claims.search(search)
        claims.gone()
        claims.ask(after)
        if claims is waiting:
            assert (before.why, after.why, search.answers) == (None, None, [])
            claims.reassert({}, False)
            assert len(claims.collect(0.0, 100)) == 3
        else:
            assert (before.why, after.why, search.answers) == (Away(), Away(), [Away()])
            assert not claims.claims


def test_who_gives_up_is_told_when_the_engine_knows_or_is_away() -> None:
    claims = claims_of()
    told: list[str] = []
    first, second = claimed(claims), Noting("l")
    claims.ask(second)
    tell(claims, KeyClaimed(6))
    claims.leave(first, lambda: told.append("first"))
    assert told == []
    tell(claims, KeyDone())
    assert told == ["first"]
    claims.leave(second, lambda: told.append("second"))
    claims.gone()
    assert told == ["first", "second"]
    claims.leave(second, lambda: told.append("again"))
    assert told[-1] == "again"


def test_a_registry_that_ends_releases_everything() -> None:
    claims = claims_of()
    mine, waiting, search = claimed(claims), Noting("w"), Asking()
    claims.ask(waiting)
    claims.search(search)
    claims.close()
    assert waiting.why == Ended()
    assert search.answers == [Ended()]
    said = claims.collect(0.0, 100)
    assert ReleaseKey(mine.ref, "k") in said
    assert ReleaseKey(waiting.ref, "w") in said
    claims.answered([each for each in said if isinstance(each, ReleaseKey)], [KeyDone(), KeyDone()], 0.0)
    assert claims.done
    late = Noting()
    claims.ask(late)
    assert late.why == Ended()


def test_what_was_answered_too_late_is_said_again() -> None:
    claims = claims_of()
    claim = Noting()
    claims.ask(claim)
    said = claims.collect(0.0, 100)
    claims.unanswered(said)
    assert claims.collect(0.0, 100) == said


REFUSED = KeyRefused(ValueError("a constraint"))


def test_a_release_that_is_refused_is_said_again_after_pauses_that_grow_until_it_is_taken() -> None:
    claims = claims_of()
    told: list[str] = []
    mine = claimed(claims)
    claims.leave(mine, lambda: told.append("refused"))
    release, now, pauses = [ReleaseKey(mine.ref, "k")], 10.0, []
    assert tell(claims, REFUSED, now=now) == release
    assert told == ["refused"]
    for _ in range(9):
        due = min(claims.due.values())
        pauses.append(due - now)
        assert claims.collect((now + due) / 2, 100) == []
        now = due
        assert tell(claims, REFUSED, now=now) == release
    assert pauses == sorted(pauses)
    assert pauses[0] < 1
    assert 10 < pauses[-1] == pauses[-2] < 60
    assert tell(claims, KeyDone(), now=now + 60) == release
    assert not claims.due
    assert not claims.refused


def test_a_change_that_is_refused_is_said_again_as_it_is_by_then() -> None:
    claims = claims_of()
    mine = claimed(claims)
    claims.change(mine, "2", True)
    tell(claims, REFUSED)
    mine.shown = False
    assert tell(claims, KeyDone(), now=60.0) == [ChangeKey(mine.ref, "k", "2", False)]
    claims.change(mine, "3", False)
    tell(claims, REFUSED, now=60.0)
    claims.change(mine, "4", False)
    assert tell(claims, KeyDone(), now=60.0) == [ChangeKey(mine.ref, "k", "4", False)]
    assert claims.collect(120.0, 100) == []
    claims.change(mine, "5", False)
    tell(claims, REFUSED, now=120.0)
    claims.drop(mine)
    assert tell(claims, KeyDone(), now=180.0) == [ReleaseKey(mine.ref, "k")]
    assert not claims.due


def test_who_claims_a_key_anew_whose_release_is_refused_waits_for_that() -> None:
    claims = claims_of()
    first, second = claimed(claims), Noting()
    claims.drop(first)
    claims.ask(second)
    owned = KeyOwned(1, first.ref, "here", "", "1")
    tell(claims, REFUSED, owned)
    assert claims.collect(0.0, 100) == []
    again = [ReleaseKey(first.ref, "k"), ClaimKey(second.ref, "k", "1", "<0.1>")]
    assert tell(claims, REFUSED, owned, now=60.0) == again
    assert tell(claims, KeyDone(), KeyClaimed(6), now=120.0) == again
    assert second.has_it


def test_a_registry_that_has_ended_is_done_when_its_last_release_is_taken() -> None:
    claims = claims_of()
    mine = claimed(claims)
    claims.close()
    tell(claims, REFUSED)
    assert not claims.done
    assert tell(claims, KeyDone(), now=60.0) == [ReleaseKey(mine.ref, "k")]
    assert claims.done
    # Away, the engine says itself what it has when it is back.
    again = claimed(claims := claims_of())
    claims.drop(again)
    tell(claims, REFUSED)
    claims.gone()
    claims.reassert({again.ref: KeyRow("k", 5)}, False)
    assert claims.collect(60.0, 100) == [ReleaseKey(again.ref, "k")]
    assert claims.collect(60.0, 100) == []


# -- sequences -------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Owner:
    """A process that wants a key, as the table of the registry sees it.

    Attributes:
        entered: it is in the table.
    """

    claim: Any = None
    entered: bool = False


class Process:
    """What one process claims, and what is on its way between it and the engine."""

    def __init__(self, number: int, engine: ModelKeys) -> None:
        self.number = number
        self.engine = engine
        self.armed: int | None = None
        self.claims = KeyClaims(number, self._wake)
        self.request: list[KeyOperation] | None = None
        self.answers: deque[tuple[list[KeyOperation], list[KeyFact]]] = deque()
        self.owners: list[Owner] = []
        self.cut_off = False
        self.reconnect()

    def _wake(self) -> None:
        if self.armed is not None:
            self.armed -= 1
            if self.armed < 0:
                self.armed = None
                raise Cut

    def step(self, step: Callable[[], Any]) -> Any:
        """As the combiner does: what is cut is repeated."""
        while True:
            try:
                value = step()
                break
            except Cut:
                continue
        for claim in list(self.claims.lost.values()):
            claim.owner.entered = False
            del self.claims.lost[claim.ref]
        return value

    def enter(self) -> None:
        """Whoever was granted a key goes on."""
        for owner in self.owners:
            if owner.claim.has_it and not owner.entered and not owner.claim.over:
                owner.entered = bool(self.step(lambda: self.claims.take(owner.claim, True)))  # noqa: B023  # at once

    def reconnect(self) -> None:
        """The connection was cut: what was on its way is lost, be it done or not."""
        self.request = None
        self.answers.clear()
        self.step(self.claims.gone)
        self.engine.dead.discard(self.number)
        self.engine.doubtful.discard(self.number)
        trusting = self.engine.quiet and self.number not in self.engine.ended
        if self.engine.quiet and not trusting:
            self.engine.forget(self.number)
        rows = self.engine.rows_of(self.number)
        self.engine.ended.discard(self.number)
        self.step(lambda: self.claims.reassert(rows, trusting))
        self.cut_off = False

    @property
    def owned(self) -> list[Owner]:
        return [owner for owner in self.owners if owner.entered]


class ManyProcesses(RuleBasedStateMachine):
    """Three processes share two keys; nothing between them and the engine can be relied on."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = ModelKeys()
        self.saved = self.engine.snapshot()
        self.processes = [Process(number, self.engine) for number in range(3)]
        self.searches: list[Asking] = []
        self.now = 0.0

    which = st.integers(0, 2)
    keys = st.sampled_from(["a", "b"])
    some = st.randoms(use_true_random=False)

    @rule(number=which, key=keys)
    def register(self, number: int, key: str) -> None:
        process = self.processes[number]
        if any(owner.claim.key == key for owner in process.owned):
            return
        owner = Owner()
        owner.claim = Noting(key, owner)
        process.owners.append(owner)
        process.step(lambda: process.claims.ask(owner.claim))

    @rule(number=which, some=some)
    def an_owner_ends(self, number: int, some: random.Random) -> None:
        process = self.processes[number]
        if alive := [owner for owner in process.owners if not owner.claim.over]:
            owner = some.choice(alive)
            owner.entered = False
            process.step(lambda: process.claims.drop(owner.claim))

    @rule(number=which, key=keys)
    def an_owner_ends_and_is_started_again(self, number: int, key: str) -> None:
        for owner in self.processes[number].owned:
            if owner.claim.key == key:
                owner.entered = False
                self.processes[number].step(lambda: self.processes[number].claims.drop(owner.claim))  # noqa: B023
        self.register(number, key)
        self.exchange(number)

    @rule(number=which, some=some, shown=st.booleans())
    def an_owner_changes(self, number: int, some: random.Random, shown: bool) -> None:
        process = self.processes[number]
        if process.owned:
            claim = some.choice(process.owned).claim
            process.step(lambda: process.claims.change(claim, str(some.random()), shown))

    @rule(number=which, key=keys)
    def look_up(self, number: int, key: str) -> None:
        search = Asking(key)
        self.searches.append(search)
        self.processes[number].step(lambda: self.processes[number].claims.search(search))

    @rule(number=which, after=st.integers(0, 2))
    def cut_the_next_step(self, number: int, after: int) -> None:
        self.processes[number].armed = after

    @rule(number=which)
    def exchange(self, number: int) -> None:
        """All of it at once, or nothing would ever get far."""
        self.answer_arrives(number, False)
        self.send(number)
        self.engine_steps(number)
        self.answer_arrives(number, False)

    @rule()
    def everybody_exchanges(self) -> None:
        for number in range(3):
            self.exchange(number)

    @rule(number=which)
    def send(self, number: int) -> None:
        process = self.processes[number]
        if process.request is None and not process.answers:
            self.now += 1.0
            process.request = process.claims.collect(self.now, 100)

    @rule(number=which)
    def engine_refuses(self, number: int) -> None:
        process = self.processes[number]
        self.send(number)
        if process.request is not None:
            process.answers.append((process.request, [REFUSED for _ in process.request]))
            process.request = None

    @rule(number=which)
    def engine_steps(self, number: int) -> None:
        process = self.processes[number]
        if process.request is not None:
            process.answers.append((process.request, self.engine.step(number, process.request)))
            process.request = None

    @rule(number=which, twice=st.booleans())
    def answer_arrives(self, number: int, twice: bool) -> None:
        process = self.processes[number]
        if process.answers:
            said, facts = process.answers.popleft()
            for _ in range(1 + twice):
                process.step(lambda: process.claims.answered(said, facts, self.now))
            process.enter()

    @rule(number=which)
    def answer_is_too_late(self, number: int) -> None:
        process = self.processes[number]
        if process.answers:
            said, _ = process.answers.popleft()
            process.step(lambda: process.claims.void())
            process.step(lambda: process.claims.unanswered(said))

    @rule(number=which)
    def connection_is_cut_in_time(self, number: int) -> None:
        self.processes[number].reconnect()

    @rule(number=which)
    def session_may_have_ended(self, number: int) -> None:
        self.engine.doubtful.add(number)

    @rule(number=which, back=st.booleans())
    def session_has_ended_after_its_grants_were_void(self, number: int, back: bool) -> None:
        process = self.processes[number]
        process.step(process.claims.gone)
        process.step(process.claims.void)
        process.request = None
        process.answers.clear()
        self.engine.dead.add(number)
        if back:
            process.reconnect()

    @rule(number=which)
    def is_cut_off_for_longer_than_its_grace(self, number: int) -> None:
        """It may lose its keys, and cannot know of that until it is back."""
        process = self.processes[number]
        process.step(process.claims.gone)
        process.request = None
        process.answers.clear()
        process.cut_off = True
        self.engine.dead.add(number)

    @rule(number=which)
    def comes_back(self, number: int) -> None:
        self.processes[number].reconnect()

    @rule()
    def engine_saves(self) -> None:
        self.saved = self.engine.snapshot()

    @rule(order=st.permutations([0, 1, 2]), late=which)
    def engine_crashes_and_loses_what_came_after_it_has_saved(self, order: list[int], late: int) -> None:
        clock, dead, ended = self.engine.clock, self.engine.dead, self.engine.ended
        self.engine = self.saved.snapshot()
        # As the time does, that tokens are made of.
        self.engine.clock = clock
        self.engine.dead = set(dead)
        self.engine.ended = set(ended)
        self.engine.quiet = True
        for process in self.processes:
            process.engine = self.engine
        for number in order:
            process = self.processes[number]
            if number in dead and number == late:
                process.step(process.claims.gone)
                continue
            process.reconnect()
            self.exchange(number)
        self.engine.quiet = False
        self.saved = self.engine.snapshot()

    @invariant()
    def no_key_has_two_owners(self) -> None:
        for key in ("a", "b"):
            owners = [
                owner
                for each in self.processes
                if not each.cut_off
                for owner in each.owned
                if owner.claim.key == key
            ]
            assert len(owners) <= 1

    def teardown(self) -> None:
        """When all is said, everybody is answered, and nothing is left behind anywhere."""
        for process in self.processes:
            process.armed = None
            if process.cut_off or process.claims.down or process.number in self.engine.doubtful:
                process.reconnect()
        # What was refused is due by then.
        self.now += 60.0
        for _ in range(sum(len(process.owners) for process in self.processes) + 10):
            self.everybody_exchanges()
            self.no_key_has_two_owners()
        for process in self.processes:
            for owner in process.owners:
                assert owner.entered or owner.claim.over
                owner.entered = False
                process.step(lambda: process.claims.drop(owner.claim))  # noqa: B023  # at once
        for _ in range(3):
            self.everybody_exchanges()
        assert all(search.answers for search in self.searches)
        for process in self.processes:
            claims = process.claims
            left = [claims.claims, claims.searches, claims.leaving, claims.outgoing, claims.due]
            assert not any([*left, claims.refused])
        assert not self.engine.rows


def test_many_processes_behind_an_engine_that_delays_repeats_and_loses() -> None:
    run_state_machine_as_test(
        ManyProcesses, settings=settings(max_examples=150, stateful_step_count=60, deadline=None)
    )
