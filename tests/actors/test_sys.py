"""sys: OTP's, looking into servers and holding them still."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from resprout.actors import CallTimeout, GenServer, NoProcess, NoReply, Ok, Reply, SelfCall, process, sys

WATCHDOG = 20.0


class Server(GenServer):
    def init(self, arg: Any) -> Any:
        return Ok([])

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message(self) if callable(message) else list(state), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        state.append(message)
        return NoReply(state)

    handle_info = handle_cast


class Traps(Server):
    trap_exit = True


@pytest.fixture
def server(way):
    pid = way(Server).start(name="sys.server")
    yield pid
    if pid.alive:
        process.exit(pid, "kill")


def test_get_and_replace_state(server):
    server.cast(1)
    assert sys.get_state(server) == [1]
    assert sys.get_state("sys.server") == [1]
    assert sys.replace_state(server, lambda state: [*state, "replaced"]) == [1, "replaced"]
    assert server.call("state") == [1, "replaced"]


def test_a_replacement_that_raises_changes_nothing_and_raises_at_the_caller(server):
    with pytest.raises(ZeroDivisionError):
        sys.replace_state(server, lambda state: 1 / 0)
    assert server.call("state") == []
    with pytest.raises(TypeError, match="function"):
        sys.replace_state(server, 42)


def test_get_status_tells_who_and_how(server):
    status = sys.get_status(server)
    assert (status.pid, status.name, status.status, status.state) == (server, "sys.server", "running", [])
    assert status.module.__name__ == "Server"
    sys.suspend(server)
    server.cast(1)
    status = sys.get_status(server)
    assert (status.status, status.message_queue_len) == ("suspended", 1)
    sys.resume(server)


def test_get_status_shows_what_format_status_shows(way):
    class Secret(Server):
        def format_status(self, state: Any) -> Any:
            return "***"

    pid = way(Secret).start()
    assert sys.get_status(pid).state == "***"
    pid.stop()


def test_a_suspended_server_leaves_its_messages_alone_and_goes_on_in_order(server):
    sys.suspend(server)
    for n in range(3):
        server.cast(n)
    server.send(3)
    asked = GenServer.send_request(server, "state")
    server.cast(4)
    assert sys.get_state(server) == []
    assert not asked.done()
    assert process.info(server).status == "suspended"
    assert process.info(server).message_queue_len == 6
    sys.resume(server)
    assert asked.result(WATCHDOG) == [0, 1, 2, 3]
    assert server.call("state") == [0, 1, 2, 3, 4]


def test_suspending_twice_is_suspending(server):
    sys.suspend(server)
    sys.suspend(server)
    server.cast(1)
    sys.resume(server)
    sys.resume(server)
    assert server.call("state") == [1]


def test_a_call_to_a_suspended_server_times_out(server):
    sys.suspend(server)
    with pytest.raises(CallTimeout):
        server.call("state", timeout=0.01)
    sys.resume(server)
    assert server.call("state") == []


def test_a_suspended_server_can_be_stopped_and_killed(way):
    pid = way(Server).start()
    sys.suspend(pid)
    GenServer.stop(pid, timeout=WATCHDOG)
    assert pid.exit_reason == "normal"
    pid = way(Server).start()
    sys.suspend(pid)
    pid.cast(1)
    asked = GenServer.send_request(pid, "state")
    process.exit(pid, "kill")
    assert asked.exception(WATCHDOG).reason == "killed"
    assert pid.exit_reason == "killed"


def test_a_suspended_server_obeys_its_parent(way, reason_of):
    """OTP sys(3): also a suspended process terminates when its parent does, or tells it to."""
    process.trap_exit(True)
    pid = way(Traps).start_link()
    sys.suspend(pid)
    pid.cast(1)
    process.exit(pid, "shutdown")
    assert reason_of(pid) == "shutdown"


def test_a_suspended_server_keeps_monitors_and_exits_for_later(way):
    pid = way(Traps).start()
    other = Server.start()
    pid.call(lambda server: process.monitor(other) and None)
    sys.suspend(pid)
    process.exit(other, "kill")
    assert sys.get_state(pid) == []
    sys.resume(pid)
    (down,) = pid.call("state")
    assert (down.pid, down.reason) == (other, "killed")
    pid.stop()


def test_trace_logs_what_a_server_gets(server, caplog):
    caplog.set_level(logging.INFO)
    sys.trace(server, True)
    server.cast("traced")
    server.call("asked")
    sys.trace(server, False)
    server.cast("not traced")
    server.call("barrier")
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("resprout"))
    assert "'traced'" in text
    assert "'asked'" in text
    assert "not traced" not in text
    with pytest.raises(TypeError, match="flag"):
        sys.trace(server, "yes")


def test_statistics_count(server):
    before = sys.statistics(server)
    for n in range(5):
        server.cast(n)
    server.call("state")
    after = sys.statistics(server)
    assert after.messages_in - before.messages_in >= 6
    assert after.uptime >= before.uptime >= 0
    assert (after.rejected, after.dropped) == (0, 0)


def test_dead_unknown_and_own_servers_are_refused(way, kill):
    pid = way(Server).start()
    kill(pid)
    for ask in (sys.get_state, sys.get_status, sys.suspend, sys.resume, sys.statistics):
        with pytest.raises(NoProcess):
            ask(pid)
        with pytest.raises(NoProcess):
            ask("sys.nobody")
        with pytest.raises(TypeError):
            ask(None)
        with pytest.raises(TypeError, match="system"):
            ask(process.current())


def test_a_server_cannot_ask_itself(threaded):
    pid = threaded(Server).start()

    def ask(server: Any) -> str:
        with pytest.raises(SelfCall):
            sys.get_state(server.pid)
        return "refused"

    assert pid.call(ask) == "refused"
    pid.stop()


def test_requests_are_handled_in_order_with_messages(server):
    for n in range(3):
        server.cast(n)
    assert sys.get_state(server) == [0, 1, 2]


def test_suspending_freezes_an_interleaving(way):
    """What the tests of users do with it: a server that is known to be at rest between two of their steps."""
    first, second = way(Server).start(), way(Server).start()
    sys.suspend(first)
    first.cast("one")
    second.cast("two")
    assert second.call("state") == ["two"]
    assert sys.get_state(first) == []
    sys.resume(first)
    assert first.call("state") == ["one"]
    first.stop()
    second.stop()
