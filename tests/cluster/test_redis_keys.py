"""What only Redis has of registries: who owns a key may be forgotten, with all data or by half."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from resprout.cluster.driver import ConnectionLost, Greeting, Request
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
    KeyRequest,
    KeyRow,
    KeyUndecided,
    ReleaseKey,
)
from resprout.cluster.operations import Join
from resprout.cluster.redis import RedisConnection, connect
from resprout.cluster.settings import engine_settings

from ..waiting import until
from .redis_server import RedisDatabase

pytestmark = pytest.mark.redis
TTL = 1.0
_members = itertools.count(2**61)


@pytest.fixture
def kind() -> str:
    return "redis"


class Session:
    """A process's session, as its link has it; a claim of it is a number."""

    def __init__(self, url: str, *, grace: float = 0.15, node: str = "n") -> None:
        self.settings = engine_settings(url, name="e", ttl=TTL, grace=grace, schema="resprout", node=node)
        self.member = next(_members)
        self.connection: RedisConnection = connect(self.settings, self.member, False, 5.0)

    def back(self) -> Greeting:
        """Connect anew."""
        self.connection.close()
        self.connection = connect(self.settings, self.member, True, 5.0)
        return self.connection.greeting

    def do(self, *operations: KeyOperation, registry: str = "r") -> list[KeyFact]:
        (facts,) = self.connection.keys([KeyRequest(registry, list(operations))], 5.0)
        return facts

    def claim(self, ref: int, key: str = "k") -> int:
        """The token of a key that is free."""
        (fact,) = self.do(ClaimKey(ref, key, "1", f"<{ref}>"))
        assert isinstance(fact, KeyClaimed)
        return fact.token

    def takes(self, ref: int, key: str = "k") -> int:
        """The token of a key, once that is free."""
        found: list[KeyFact] = []
        until(
            lambda: found.extend(self.do(ClaimKey(ref, key, "2", "w"))) or isinstance(found[-1], KeyClaimed)
        )
        assert isinstance(found[-1], KeyClaimed)
        return found[-1].token


@contextmanager
def sessions(url: str, number: int) -> Iterator[list[Session]]:
    found: list[Session] = []
    try:
        found += [Session(url, node=f"n{each}") for each in range(number)]
        yield found
    finally:
        for each in found:
            each.connection.close()


@pytest.fixture
def two(url: str) -> Iterator[list[Session]]:
    with sessions(url, 2) as found:
        yield found


def kept(ref: int, token: int, *, shown: bool = True) -> KeepKey:
    return KeepKey(ref, "k", token, "1", shown, f"<{ref}>")


def end_the_quiet(database: RedisDatabase) -> None:
    with database.client() as client:
        client.hset("resprout:server", "quiet", 0)


def test_values_and_names_are_what_they_are(two: list[Session]) -> None:
    here, there = two
    for number, (registry, key, value, who) in enumerate(
        [
            ("}{", "a b:c\0", "1 2 3", ""),
            ("ü{r}", "{}", "", "who 7 is\nthis"),
            ("%d", "%s", "%.0f", "é " * 100),
        ]
    ):
        here.do(ClaimKey(number, key, value, who), registry=registry)
        assert there.do(FindKey(9, key), registry=registry) == [
            KeyOwned(here.member, number, "n0", who, value)
        ]
        assert here.back().keys[registry][number].key == key  # type: ignore[index]  # it keeps keys
        here.do(ReleaseKey(number, key), registry=registry)
        assert there.do(FindKey(9, key), registry=registry) == [KeyFree()]


def test_a_key_that_changes_hands_in_one_step_has_a_higher_token(two: list[Session]) -> None:
    here, _ = two
    first, _, second = here.do(ClaimKey(1, "k", "1", "w"), ReleaseKey(1, "k"), ClaimKey(2, "k", "1", "w"))
    assert isinstance(first, KeyClaimed)
    assert isinstance(second, KeyClaimed)
    assert second.token > first.token


