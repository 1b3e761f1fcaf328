"""An engine as the locks of this process know it, which hear of its sessions as they come and go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from resprout.cluster.driver import Greeting
from resprout.cluster.handle import Handle
from resprout.cluster.ledger import SharedLedger
from resprout.cluster.settings import engine_settings
from resprout.throttle.lock.settings import Settings

HERE: Any = SimpleNamespace(
    decide=lambda step: step(), tell_ledger=lambda step: step(), later=lambda tell: None
)
"""A core whose steps are done at once."""


@pytest.fixture
def handle() -> Handle:
    return Handle(
        engine_settings("redis://127.0.0.1:1/0", name="e", ttl=5.0, grace=0.15, schema="resprout", node="n")
    )


def ledger_of(handle: Handle) -> SharedLedger:
    ledger = handle.make_ledger(Settings("db", 2, engine="e"), HERE, 0)
    assert isinstance(ledger, SharedLedger)
    return ledger


def greet(handle: Handle, quiet: float = 0.0) -> None:
    handle.greeted(Greeting(1, "a server", quiet, {}, {}))


def test_a_lock_that_is_made_while_a_session_begins_knows_of_it(handle: Handle) -> None:
    ledger = ledger_of(handle)
    assert ledger.down
    greet(handle)
    ledger.adopt(0.0)
    assert not ledger.down


def test_a_lock_that_is_made_while_a_session_ends_knows_of_it(handle: Handle) -> None:
    greet(handle)
    ledger = ledger_of(handle)
    assert not ledger.down
    handle.gone("cut")
    ledger.adopt(0.0)
    assert ledger.down
    greet(handle)
    assert not ledger.down


def test_who_looks_for_an_owner_has_patience_with_a_server_that_knows_of_none_yet(handle: Handle) -> None:
    assert handle._patience() == 5.0
    greet(handle, quiet=20.0)
    assert 20.0 < handle._patience() <= 21.0
