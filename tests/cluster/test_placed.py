"""A lock on an engine, used in a placed child: its parent has the session, and the pipe leads to that."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "supervision" / "placement"))

from placed_locks import Locker

from resprout import LockLost, Pid, process, throttle
from resprout.cluster import ledger
from resprout.cluster.handle import handles

from ..waiting import down_of, until
from .peer import Peer
from .placed_child import ask, placed_child

pytestmark = pytest.mark.postgres


@pytest.fixture
def peer(engine: str, url: str) -> Iterator[Peer]:
    with Peer(url, node="there") as other:
        yield other


@pytest.fixture
def placed(engine: str, supervised: Callable[..., Pid]) -> Iterator[Pid]:
    throttle.new("db", 1, engine="shared")
    with placed_child(Locker, supervised) as pid:
        yield pid


def test_it_is_one_lock_for_all_and_the_end_of_the_child_frees_it_for_others(placed: Pid, peer: Peer) -> None:
    peer.do("throttle.new('db', 1, engine='shared') and None")
    token = ask(placed, "hold", "db")
    assert ask(placed, "form", "attempt", "db") == token
    (holder,) = throttle.holders("db", everywhere=True)
    assert (holder.pid, holder.token) == (placed, token)
    assert peer.do("[each.token for each in throttle.holders('db', everywhere=True)]") == [token]
    request = peer.later("throttle.acquire('db').token")
    until(lambda: throttle.lock_state("db", everywhere=True).waiting == 1)
    (mine,) = ask(placed, "holders", "db")
    assert mine == (ask(placed, "held", "db")[0], token, 1)
    os.kill(ask(placed, "os"), signal.SIGKILL)
    assert peer.result(request) > token


def test_a_grant_that_the_engine_takes_back_ends_its_holder_in_the_child(placed: Pid) -> None:
    ask(placed, "hold", "db")
    ref = process.monitor(placed)
    handles["shared"].void()
    reason = down_of(ref).reason
    assert isinstance(reason, LockLost)
    assert reason.name == "db"
    until(lambda: throttle.lock_state("db", everywhere=True).running == 0)


def test_a_grant_of_a_thread_in_the_child_is_taken_back_from_that_and_the_child_goes_on(placed: Pid) -> None:
    ask(placed, "hold in a thread", "db")
    handles["shared"].void()
    until(lambda: throttle.lock_state("db", everywhere=True).running == 0)
    until(lambda: ask(placed, "state", "db").running == 0)
    assert isinstance(ask(placed, "hold", "db"), int)


def test_the_child_asserts_its_grant_in_a_transaction_of_its_own(placed: Pid, url: str) -> None:
    assert ask(placed, "assert held in", url, "db") == ["good", "LockLost"]


def test_what_the_child_has_asserted_goes_back_to_the_engine_and_not_from_hand_to_hand(
    placed: Pid, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "HAND_ON", 3600.0)
    throttle.new("quick", 1, engine="shared", fairness="eventual")
    token = ask(placed, "hold", "quick")
    mine = throttle.execute("quick", lambda: throttle.holders("quick")[0].token)
    until(lambda: throttle.lock_state("quick", everywhere=True).waiting == 1)
    ask(placed, "release what is asserted in", url, "quick")
    until(lambda: throttle.lock_state("quick").running == 0)
    assert throttle.lock_state("quick", everywhere=True) == throttle.LockState(1, 1, 1)
    assert not mine.done()
    ask(placed, "commit")
    assert mine.result(10) >= token + ledger.BLOCK
