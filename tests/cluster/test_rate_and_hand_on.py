"""Locks on each kind of engine with a rate, which is that of all processes, and with eventual fairness, where
slots may go from hand to hand inside one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resprout import cluster, throttle
from resprout.cluster import ledger
from resprout.throttle import Rate
from resprout.throttle.lock.server import MOST_SLOTS

from ..waiting import until
from .databases import Database
from .kinds import KINDS
from .peer import Peer


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def peer(engine: str, url: str) -> Iterator[Peer]:
    with Peer(url, node="there") as other:
        yield other


def new(peer: Peer, num_slots: int, **options: Any) -> None:
    """A lock `db`, here and there."""
    throttle.new("db", num_slots, engine="shared", **options)
    peer.do(f"throttle.new('db', {num_slots}, engine='shared', **{options!r}) and None")


def waiting(number: int) -> None:
    until(lambda: throttle.lock_state("db", everywhere=True).waiting == number)


# -- a rate ----------------------------------------------------------------------------------------


def test_a_rate_is_that_of_all_processes(peer: Peer) -> None:
    new(peer, 10, rate="40/s burst 2")
    before = time.monotonic()
    theirs = [peer.later("throttle.run('db', time.monotonic)") for _ in range(10)]
    mine = [throttle.execute("db", time.monotonic) for _ in range(10)]
    ends = [job.result(20) for job in mine] + [peer.result(number) for number in theirs]
    # The first two at once; each of the others has to wait for its own fortieth of a second.
    assert max(ends) - before >= 18 / 40
    assert throttle.lock_state("db", everywhere=True).waiting == 0


@pytest.mark.parametrize("rate", [Rate(1e-9, 1), Rate(1e9, MOST_SLOTS), Rate(1e-9, MOST_SLOTS)])
def test_the_largest_numbers_that_are_taken_can_be_reckoned_with(engine: str, rate: Rate) -> None:
    before = cluster.info(engine).reconnects
    throttle.new("db", MOST_SLOTS, engine=engine, rate=rate, max_waiting=MOST_SLOTS)
    throttle.acquire("db", weight=MOST_SLOTS).release()
    job = throttle.execute("db", int)
    if rate.per_second > 1:
        assert job.result(10) == 0
    else:
        waiting(1)
        assert throttle.attempt("db") is None
        assert not job.done()
        job.cancel()
    assert cluster.info(engine).reconnects == before


def test_who_does_not_want_to_wait_is_refused_while_the_rate_is_used_up(peer: Peer) -> None:
    new(peer, 10, rate="3/m burst 2")
    throttle.acquire("db", timeout=0).release()
    peer.do("throttle.acquire('db', timeout=0).release()")
    assert peer.do("throttle.attempt('db')") is None
    assert throttle.attempt("db") is None
    assert throttle.lock_state("db", everywhere=True).waiting == 0


def test_a_weight_counts_as_often_as_it_weighs(peer: Peer) -> None:
    new(peer, 10, rate="3/m burst 3")
    throttle.acquire("db", weight=3).release()
    assert peer.do("throttle.attempt('db')") is None


def test_a_start_with_another_rate_changes_it_everywhere_and_says_so(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    peer.do("throttle.new('db', 10, engine='shared', rate='1/m burst 1') and None")
    peer.do("throttle.acquire('db').release()")
    assert peer.do("throttle.attempt('db')") is None
    with caplog.at_level(logging.WARNING, "resprout.cluster"):
        throttle.new("db", 10, engine="shared", rate=Rate(1000.0, 10))
        throttle.acquire("db").release()
        until(lambda: "the rate" in caplog.text)
    assert "declared the rate 0.0166667/s burst 1, this one declares 1000/s burst 10, which" in caplog.text
    peer.do("throttle.acquire('db').release()")


def test_a_restart_of_the_same_rate_says_nothing_and_without_one_all_may_come(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "resprout.cluster"):
        new(peer, 10, rate="1/m burst 1")
        throttle.acquire("db").release()
        throttle.stop_lock("db")
        throttle.new("db", 10, engine="shared", rate="1/m burst 1")
        assert throttle.attempt("db") is None
        assert "the rate" not in caplog.text
        throttle.stop_lock("db")
        throttle.new("db", 10, engine="shared")
        throttle.acquire("db").release()
        until(lambda: "declares none" in caplog.text)


# -- eventual fairness -----------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots may go from hand to hand here for as long as the test runs."""
    monkeypatch.setattr(ledger, "HAND_ON", 3600.0)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.mark.usefixtures("patient")
