"""sys: OTP's, looking into servers and holding them still."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from resprout.actors import (
    TIMEOUT,
    CallbackFailed,
    CallTimeout,
    Crash,
    Down,
    GenServer,
    NoProcess,
    NoReply,
    Ok,
    SelfCall,
    Stop,
    process,
    sys,
)

from ...scripted import Keeps

WATCHDOG = 20.0


class Traps(Keeps):
    trap_exit = True


@pytest.fixture
def server(way):
    pid = way(Keeps).start(name="sys.server")
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


def exits(state: Any) -> None:
    process.exit("by itself")


def leaves(state: Any) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "reason"), [(exits, "by itself"), (leaves, Crash(SystemExit(3)))], ids=["exits", "leaves"]
)
def test_a_replacement_that_exits_fails_at_the_caller_and_the_server_lives_on(server, function, reason):
    server.cast(1)
    with pytest.raises(CallbackFailed) as caught:
        sys.replace_state(server, function)
    assert caught.value.reason == reason
    assert caught.value.pid is server
    assert "replace_state" in str(caught.value)
    assert server.call("state") == [1]


def test_a_format_status_that_exits_fails_at_the_caller_and_the_server_lives_on(way):
    class Exits(Keeps):
        def format_status(self, state: Any) -> Any:
            process.exit("hidden too well")

    pid = way(Exits).start()
    with pytest.raises(CallbackFailed, match="hidden too well"):
        sys.get_status(pid)
    assert pid.call("state") == []
    pid.stop()


def test_get_status_tells_who_and_how(server):
    status = sys.get_status(server)
    assert (status.pid, status.name, status.status, status.state) == (server, "sys.server", "running", [])
    assert status.module.__name__ == "Keeps"
    sys.suspend(server)
    server.cast(1)
    status = sys.get_status(server)
    assert (status.status, status.message_queue_len) == ("suspended", 1)
    sys.resume(server)


def test_get_status_shows_what_format_status_shows(way):
    class Secret(Keeps):
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
    pid = way(Keeps).start()
    sys.suspend(pid)
    GenServer.stop(pid, timeout=WATCHDOG)
    assert pid.exit_reason == "normal"
    pid = way(Keeps).start()
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
    other = Keeps.start()
    pid.call(lambda server: process.monitor(other) and None)
    sys.suspend(pid)
    process.exit(other, "kill")
    assert sys.get_state(pid) == []
    sys.resume(pid)
    (down,) = pid.call("state")
    assert (down.pid, down.reason) == (other, "killed")
    pid.stop()


def traced(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "resprout.trace"]


def test_trace_logs_what_a_server_gets_and_what_it_sends(server, caplog):
    caplog.set_level(logging.INFO)
    me = process.current()
    sys.trace(server, True)
    sys.trace(server, True)
    server.cast("traced")
    server.call("asked")
    server.send("sent")
    sys.trace(server, False)
    server.cast("not traced")
    server.call("barrier")
    assert traced(caplog) == [
        f"{server} got cast 'traced'",
        f"{server} new state ['traced']",
        f"{server} got call 'asked' from {me}",
        f"{server} sent ['traced'] to {me}, new state ['traced']",
        f"{server} got message 'sent'",
        f"{server} new state ['traced', 'sent']",
    ]
    with pytest.raises(TypeError, match="flag"):
        sys.trace(server, "yes")


def test_trace_shows_the_reply_of_a_server_that_stops(way, caplog):
    class Stops(Keeps):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Stop("normal", state, reply="goodbye")

    caplog.set_level(logging.INFO)
    pid = way(Stops).start()
    who = str(pid)
    sys.trace(pid, True)
    assert pid.call("x") == "goodbye"
    assert traced(caplog)[-1] == f"{who} sent 'goodbye' to {process.current()}, new state []"


def test_trace_shows_of_a_state_what_format_status_shows(way, caplog):
    class Secret(Keeps):
        def format_status(self, state: Any) -> Any:
            return "***"

    caplog.set_level(logging.INFO)
    pid = way(Secret).start()
    sys.trace(pid, True)
    pid.cast("password")
    assert sys.get_state(pid) == ["password"]
    assert traced(caplog)[1:] == [f"{pid} new state '***'"]
    pid.stop()


class Untold:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_what_cannot_be_shown_does_not_end_a_trace(server, caplog):
    caplog.set_level(logging.INFO)
    sys.trace(server, True)
    server.cast(Untold())
    server.cast("after it")
    assert len(sys.get_state(server)) == 2
    assert [text for text in traced(caplog) if "got cast" in text][1] == f"{server} got cast 'after it'"


def test_an_installed_function_sees_all_events_with_a_state_of_its_own(server):
    seen: list[Any] = []

    def watch(count: int, event: Any, of_server: Any) -> int:
        seen.append((count, event, list(of_server)))
        return count + 1

    sys.install(server, watch, 10)
    sys.install(server, watch, 99)  # it is there already
    server.cast(1)
    server.call("state")
    sys.remove(server, watch)
    sys.remove(server, watch)  # it is gone already
    server.cast(2)
    assert server.call("state") == [1, 2]
    state = [1, 2]  # the one list that the server appends to
    me = process.current()
    assert [(count, event) for count, event, _ in seen] == [
        (10, sys.In(1, "cast")),
        (11, sys.NewState(state)),
        (12, sys.In("state", "call", me)),
        (13, sys.Out([1], me, state)),
    ]
    assert [of_server for *_, of_server in seen] == [[], [1], [1], [1]]


def test_functions_are_installed_beside_each_other(server):
    first: list[Any] = []
    second: list[Any] = []
    sys.install(server, lambda state, event, _: first.append(event))
    sys.install(server, lambda state, event, _: second.append(event))
    server.cast(1)
    sys.get_state(server)
    assert first == second
    assert len(first) == 2
    sys.no_debug(server)
    server.cast(2)
    sys.get_state(server)
    assert len(first) == 2


def test_a_function_that_is_done_is_not_called_again(server):
    seen: list[Any] = []

    def once(state: Any, event: Any, of_server: Any) -> str:
        seen.append(event)
        return "done"

    sys.install(server, once)
    for n in range(3):
        server.cast(n)
    assert sys.get_state(server) == [0, 1, 2]
    assert seen == [sys.In(0, "cast")]


@pytest.mark.parametrize("how", ["raises", "exits", "calls its server", "leaves"])
def test_a_function_that_fails_is_removed_and_harms_nobody(server, caplog, how):
    called: list[int] = []

    def fails(state: Any, event: Any, of_server: Any) -> None:
        called.append(1)
        if how == "raises":
            raise ValueError("boom")
        if how == "exits":
            process.exit("boom")
        if how == "leaves":
            raise SystemExit(3)
        process.current().call("boom")

    seen: list[Any] = []
    sys.install(server, fails)
    sys.install(server, lambda state, event, _: seen.append(event))
    server.cast(1)
    assert server.call("state") == [1]
    assert len(called) == 1
    assert len(seen) == 4
    (record,) = [each for each in caplog.records if "is removed" in each.getMessage()]
    assert "fails" in record.getMessage()


def test_debug_functions_see_timeouts_and_messages_that_are_made_by_hand(way):
    class Ticks(Keeps):
        def init(self, arg: Any) -> Any:
            return Ok([])

        def handle_cast(self, message: Any, state: Any) -> Any:
            return NoReply([*state, message], timeout=0)

        def handle_info(self, message: Any, state: Any) -> Any:
            process.send(tester, "told")
            return NoReply([*state, message])

    tester = process.current()
    seen: list[Any] = []
    pid = way(Ticks).start()
    sys.install(pid, lambda state, event, _: seen.append(event))
    pid.cast(1)
    assert process.receive(timeout=WATCHDOG) == "told"
    other = Keeps.start()
    pid.send(down := Down(process.monitor(other), other, "by hand"))
    assert sys.get_state(pid) == [1, TIMEOUT, down]
    assert seen == [
        sys.In(1, "cast"),
        sys.NewState([1]),
        sys.In(TIMEOUT),
        sys.NewState([1, TIMEOUT]),
        sys.In(down),
        sys.NewState([1, TIMEOUT, down]),
    ]
    other.stop()
    pid.stop()


def test_a_log_keeps_the_newest_events(server, capsys):
    assert sys.log(server, "get") == []
    assert sys.log(server, True) is None
    for n in range(20):
        server.cast(n)
    logged = sys.log(server, "get")
    assert len(logged) == 10
    assert [event.message for event in logged if isinstance(event, sys.In)] == [15, 16, 17, 18, 19]
    sys.log(server, 3)
    assert sys.log(server, "get") == logged[-3:]
    server.cast("shown")
    assert sys.log(server, "print") is None
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3
    assert shown[1] == f"{server} got cast 'shown'"
    sys.log(server, False)
    server.cast("not logged")
    assert sys.log(server, "get") == []
    assert server.call("state")[-2:] == ["shown", "not logged"]


@pytest.mark.parametrize(
    ("flag", "error"), [("yes", ValueError), (-1, ValueError), (1.5, TypeError), (None, TypeError)]
)
def test_a_log_refuses_what_is_no_flag(server, flag, error):
    with pytest.raises(error, match="expected"):
        sys.log(server, flag)


def test_a_log_to_a_file_is_a_line_an_event(server, tmp_path):
    path = tmp_path / "events.log"
    path.write_text("from before\n")
    sys.log_to_file(server, path)
    server.cast("logged")
    server.call("state")
    me = process.current()
    expected = [
        f"{server} got cast 'logged'",
        f"{server} new state ['logged']",
        f"{server} got call 'state' from {me}",
        f"{server} sent ['logged'] to {me}, new state ['logged']",
    ]
    assert path.read_text().splitlines() == expected
    other = tmp_path / "other.log"
    sys.log_to_file(server, str(other))
    server.cast("elsewhere")
    sys.log_to_file(server, False)
    server.cast("nowhere")
    sys.get_state(server)
    assert path.read_text().splitlines() == expected
    assert other.read_text().splitlines()[0] == f"{server} got cast 'elsewhere'"
    assert len(other.read_text().splitlines()) == 2
    assert process.info(server).owned == ()


def test_the_file_of_a_log_is_closed_with_its_server(way, tmp_path, kill):
    pid = way(Keeps).start()
    sys.log_to_file(pid, tmp_path / "events.log")
    (file,) = process.info(pid).owned
    kill(pid)
    assert file.closed


def test_a_file_that_cannot_be_opened_is_the_callers_error_and_changes_nothing(server, tmp_path):
    path = tmp_path / "events.log"
    sys.log_to_file(server, path)
    with pytest.raises(FileNotFoundError):
        sys.log_to_file(server, tmp_path / "no folder" / "events.log")
    with pytest.raises(TypeError, match="path"):
        sys.log_to_file(server, True)
    server.cast(1)
    assert sys.get_state(server) == [1]
    assert len(path.read_text().splitlines()) == 2


def test_a_file_that_cannot_be_written_ends_its_log_and_harms_nobody(server, tmp_path, caplog):
    sys.log_to_file(server, tmp_path / "events.log")
    (file,) = process.info(server).owned
    file.close()
    server.cast(1)
    assert server.call("state") == [1]
    assert [each for each in caplog.records if "is removed" in each.getMessage()]
    assert process.info(server).owned == ()


def test_what_is_no_function_is_refused(server):
    with pytest.raises(TypeError, match="function"):
        sys.install(server, 42)


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
    pid = way(Keeps).start()
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
    pid = threaded(Keeps).start()

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
    first, second = way(Keeps).start(), way(Keeps).start()
    sys.suspend(first)
    first.cast("one")
    second.cast("two")
    assert second.call("state") == ["two"]
    assert sys.get_state(first) == []
    sys.resume(first)
    assert first.call("state") == ["one"]
    first.stop()
    second.stop()
