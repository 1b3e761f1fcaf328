"""A registry on an engine, used in a placed child: its parent has the session, and the pipe leads to that."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "supervision" / "placement"))

from placed_keys import Keeper

from resprout import AlreadyRegistered, GenServer, KeyLost, Pid, Registry, process
from resprout.cluster import FarPid

from ..waiting import down_of, until
from .databases import Database
from .peer import Peer, PeerError
from .placed_child import ask, placed_child
from .test_registries import START, lose_all

pytestmark = pytest.mark.postgres


@pytest.fixture
def peer(engine: str, url: str) -> Iterator[Peer]:
    """A registry `syncs`, here and there."""
    Registry.start_link(keys="unique", name="syncs", engine=engine)
    with Peer(url, node="there") as other:
        other.do(START.format(""))
        yield other


@pytest.fixture
def placed(peer: Peer, supervised: Callable[..., Pid]) -> Iterator[Pid]:
    with placed_child(Keeper, supervised) as pid:
        yield pid


def test_a_key_has_one_owner_in_the_child_here_and_elsewhere(
    placed: Pid, peer: Peer, database: Database
) -> None:
    ask(placed, "register", "syncs", ("user", 1), {"at": 1})
    assert Registry.lookup("syncs", ("user", 1)) == [(placed, {"at": 1})]
    assert peer.do("str(Registry.lookup('syncs', ('user', 1)))") == (
        f"[(FarPid(node='here', text='{placed}'), {{'at': 1}})]"
    )
    with pytest.raises(AlreadyRegistered) as taken:
        Registry.register("syncs", ("user", 1))
    assert taken.value.pid is placed
    with pytest.raises(PeerError, match="AlreadyRegistered"):
        peer.do("Registry.register('syncs', ('user', 1))")
    ask(placed, "update", "syncs", ("user", 1), {"at": 2})
    until(lambda: peer.do("Registry.lookup('syncs', ('user', 1))[0][1]") == {"at": 2})
    # It is free everywhere when that returns.
    ask(placed, "unregister", "syncs", ("user", 1))
    assert peer.do("Registry.whereis('syncs', ('user', 1))") is None
    theirs = peer.do("str(Registry.register('syncs', ('user', 1), 5))")
    assert ask(placed, "register", "syncs", ("user", 1)) == (
        "AlreadyRegistered",
        f"('user', 1) is already registered by {FarPid('there', theirs)}",
    )
    assert ask(placed, "lookup", "syncs", ("user", 1)) == [(f"{theirs}@there", 5)]
    assert ask(placed, "whereis", "syncs", 7) == "None"
    assert ask(placed, "register", "syncs", frozenset())[0] == "TypeError"
    assert database.keys() == 1


def test_the_end_of_the_child_frees_its_keys_for_others(placed: Pid, peer: Peer) -> None:
    ask(placed, "register", "syncs", 1)
    ask(placed, "register of another", "agent", "syncs", 2)
    ask(placed, "end other", "agent")
    until(lambda: peer.do("Registry.whereis('syncs', 2)") is None)
    ref = process.monitor(placed)
    os.kill(ask(placed, "os"), signal.SIGKILL)
    down_of(ref)
    Registry.register("syncs", 1)
    Registry.unregister("syncs", 1)
    assert peer.do("Registry.whereis('syncs', 1)") is None


def test_a_claim_that_waits_for_the_engine_holds_up_nobody_and_is_given_up_in_time(
    placed: Pid, peer: Peer, database: Database
) -> None:
    ask(placed, "register", "syncs", 1)
    with database.silent():
        assert ask(placed, "register within", "syncs", 2, 0.1)[0] == "CallTimeout"
        waits = GenServer.send_request(placed, ("register", "syncs", 3))
        ref = process.monitor(placed)
        os.kill(os_pid(placed), signal.SIGKILL)
        down_of(ref)
        assert waits.done()
    until(lambda: database.keys() == 0)
    for key in (1, 2, 3):
        peer.do(f"Registry.register('syncs', {key}) and None")


def test_an_owner_in_the_child_whose_key_is_gone_is_told_and_has_it_no_more(placed: Pid) -> None:
    ask(placed, "register of another", "agent", "syncs", 1)
    lose_all()
    until(lambda: not ask(placed, "other is alive", "agent"))
    assert Registry.count("syncs") == 0
    ask(placed, "register", "syncs", 1)
    ref = process.monitor(placed)
    lose_all()
    assert down_of(ref).reason == KeyLost("syncs", 1)


def test_a_registry_that_is_started_again_has_the_childs_keys_there_too(placed: Pid, peer: Peer) -> None:
    ask(placed, "register", "syncs", 1, "kept")
    Registry.stop("syncs")
    until(lambda: peer.do("Registry.whereis('syncs', 1)") is None)
    Registry.start_link(keys="unique", name="syncs", engine="shared")
    until(lambda: peer.do("str(Registry.lookup('syncs', 1))").endswith("'kept')]"))
    assert Registry.lookup("syncs", 1) == [(placed, "kept")]


def test_a_key_that_somebody_else_has_got_meanwhile_is_lost(placed: Pid, peer: Peer) -> None:
    ask(placed, "register", "syncs", 1)
    Registry.stop("syncs")
    until(lambda: peer.do("Registry.whereis('syncs', 1)") is None)
    theirs = peer.do("str(Registry.register('syncs', 1))")
    ref = process.monitor(placed)
    Registry.start_link(keys="unique", name="syncs", engine="shared")
    assert down_of(ref).reason == KeyLost("syncs", 1)
    assert Registry.whereis("syncs", 1) == FarPid("there", theirs)


def os_pid(pid: Pid) -> int:
    found: int = pid.state.popen.pid  # type: ignore[attr-defined]  # of a proxy
    return found