def test_slots_go_from_hand_to_hand_here_with_the_tokens_of_a_block_and_then_to_who_was_first(
    peer: Peer,
) -> None:
    new(peer, 1, fairness="eventual")
    assert throttle.lock_info("db").fairness == "eventual"
    grant = throttle.acquire("db")
    theirs = peer.later("throttle.run('db', lambda: throttle.holders('db')[0].token)")
    waiting(1)
    mine = [throttle.execute("db", lambda: throttle.holders("db")[0].token) for _ in range(3)]
    waiting(4)
    grant.release()
    assert [job.result(5) for job in mine] == [grant.token + 1, grant.token + 2, grant.token + 3]
    assert peer.result(theirs) >= grant.token + ledger.BLOCK
    until(lambda: throttle.lock_state("db", everywhere=True) == throttle.LockState(0, 0, 0))


@pytest.mark.usefixtures("patient")
def test_a_holder_of_here_is_shown_everywhere_with_the_token_that_it_has_and_for_as_long_as_it_holds(
    peer: Peer, threads: ThreadPoolExecutor
) -> None:
    def look() -> tuple[throttle.Holder, throttle.Holder, float]:
        with throttle.slot("db"):
            (here,) = throttle.holders("db")
            (shown,) = throttle.holders("db", everywhere=True)
            return here, shown, throttle.holders("db")[0].held_seconds

    new(peer, 1, fairness="eventual")
    grant = throttle.acquire("db")
    looked = threads.submit(look)
    waiting(1)
    grant.release()
    here, shown, later = looked.result(10)
    assert (shown.pid, shown.token) == (here.pid, grant.token + 1)
    assert here.held_seconds <= shown.held_seconds <= later


@pytest.mark.usefixtures("patient")
def test_when_the_tokens_of_a_block_are_used_up_the_engine_decides_again(peer: Peer) -> None:
    new(peer, 1, fairness="eventual")
    grant = throttle.acquire("db")
    theirs = peer.later("throttle.acquire('db').release() or time.monotonic()")
    waiting(1)
    mine = [throttle.execute("db", time.monotonic) for _ in range(2 * ledger.BLOCK)]
    waiting(1 + 2 * ledger.BLOCK)
    grant.release()
    ends = [job.result(20) for job in mine]
    after = [end for end in ends if end > peer.result(theirs)]
    assert len(after) == ledger.BLOCK + 1


def test_when_their_time_is_over_the_engine_decides_again(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "HAND_ON", 0.0)
    new(peer, 1, fairness="eventual")
    grant = throttle.acquire("db")
    theirs = peer.later("throttle.acquire('db').release() or time.monotonic()")
    waiting(1)
    mine = throttle.execute("db", time.monotonic)
    waiting(2)
    grant.release()
    assert mine.result(5) > peer.result(theirs)


@pytest.mark.usefixtures("patient")
def test_with_strict_fairness_nothing_goes_from_hand_to_hand(peer: Peer) -> None:
    new(peer, 1)
    grant = throttle.acquire("db")
    theirs = peer.later("throttle.acquire('db').release() or time.monotonic()")
    waiting(1)
    mine = throttle.execute("db", time.monotonic)
    waiting(2)
    grant.release()
    assert mine.result(5) > peer.result(theirs)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("why", ["paused", "heavier", "resized"])
def test_nothing_goes_from_hand_to_hand_that_the_engine_would_not_grant(
    peer: Peer, threads: ThreadPoolExecutor, why: str
) -> None:
    new(peer, 2, fairness="eventual")
    grant = throttle.acquire("db", weight=1 if why == "heavier" else 2)
    weight = 1 if why == "resized" else 2
    mine = threads.submit(lambda: throttle.acquire("db", weight=weight).token)
    waiting(1)
    if why == "paused":
        peer.do("throttle.pause('db')")
        until(lambda: throttle.lock_info("db").paused)
    elif why == "resized":
        peer.do("throttle.resize('db', 1)")
        until(lambda: throttle.lock_info("db").num_slots == 1)
    grant.release()
    if why == "paused":
        until(lambda: throttle.lock_state("db", everywhere=True).running == 0)
        assert not mine.done()
        peer.do("throttle.resume('db')")
    assert mine.result(5) >= grant.token + ledger.BLOCK


@pytest.mark.usefixtures("patient")
def test_a_connection_that_is_cut_costs_nothing_that_was_handed_on(
    peer: Peer, database: Database, threads: ThreadPoolExecutor
) -> None:
    new(peer, 1, fairness="eventual")
    first = throttle.acquire("db")
    job = threads.submit(throttle.acquire, "db")
    waiting(1)
    first.release()
    handed = job.result(5)
    assert handed.token == first.token + 1
    before = cluster.info("shared").reconnects
    database.cut()
    until(lambda: cluster.info("shared").reconnects > before)
    until(lambda: throttle.lock_state("db", everywhere=True).running == 1)
    assert handed.held
    theirs = peer.later("throttle.acquire('db').token")
    waiting(1)
    threads.submit(handed.release).result(5)
    assert peer.result(theirs) >= first.token + ledger.BLOCK
