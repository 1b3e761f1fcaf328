"""GenServer's callbacks and everything that they may return, in each of the three ways of being run."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from resprout.actors import (
    IGNORE,
    TIMEOUT,
    BadReturn,
    Crash,
    Down,
    GenServer,
    NoReply,
    Ok,
    Reply,
    ServerExit,
    Shutdown,
    StartError,
    Stop,
    process,
    sys,
)

WATCHDOG = 20.0


class Scripted(GenServer):
    """Returns, from each callback, what a function of the callback's name returns."""

    def init(self, script: Any) -> Any:
        self.script = script
        return script.get("init", lambda: Ok("first"))()

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "state":
            return Reply(state, state)
        return self.script["handle_call"](message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return self.script["handle_cast"](message, state)

    def handle_info(self, message: Any, state: Any) -> Any:
        return self.script["handle_info"](message, state)

    def handle_continue(self, token: Any, state: Any) -> Any:
        return self.script["handle_continue"](token, state)

    def terminate(self, reason: Any, state: Any) -> None:
        self.script.get("terminate", lambda reason, state: None)(reason, state)


def test_init_makes_the_first_state(way):
    pid = way(Scripted).start({"init": lambda: Ok(42)})
    assert pid.call("state") == 42
    pid.stop()


def test_a_class_that_is_given_to_be_started_is_told_to_start_itself():
    with pytest.raises(StartError, match=r"Scripted\.start_link"):
        GenServer.start(Scripted)


def test_without_init_the_argument_is_the_state():
    class Plain(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
            return Reply(state, state)

    pid = Plain.start("given")
    assert pid.call("state") == "given"
    pid.stop()


def test_a_reply_answers_and_replaces_the_state(way):
    pid = way(Scripted).start({"handle_call": lambda message, state: Reply((message, state), "next")})
    assert pid.call("question") == ("question", "first")
    assert pid.call("state") == "next"
    pid.stop()


def test_casts_and_sends_replace_the_state(way):
    pid = way(Scripted).start(
        {
            "handle_cast": lambda message, state: NoReply((state, "cast", message)),
            "handle_info": lambda message, state: NoReply((state, "info", message)),
        }
    )
    pid.cast(1)
    pid.send(2)
    assert pid.call("state") == (("first", "cast", 1), "info", 2)
    pid.stop()


def test_none_is_a_value_like_any_other(way):
    pid = way(Scripted).start(
        {"init": lambda: Ok(None), "handle_call": lambda message, state: Reply(None, None)}
    )
    assert pid.call("question") is None
    assert pid.call("state") is None
    pid.stop()


def test_init_may_ignore_the_start(way):
    assert way(Scripted).start({"init": lambda: IGNORE}) is None
    assert way(Scripted).start_link({"init": lambda: IGNORE}) is None


def test_init_may_stop_the_start(way):
    with pytest.raises(StartError) as caught:
        way(Scripted).start({"init": lambda: Stop("no database")})
    assert caught.value.reason == "no database"


def test_an_init_that_raises_is_a_start_error_with_the_crash(way, crashes):
    def fail() -> Any:
        raise ValueError("bad argument")

    with pytest.raises(StartError) as caught:
        way(Scripted).start({"init": fail})
    assert caught.value.reason == Crash(ValueError("bad argument"))


def test_an_init_that_exits_is_a_start_error_with_the_reason(way):
    with pytest.raises(StartError) as caught:
        way(Scripted).start({"init": lambda: process.exit("changed my mind")})
    assert caught.value.reason == "changed my mind"


# -- continue_with -----------------------------------------------------------


def test_init_continues_before_any_message(way):
    seen: list[object] = []

    def init() -> Any:
        process.send(process.current(), "mail")
        return Ok(0, continue_with="token")

    def note(message: object, state: object) -> NoReply:
        seen.append(message)
        return NoReply(state)

    pid = way(Scripted).start({"init": init, "handle_continue": note, "handle_info": note})
    pid.call("state")
    assert seen == ["token", "mail"]
    pid.stop()


@pytest.mark.parametrize("callback", ["handle_call", "handle_cast", "handle_info", "handle_continue"])
def test_each_callback_may_continue_before_the_next_message(way, callback):
    seen: list[object] = []

    def go(message: object, state: object) -> Any:
        if message == "go" or message == "from a continue":
            process.send(process.current(), "mail")
            if callback == "handle_continue" and message == "go":
                return NoReply(state, continue_with="from a continue")
            return (
                Reply("ok", state, continue_with="token")
                if callback == "handle_call"
                else NoReply(state, continue_with="token")
            )
        seen.append(message)
        return NoReply(state)

    pid = way(Scripted).start(
        dict.fromkeys(["handle_call", "handle_cast", "handle_info", "handle_continue"], go)
    )
    if callback == "handle_call":
        assert pid.call("go") == "ok"
    elif callback == "handle_cast":
        pid.cast("go")
    else:
        pid.send("go")
    pid.call("state")
    assert seen[0] == "token"
    assert set(seen[1:]) == {"mail"}
    pid.stop()


def test_a_long_chain_of_continues_does_not_recurse(way):
    def count(left: int, done: int) -> NoReply:
        return NoReply(done + 1, continue_with=left - 1) if left else NoReply(done)

    pid = way(Scripted).start({"init": lambda: Ok(0, continue_with=20_000), "handle_continue": count})
    assert pid.call("state") == 20_000
    pid.stop()


def test_a_false_token_is_a_token(way):
    pid = way(Scripted).start(
        {
            "init": lambda: Ok(0, continue_with=None),
            "handle_continue": lambda token, state: NoReply(("token", token)),
        }
    )
    assert pid.call("state") == ("token", None)
    pid.stop()


# -- timeout -----------------------------------------------------------------


def into(seen: queue.Queue[object]) -> Any:
    """A callback that puts each message there."""
    return lambda message, state: seen.put(message) or NoReply(state)


def test_a_timeout_comes_as_info_when_no_message_does(way):
    seen: queue.Queue[object] = queue.Queue()

    pid = way(Scripted).start({"init": lambda: Ok(0, timeout=0.01), "handle_info": into(seen)})
    assert seen.get(timeout=WATCHDOG) is TIMEOUT
    pid.stop()


@pytest.mark.parametrize("first", ["call", "cast", "send"])
def test_each_result_can_set_a_timeout(way, first):
    seen: queue.Queue[object] = queue.Queue()

    def info(message: object, state: object) -> NoReply:
        seen.put(message)
        return NoReply(state, timeout=0) if message == "go" else NoReply(state)

    pid = way(Scripted).start(
        {
            "handle_call": lambda message, state: Reply(0, state, timeout=0),
            "handle_cast": lambda message, state: NoReply(state, timeout=0),
            "handle_info": info,
        }
    )
    getattr(pid, first)("go")
    if first == "send":
        assert seen.get(timeout=WATCHDOG) == "go"
    assert seen.get(timeout=WATCHDOG) is TIMEOUT
    pid.stop()


def test_a_message_cancels_the_timeout(way):
    seen: queue.Queue[object] = queue.Queue()

    pid = way(Scripted).start({"init": lambda: Ok(0, timeout=0.05), "handle_info": into(seen)})
    pid.send("first")
    # Timers fire in order of their times: had the timeout been alive still, it would come before this.
    process.send_after(pid, "last", 0.1)
    assert [seen.get(timeout=WATCHDOG), seen.get(timeout=WATCHDOG)] == ["first", "last"]
    pid.stop()


def test_a_timeout_of_zero_gives_way_to_a_message_that_is_there(way):
    seen: queue.Queue[object] = queue.Queue()

    def cast(message: object, state: object) -> NoReply:
        process.send(process.current(), "mail")
        return NoReply(state, timeout=0)

    pid = way(Scripted).start({"handle_cast": cast, "handle_info": into(seen)})
    pid.cast("go")
    pid.call("state")
    pid.call("state")
    assert seen.get(timeout=WATCHDOG) == "mail"
    assert seen.empty()
    pid.stop()


def test_a_timeout_that_a_message_came_before_takes_no_later_one_along(way):
    seen: queue.Queue[object] = queue.Queue()

    pid = way(Scripted).start(
        {"handle_cast": lambda message, state: NoReply(state, timeout=0), "handle_info": into(seen)}
    )
    sys.suspend(pid)
    for _ in range(3):
        pid.cast("each begins the wait anew")
    sys.resume(pid)
    assert seen.get(timeout=WATCHDOG) is TIMEOUT
    pid.call("state")
    assert seen.empty()
    pid.stop()


def test_a_request_of_the_runtime_leaves_the_timeout_alone(way):
    seen: queue.Queue[object] = queue.Queue()

    pid = way(Scripted).start({"init": lambda: Ok(0, timeout=0.1), "handle_info": into(seen)})
    assert sys.get_state(pid) == 0
    assert seen.get(timeout=WATCHDOG) is TIMEOUT
    pid.stop()


def test_a_notice_that_nobody_wants_any_more_leaves_the_timeout_alone(way):
    seen: queue.Queue[object] = queue.Queue()
    other = Scripted.start({})
    other.stop()

    def watch_and_let_go() -> Ok[int]:
        ref = process.monitor(other)
        process.demonitor(ref, flush=True)
        process.send(process.current(), Down(ref, other, "late"))
        return Ok(0, timeout=0.1)

    pid = way(Scripted).start({"init": watch_and_let_go, "handle_info": into(seen)})
    assert seen.get(timeout=WATCHDOG) is TIMEOUT
    pid.stop()


def test_a_timeout_of_the_past_is_not_seen_by_receive():
    seen: queue.Queue[object] = queue.Queue()

    class Receives(GenServer):
        def handle_cast(self, message: Any, state: Any) -> Any:
            self.pid.send("info")
            return NoReply(state, timeout=0)

        def handle_info(self, message: Any, state: Any) -> Any:
            try:
                seen.put(process.receive(timeout=0))
            except TimeoutError:
                seen.put("nothing")
            return NoReply(state)

    pid = Receives.start()
    pid.cast("go")
    assert seen.get(timeout=WATCHDOG) == "nothing"
    pid.stop()


# -- Stop and crashes -----------------------------------------------------------


@pytest.mark.parametrize("reason", ["normal", "shutdown", Shutdown("deploy"), "fault", ("any", 1), None])
@pytest.mark.parametrize("callback", ["handle_call", "handle_cast", "handle_info", "handle_continue"])
def test_each_callback_may_stop_the_server_with_any_reason(way, callback, reason, crashes, await_down):
    ended: list[object] = []

    def stop(message: object, state: object) -> Stop:
        return Stop(reason, "last state")

    script = dict.fromkeys(["handle_call", "handle_cast", "handle_info", "handle_continue"], stop)
    if callback == "handle_continue":
        script["handle_cast"] = lambda message, state: NoReply(state, continue_with=1)
    script["terminate"] = lambda why, state: ended.append((why, state))
    pid = way(Scripted).start(script)
    ref = process.monitor(pid)
    match callback:
        case "handle_call":
            with pytest.raises(ServerExit) as caught:
                pid.call("stop")
            assert caught.value.reason == reason
            assert caught.value.pid is pid
        case "handle_info":
            pid.send("stop")
        case _:
            pid.cast("stop")
    assert await_down(ref).reason == reason
    assert ended == [(reason, "last state")]


def test_stop_with_a_reply_answers_before_the_end(way, await_down):
    pid = way(Scripted).start({"handle_call": lambda message, state: Stop("normal", state, reply="goodbye")})
    ref = process.monitor(pid)
    assert pid.call("stop") == "goodbye"
    assert await_down(ref).reason == "normal"


def test_stop_may_reply_with_none(way, await_down):
    pid = way(Scripted).start({"handle_call": lambda message, state: Stop("normal", state, reply=None)})
    ref = process.monitor(pid)
    assert pid.call("stop") is None
    await_down(ref)


@pytest.mark.parametrize("callback", ["handle_call", "handle_cast", "handle_info", "handle_continue"])
def test_a_callback_that_raises_ends_the_server_with_the_crash(way, callback, crashes, await_down):
    ended: list[object] = []

    def fail(message: object, state: object) -> Any:
        raise LookupError(message)

    script: dict[str, Any] = dict.fromkeys(
        ["handle_call", "handle_cast", "handle_info", "handle_continue"], fail
    )
    if callback == "handle_continue":
        script["handle_cast"] = lambda message, state: NoReply(state, continue_with="go")
    script["terminate"] = lambda why, state: ended.append((why, state))
    pid = way(Scripted).start(script)
    ref = process.monitor(pid)
    if callback == "handle_call":
        with pytest.raises(ServerExit) as caught:
            pid.call("go")
        assert caught.value.reason == Crash(LookupError("go"))
    elif callback == "handle_info":
        pid.send("go")
    else:
        pid.cast("go")
    down = await_down(ref)
    assert down.reason == Crash(LookupError("go"))
    assert down.reason.exception.__traceback__ is not None
    assert ended == [(Crash(LookupError("go")), "first")]
    assert len(crashes()) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_any_exception_of_a_pool_thread_is_a_crash(error, crashes, await_down):
    """An interrupt is meant for the main thread; elsewhere it is an exception like any other."""

    class Raises(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            raise error

    pid = Raises.start()
    ref = process.monitor(pid)
    with pytest.raises(ServerExit):
        pid.call("go", timeout=WATCHDOG)
    assert await_down(ref).reason == Crash(error)


@pytest.mark.parametrize("value", [None, 42, "ok", ("reply", 1, 2), Ok(1), IGNORE, Reply])
@pytest.mark.parametrize("callback", ["handle_call", "handle_cast", "handle_info", "handle_continue"])
def test_a_bad_return_is_a_crash_that_names_callback_and_value(way, callback, value, crashes, await_down):
    def bad(message: object, state: object) -> Any:
        return value

    script: dict[str, Any] = dict.fromkeys(
        ["handle_call", "handle_cast", "handle_info", "handle_continue"], bad
    )
    if callback == "handle_continue":
        script["handle_cast"] = lambda message, state: NoReply(state, continue_with="go")
    pid = way(Scripted).start(script)
    ref = process.monitor(pid)
    if callback == "handle_call":
        with pytest.raises(ServerExit):
            pid.call("go")
    elif callback == "handle_info":
        pid.send("go")
    else:
        pid.cast("go")
    reason = await_down(ref).reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, BadReturn)
    assert f"Scripted.{callback}" in str(reason.exception)
    assert repr(value) in str(reason.exception)


@pytest.mark.parametrize("callback", ["handle_cast", "handle_info"])
@pytest.mark.parametrize("value", [Reply(1, 2), Stop("normal", 1, reply=2)])
def test_an_answer_where_nobody_asked_is_a_bad_return(way, callback, value, crashes, await_down):
    pid = way(Scripted).start({callback: lambda message, state: value})
    ref = process.monitor(pid)
    (pid.cast if callback == "handle_cast" else pid.send)("go")
    reason = await_down(ref).reason
    assert isinstance(reason.exception, BadReturn)
    assert callback in str(reason.exception)


@pytest.mark.parametrize("value", [None, 42, Reply(1, 2), NoReply(1)])
def test_a_bad_return_of_init_is_a_start_error(way, value, crashes):
    with pytest.raises(StartError) as caught:
        way(Scripted).start({"init": lambda: value})
    reason = caught.value.reason
    assert isinstance(reason.exception, BadReturn)
    assert "Scripted.init" in str(reason.exception)
    assert repr(value) in str(reason.exception)


def test_an_unknown_call_names_the_missing_callback(crashes, await_down):
    class Bare(GenServer):
        pass

    pid = Bare.start()
    ref = process.monitor(pid)
    with pytest.raises(ServerExit):
        pid.call("what")
    assert "handle_call" in str(await_down(ref).reason.exception)


def test_an_unexpected_message_is_logged_and_dropped(caplog):
    class Bare(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(state, state)

    pid = Bare.start("state")
    pid.send("stray")
    assert pid.call("barrier") == "state"
    assert any("stray" in record.getMessage() for record in caplog.records)
    pid.stop()


def test_exit_in_a_callback_ends_the_server_with_the_reason(way, await_down):
    ended: list[object] = []
    pid = way(Scripted).start(
        {
            "handle_cast": lambda message, state: process.exit(message),
            "terminate": lambda why, state: ended.append(why),
        }
    )
    ref = process.monitor(pid)
    pid.cast("shutdown")
    assert await_down(ref).reason == "shutdown"
    assert ended == ["shutdown"]


def test_one_message_at_a_time_and_in_the_senders_order(way):
    import threading

    inside: list[int] = []
    most: list[int] = []

    def cast(message: object, state: list[object]) -> NoReply:
        inside.append(1)
        most.append(len(inside))
        state.append(message)
        inside.pop()
        return NoReply(state)

    pid = way(Scripted).start({"init": lambda: Ok([]), "handle_cast": cast})
    senders = [
        threading.Thread(target=lambda who=who: [pid.cast((who, n)) for n in range(300)]) for who in range(8)
    ]
    for each in senders:
        each.start()
    for each in senders:
        each.join()
    got = pid.call("state", timeout=WATCHDOG)
    assert max(most) == 1
    for who in range(8):
        assert [n for sender, n in got if sender == who] == list(range(300))
    pid.stop()
