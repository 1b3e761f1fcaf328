"""What the servers of the library share; tests/test_stray_messages.py has all of them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pykka.messages import ProxyCall, ProxyGetAttr

from resprout.actors import NoReply, Reply, ResproutError, UnknownMessage
from resprout.actors.engine import LibraryServer

WATCHDOG = 5.0


class Counter(LibraryServer):
    _what = "a counter"
    _use = "count()"

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "count":
            return Reply(state, state)
        return super().handle_call(message, from_, state)

    def handle_info(self, message: Any, state: Any) -> Any:
        if message == "add":
            return NoReply(state + 1)
        return super().handle_info(message, state)


def test_it_handles_what_it_knows_and_refuses_the_rest(way):
    pid = way(Counter).start(1)
    pid.send("add")
    with pytest.raises(UnknownMessage) as refused:
        pid.call("subtract", timeout=WATCHDOG)
    assert str(refused.value) == f"{pid} is a counter, which answers no such call: 'subtract'; use count()"
    assert isinstance(refused.value, ResproutError)
    assert isinstance(refused.value, TypeError)
    assert pid.call("count", timeout=WATCHDOG) == 2
    pid.stop()


def test_what_it_does_not_know_is_logged_once_for_each_type(way, caplog):
    pid = way(Counter).start(1)
    with caplog.at_level(logging.WARNING, "resprout"):
        for message in ("one", "two", b"three", "four"):
            pid.send(message)
            pid.cast(message)
        assert pid.call("count", timeout=WATCHDOG) == 1
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    start = f"{pid} is a counter and got a message that it does not know"
    assert lines == [
        ("WARNING", f"{start}: 'one'; use count() (more of type str are not logged)"),
        ("WARNING", f"{start}: b'three'; use count() (more of type bytes are not logged)"),
    ]
    pid.stop()


@pytest.mark.parametrize("message", ["x" * 10**6, list(range(10**6)), {"key": "x" * 10**6}])
def test_only_the_beginning_of_a_large_message_is_shown(way, message):
    pid = way(Counter).start(1)
    with pytest.raises(UnknownMessage) as refused:
        pid.call(message, timeout=WATCHDOG)
    assert len(str(refused.value)) < 300
    pid.stop()


def test_a_proxy_cannot_reach_into_it(way):
    pid = way(Counter).start(1)
    proxy = pid.proxy()
    with pytest.raises(UnknownMessage, match="ProxyGetAttr"):
        proxy.pid.get(timeout=WATCHDOG)
    with pytest.raises(UnknownMessage, match="ProxyCall"):
        pid.ask(ProxyCall(attr_path=("stop",), args=(), kwargs={}), timeout=WATCHDOG)
    pid.tell(ProxyGetAttr(attr_path=("no such thing",)))
    assert pid.call("count", timeout=WATCHDOG) == 1
    assert pid.stop()