def test_nothing_is_left_behind_of_keys_that_are_released(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    here.claim(1)
    there.claim(2, "other")
    here.do(ReleaseKey(1, "k"))
    there.do(ReleaseKey(2, "other"))
    with redis_database.client() as client:
        left = sorted(key for key in client.scan_iter("*") if "member" not in key)
    assert left == ["resprout:server"]


def test_whose_connection_is_gone_is_given_its_grace_and_then_has_lost_its_key(two: list[Session]) -> None:
    here, there = two
    token = here.claim(1)
    here.connection.close()
    found: list[KeyFact] = []
    until(lambda: found.extend(there.do(FindKey(9, "k"))) or not isinstance(found[-1], KeyOwned))
    (undecided, again) = found[-1], there.do(ClaimKey(1, "k", "2", "w"))[0]
    assert isinstance(undecided, KeyUndecided)
    assert isinstance(again, KeyUndecided)
    assert 0 < again.again <= 0.15
    assert there.takes(1) > token
    greeting = here.back()
    assert greeting.keys == {}
    assert here.do(ChangeKey(1, "k", "3", True)) == [KeyGone()]


def test_who_comes_back_within_its_grace_has_its_key_and_a_silent_owner_is_no_owner_for_sure(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    token = here.claim(1)
    assert here.back().keys == {"r": {1: KeyRow("k", token)}}
    with redis_database.client() as client:
        member = f"resprout:member:{here.member}"
        client.hset(member, "beat", int(client.hget(member, "beat") or 0) - round(0.6 * TTL * 1e6))
    (undecided,) = there.do(ClaimKey(1, "k", "2", "w"))
    assert isinstance(undecided, KeyUndecided)
    assert 0 < undecided.again <= 0.1
    here.connection.step([], 5.0)
    assert there.do(ClaimKey(1, "k", "2", "w")) == [KeyOwned(here.member, 1, "n0", "<1>", "1")]


def test_who_lives_on_though_its_key_was_given_to_others_begins_anew_and_finds_it_gone(
    two: list[Session],
) -> None:
    here, there = two
    here.claim(1)
    here.claim(2, "another")
    found: list[KeyFact] = []

    def taken() -> bool:
        there.connection.step([], 5.0)
        found.extend(there.do(ClaimKey(1, "k", "2", "w")))
        return isinstance(found[-1], KeyClaimed)

    until(taken)
    with pytest.raises(ConnectionLost, match="over here"):
        here.do(FindKey(9, "another"))
    greeting = here.back()
    assert not greeting.quiet
    assert [row.key for row in (greeting.keys or {})["r"].values()] == ["another"]


def test_when_all_data_are_gone_the_word_of_owners_is_taken_until_nobody_can_be_missing(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    token = here.claim(1)
    redis_database.forget()
    with pytest.raises(ConnectionLost, match="over here"):
        here.do(FindKey(9, "k"))
    assert there.back().quiet > 0
    (claimed, found) = there.do(ClaimKey(2, "k", "2", "w"), FindKey(9, "k"))
    assert isinstance(claimed, KeyUndecided)
    assert isinstance(found, KeyUndecided)
    greeting = here.back()
    assert (greeting.keys, greeting.ended) == ({}, False)
    assert here.do(kept(1, token, shown=False), kept(1, token)) == [KeyDone(), KeyDone()]
    assert there.do(ClaimKey(2, "k", "2", "w")) == [KeyOwned(here.member, 1, "n0", "<1>", "1")]
    # Its owner is dead, and the key stays taken.
    end_the_quiet(redis_database)
    assert there.do(FindKey(9, "k")) == [KeyFree()]
    assert there.do(KeepKey(2, "late", token, "1", True, "w")) == [KeyGone()]


@pytest.mark.parametrize("first", ["older", "newer"])
def test_of_two_who_say_that_they_own_a_key_the_newer_claim_stays(
    two: list[Session], redis_database: RedisDatabase, first: str
) -> None:
    older, newer = two
    token = older.claim(1)
    redis_database.forget()
    older.back()
    newer.back()
    if first == "newer":
        assert newer.do(kept(2, token + 1)) == [KeyDone()]
        assert older.do(kept(1, token)) == [KeyGone()]
        return
    assert older.do(kept(1, token)) == [KeyDone()]
    assert newer.do(kept(2, token + 1)) == [KeyDone()]
    with pytest.raises(ConnectionLost, match="over here"):
        older.do(FindKey(9, "k"))
    assert older.back().keys == {}
    assert older.do(kept(1, token)) == [KeyGone()]


def test_who_was_found_to_have_ended_is_not_believed_after_a_failover(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    here.claim(1)
    here.claim(2, "another")
    here.connection.close()
    there.takes(1)
    with redis_database.client() as client:
        # Another server, which has all that this one had but who took the key.
        client.hset("resprout:server", "identity", "another")
        client.hdel("resprout:{r}:keys", "k")
    greeting = here.back()
    assert greeting.quiet > 0
    assert greeting.ended
    assert greeting.keys == {}
    assert isinstance(there.do(FindKey(9, "another"))[0], KeyUndecided)


def test_keys_that_nobody_asks_for_go_with_the_next_session(url: str, redis_database: RedisDatabase) -> None:
    with sessions(url, 1) as (here,):
        here.claim(1)
        here.connection.step([Request("db", 1, [Join(7, 1, 0, False, None, "w")], False)], 5.0)

    def gone() -> bool:
        with sessions(url, 1):
            return redis_database.keys() == 0

    until(gone)
    with redis_database.client() as client:
        # It has a claim on a lock, which is somebody else's to take out.
        assert client.hget(f"resprout:member:{here.member}", "session") == ""
        assert not client.exists(f"resprout:registries:{here.member}")


def test_one_half_that_the_server_has_forgotten_is_no_key(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    here.claim(1)
    with redis_database.client() as client:
        client.delete("resprout:{r}:keys")
    there.claim(5)
    assert here.back().keys == {}
    assert there.do(FindKey(9, "k")) == [KeyOwned(there.member, 5, "n1", "<5>", "1")]


@pytest.mark.parametrize("what", ["{db}:claims:MEMBER", "{r}:keys", "{r}:keys:MEMBER"])
def test_what_somebody_has_written_over_keeps_no_process_from_connecting(
    url: str, redis_database: RedisDatabase, what: str
) -> None:
    claims = [Request(name, 1, [Join(7, 1, 0, False, None, "w")], False) for name in ("db", "fine")]
    with sessions(url, 2) as (here, ended), redis_database.client() as client:
        for each, ref in ((here, 1), (ended, 2)):
            each.do(ClaimKey(ref, f"k{ref}", "1", ""))
            each.do(ClaimKey(ref, f"k{ref}", "1", ""), registry="fine")
        here.connection.step(claims, 5.0)
        ended.connection.close()
        for each in (here, ended):
            key = f"resprout:{what.replace('MEMBER', str(each.member))}"
            if client.exists(key) and client.type(key) == "hash":
                client.rename(key, f"kept:{key}")
                client.set(key, "of somebody else")
        greeting = here.back()
        assert greeting.rows.keys() == ({"fine"} if "claims" in what else {"db", "fine"})
        assert greeting.keys.keys() == ({"fine"} if "keys" in what else {"r", "fine"})
        assert here.do(FindKey(9, "k1"), registry="fine") != [KeyFree()]

        def swept() -> bool:
            # A process that begins takes out what those left that have ended, spoilt or not.
            with sessions(url, 1):
                return client.exists(f"resprout:member:{ended.member}") == 0

        until(swept)
        for key in client.keys("kept:*"):
            client.rename(key, key.removeprefix("kept:"))
        # As it was before.
        greeting = here.back()
        assert greeting.rows.keys() == {"db", "fine"}
        assert greeting.keys.keys() == {"r", "fine"}


def test_a_hash_of_somebody_else_in_the_place_of_claims_is_none(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, _ = two
    here.connection.step([Request("db", 1, [Join(7, 1, 0, False, None, "w")], False)], 5.0)
    with redis_database.client() as client:
        client.hset(f"resprout:{{db}}:claims:{here.member}", mapping={"a": "b", "x": "1 1 1 1 1 1 w"})
    assert here.back().rows["db"].keys() == {7}


def test_a_process_whose_record_was_written_over_keeps_no_other_from_connecting(
    two: list[Session], redis_database: RedisDatabase
) -> None:
    here, there = two
    there.claim(1)
    with redis_database.client() as client:
        client.set(f"resprout:member:{there.member}", "of somebody else")
    assert here.back().keys == {}
