"""terminate is called exactly when OTP's gen_server calls it."""

from __future__ import annotations

from typing import Any

import pytest

from resprout.actors import (
    IGNORE,
    Crash,
    Exited,
    GenServer,
    NoReply,
    Ok,
    Reply,
    ServerExit,
    Shutdown,
    StartError,
    Stop,
    process,
)

from ...waiting import down_of

WATCHDOG = 20.0


class Server(GenServer):
    def init(self, arg: Any) -> Any:
        self.log: list[object] = arg["log"]
        self.fail_with: BaseException | None = arg.get("fail_with")
        return arg.get("init", lambda: Ok("state"))()

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return message(self) if callable(message) else Reply(message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return message(self)

    def handle_info(self, message: Any, state: Any) -> Any:
        self.log.append(("info", message))
        return NoReply(state)

    def terminate(self, reason: Any, state: Any) -> None:
        self.log.append(("terminate", reason, state))
        if self.fail_with is not None:
            raise self.fail_with


class Trapping(Server):
    trap_exit = True


def crash(server: Any) -> Any:
    raise ValueError("boom")


CALLED = {
    "a stop": (lambda server: Stop("done", "last"), ("terminate", "done", "last")),
    "a normal stop": (lambda server: Stop("normal", "last"), ("terminate", "normal", "last")),
    "an exception": (crash, ("terminate", Crash(ValueError("boom")), "state")),
    "an exit": (lambda server: process.exit("enough"), ("terminate", "enough", "state")),
}


@pytest.mark.parametrize("end", CALLED)
@pytest.mark.parametrize("kind", [Server, Trapping])
def test_it_is_called_after(way, end, kind, crashes, reason_of):
    log: list[object] = []
    pid = way(kind).start({"log": log})
    action, expected = CALLED[end]
    pid.cast(action)
    assert reason_of(pid) == expected[1]
    assert log == [expected]


def test_it_is_called_after_a_bad_return(way, crashes, reason_of):
    log: list[object] = []
    pid = way(Server).start({"log": log})
    pid.cast(lambda server: "nonsense")
    reason_of(pid)
    assert [entry[0] for entry in log] == ["terminate"]


@pytest.mark.parametrize("reason", ["normal", "shutdown", Shutdown(1), "fault"])
@pytest.mark.parametrize("kind", [Server, Trapping])
def test_it_is_called_by_stop_whether_or_not_the_server_traps(way, reason, kind, crashes):
    log: list[object] = []
    pid = way(kind).start({"log": log})
    GenServer.stop(pid, reason)
    assert log == [("terminate", reason, "state")]


def test_it_is_not_called_for_an_exit_signal_that_is_not_trapped(way, kill):
    log: list[object] = []
    pid = way(Server).start({"log": log})
    assert kill(pid, "shutdown") == "shutdown"
    assert log == []


@pytest.mark.parametrize("kind", [Server, Trapping])
def test_it_is_not_called_for_a_kill(way, kill, kind):
    log: list[object] = []
    pid = way(kind).start({"log": log})
    assert kill(pid, "kill") == "killed"
    assert log == []


@pytest.mark.parametrize("outcome", [lambda: IGNORE, lambda: Stop("no"), lambda: 1 / 0, lambda: "nonsense"])
def test_it_is_not_called_when_init_does_not_succeed(way, outcome, crashes):
    log: list[object] = []
    try:
        way(Trapping).start({"log": log, "init": outcome})
    except StartError:
        pass
    assert log == []


@pytest.mark.parametrize("reason", ["shutdown", "fault", Shutdown(2)])
def test_a_trapping_server_terminates_when_its_parent_tells_it_to(way, reason, crashes, kill):
    log: list[object] = []
    pid = way(Trapping).start_link({"log": log})
    process.trap_exit(True)
    assert kill(pid, reason) == reason
    assert log == [("terminate", reason, "state")]


@pytest.mark.parametrize("kind", [Server, Trapping])
def test_when_the_parent_ends_its_trapping_children_terminate_and_others_just_die(
    way, kind, crashes, reason_of
):
    log: list[object] = []

    class Parent(GenServer):
        def init(self, arg: Any) -> Any:
            return Ok(None, continue_with=arg)

        async def handle_continue(self, start: Any, state: Any) -> Any:
            await start()
            return NoReply(None)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(process.info(self.pid).links[0], state)

    parent = Parent.start(lambda: way(kind).astart_link({"log": log}))
    child = parent.call("child")
    ref = process.monitor(child)
    process.exit(parent, "restart")
    assert down_of(ref).reason == "restart"
    assert log == ([("terminate", "restart", "state")] if kind is Trapping else [])


def test_a_trapping_server_survives_exit_signals_of_others(way, kill):
    log: list[object] = []
    pid = way(Trapping).start({"log": log})
    process.exit(pid, "please")
    assert pid.call("alive") == "alive"
    assert log == [("info", Exited(process.current(), "please"))]
    kill(pid)


def test_it_sees_the_state_that_stop_gave(way, reason_of):
    log: list[object] = []
    pid = way(Server).start({"log": log})
    with pytest.raises(ServerExit):
        pid.call(lambda server: Stop("normal", {"final": True}))
    assert log == [("terminate", "normal", {"final": True})]


def test_what_it_raises_becomes_the_exit_reason(way, crashes, reason_of):
    log: list[object] = []
    pid = way(Server).start({"log": log, "fail_with": LookupError("in terminate")})
    pid.cast(lambda server: Stop("normal", None))
    assert reason_of(pid) == Crash(LookupError("in terminate"))
    assert len(log) == 1


def test_a_stop_with_a_reply_is_answered_though_terminate_raises(way, crashes):
    pid = way(Server).start({"log": [], "fail_with": LookupError("in terminate")})
    assert pid.call(lambda server: Stop("normal", None, reply="bye")) == "bye"


def test_it_runs_before_anybody_is_told(way, gate, await_down):
    held = gate()
    seen: list[object] = []

    class Slow(GenServer):
        def handle_cast(self, message: Any, state: Any) -> Any:
            return Stop("normal", state)

        def terminate(self, reason: Any, state: Any) -> None:
            held()
            seen.append((self.pid.alive, process.whereis("terminate.slow")))

    pid = Slow.start(name="terminate.slow")
    ref = process.monitor(pid)
    pid.cast("stop")
    held.await_arrival()
    held.open()
    await_down(ref)
    assert seen == [(True, pid)]


def test_it_may_use_the_runtime(way, reason_of):
    """It still is the process: it may send, start a message on its way, and call others that do not block."""
    other: list[object] = []

    class Helper(GenServer):
        blocking = False

        def handle_cast(self, message: Any, state: Any) -> Any:
            other.append(message)
            return NoReply(None)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(from_.pid, state)

    helper = Helper.start()

    class Server(GenServer):
        def terminate(self, reason: Any, state: Any) -> None:
            helper.cast(("bye from", process.current()))

    pid = way(Server).start()
    GenServer.stop(pid)
    helper.call("barrier")
    assert other == [("bye from", pid)]
    helper.stop()
