"""Asking: answers, timeouts, servers that are dead, dying, unknown or oneself; futures; coroutines."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

import pykka
import pytest

from resprout.actors import (
    BlockingInLoop,
    CallTimeout,
    Crash,
    Future,
    GenServer,
    NoProcess,
    NoReply,
    ProcessExit,
    Reply,
    ResproutError,
    SelfCall,
    ServerExit,
    Stop,
    process,
)

from ...waiting import down_of

WATCHDOG = 20.0


class Server(GenServer):
    """Does what it is told: the message is a function of (server, from_, state)."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return message(self, from_, state) if callable(message) else Reply(message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return message(self, state) if callable(message) else NoReply(state)

    handle_info = handle_cast


def withhold(server: Any, from_: Any, state: Any) -> NoReply:
    """Do not answer, and keep the caller."""
    return NoReply(from_)


def give_up_caller(server: Any, from_: Any, state: Any) -> Reply:
    """Answer with the caller that was kept."""
    return Reply(state, None)


def test_a_call_by_pid_by_name_and_by_function_means_the_same(way):
    pid = way(Server).start(name="calls.echo")
    assert (
        pid.call(1)
        == GenServer.call(pid, 1)
        == GenServer.call("calls.echo", 1)
        == way(Server).call("calls.echo", 1)
        == 1
    )
    pid.stop()


def test_values_are_passed_by_reference(way):
    pid = way(Server).start()
    value = object()
    assert pid.call(value) is value
    pid.stop()


def test_from_tells_who_asked(way):
    pid = way(Server).start()
    assert pid.call(lambda server, from_, state: Reply(from_.pid, state)) is process.current()
    pid.stop()


def test_an_answer_may_come_from_elsewhere(way):
    pid = way(Server).start()
    asked = GenServer.send_request(pid, withhold)
    caller = pid.call(give_up_caller)
    answering = process.spawn_monitor(GenServer.reply, caller, "from elsewhere")[0]
    assert asked.result(WATCHDOG) == "from elsewhere"
    assert answering is not pid
    pid.stop()


def test_a_server_may_answer_while_it_handles_something_else(way):
    pid = way(Server).start()

    def answer_now(server: Any, from_: Any, state: Any) -> NoReply:
        GenServer.reply(from_, "early")
        return NoReply(state)

    assert pid.call(answer_now) == "early"
    pid.stop()


def test_the_second_answer_is_dropped(way):
    def twice(server: Any, from_: Any, state: Any) -> Reply:
        GenServer.reply(from_, "first")
        return Reply("second", state)

    pid = way(Server).start()
    assert pid.call(twice) == "first"
    assert pid.call("still there") == "still there"
    pid.stop()


def test_a_call_gives_up_after_its_timeout_and_the_server_goes_on(way):
    pid = way(Server).start()
    with pytest.raises(CallTimeout) as caught:
        pid.call(withhold, timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, pykka.Timeout)
    assert isinstance(caught.value, ResproutError)
    assert not isinstance(caught.value, ProcessExit)
    assert str(pid) in str(caught.value)
    assert "0.01" in str(caught.value)
    assert pid.call("hello") == "hello"
    pid.stop()


def test_a_late_answer_is_dropped(way):
    pid = way(Server).start()
    with pytest.raises(CallTimeout):
        pid.call(withhold, timeout=0.01)
    GenServer.reply(pid.call(give_up_caller), "late")
    assert pid.call("next") == "next"
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)
    pid.stop()


def test_a_timeout_of_zero_takes_an_answer_that_is_there_at_once():
    class Quick(Server):
        blocking = False

    pid = Quick.start()
    assert pid.call("now", timeout=0) == "now"
    assert pid.call("now", timeout=0.0) == "now"
    with pytest.raises(CallTimeout):
        pid.call(withhold, timeout=0)
    pid.stop()


def test_a_call_without_a_timeout_waits_for_ever(gate):
    held = gate()

    def wait(server: Any, from_: Any, state: Any) -> Reply:
        held()
        return Reply("at last", state)

    pid = Server.start()
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(pid.call(wait, timeout=None)))
    asking.start()
    held.await_arrival()
    held.open()
    asking.join(WATCHDOG)
    assert answers == ["at last"]
    pid.stop()


# -- nobody there ----------------------------------------------------------------


def test_a_call_to_the_dead_is_an_error_at_once(way, kill):
    pid = way(Server).start()
    kill(pid)
    for ask in (pid.call, lambda message: GenServer.call(pid, message), pid.ask):
        with pytest.raises(NoProcess) as caught:
            ask("anybody?")
        assert isinstance(caught.value, ProcessExit)
        assert isinstance(caught.value, pykka.ActorDeadError)
        assert caught.value.reason == "noproc"
        assert caught.value.pid is pid
        assert str(pid) in str(caught.value)


def test_a_call_to_an_unknown_name_is_an_error_that_names_it():
    with pytest.raises(NoProcess, match=r"calls\.nobody") as caught:
        GenServer.call("calls.nobody", 1)
    assert caught.value.pid is None
    assert caught.value.reason == "noproc"


def test_casts_and_sends_to_nobody_are_no_error(way, kill):
    pid = way(Server).start()
    kill(pid)
    pid.cast(1)
    pid.send(1)
    GenServer.cast(pid, 1)
    GenServer.cast("calls.nobody", 1)
    process.send(pid, 1)


def test_a_request_to_nobody_ends_in_the_future(way, kill):
    pid = way(Server).start()
    kill(pid)
    for target in (pid, "calls.nobody"):
        with pytest.raises(ProcessExit) as caught:
            GenServer.send_request(target, 1).result(WATCHDOG)
        assert caught.value.reason in ("noproc", "killed")


def test_a_server_cannot_call_itself(way):
    """It would wait for its own answer: an error at once, not a hang until the timeout."""

    def ask_yourself(server: Any, from_: Any, state: Any) -> Reply:
        try:
            server.pid.call("me")
        except SelfCall as error:
            return Reply(error, state)
        return Reply(None, state)

    pid = way(Server).start()
    if pid.actor.is_async():
        with pytest.raises(ServerExit):  # inside a loop it is a blocking form in the first place
            pid.call(
                lambda server, from_, state: (
                    Stop("refused", state) if _raises(server.pid.call, BlockingInLoop, SelfCall) else 0
                )
            )
    else:
        error = pid.call(ask_yourself)
        assert isinstance(error, ResproutError)
        assert str(pid) in str(error)
        pid.stop()


def _raises(call: Any, *errors: type[BaseException]) -> bool:
    try:
        call("me")
    except errors:
        return True
    return False


def test_a_server_cannot_wait_for_its_own_stop(threaded):
    pid = threaded(Server).start()

    def stop_yourself(server: Any, from_: Any, state: Any) -> Reply:
        return Reply(_raises(lambda _: GenServer.stop(server.pid), SelfCall), state)

    assert pid.call(stop_yourself) is True
    pid.stop()


@pytest.mark.parametrize("how", ["killed", "stopped", "crashed", "exit signal"])
def test_a_server_that_dies_during_a_call_is_an_error_with_its_reason(way, how, crashes, gate):
    pid = way(Server).start()
    reasons = {
        "killed": "killed",
        "stopped": "done",
        "crashed": Crash(ValueError("boom")),
        "exit signal": "signal",
    }

    def fail(server: Any, state: Any) -> Any:
        raise ValueError("boom")

    asked = [GenServer.send_request(pid, withhold) for _ in range(3)]
    match how:
        case "killed":
            process.exit(pid, "kill")
        case "stopped":
            pid.cast(lambda server, state: Stop("done", state))
        case "crashed":
            pid.cast(fail)
        case _:
            process.exit(pid, "signal")
    for each in asked:
        with pytest.raises(ServerExit) as caught:
            each.result(WATCHDOG)
        assert caught.value.reason == reasons[how]
        assert caught.value.pid is pid


def test_calls_that_wait_in_the_mailbox_are_answered_when_the_server_dies(gate):
    held = gate()

    def wait(server: Any, state: Any) -> NoReply:
        held()
        return NoReply(state)

    pid = Server.start()
    pid.cast(wait)
    held.await_arrival()
    asked = [GenServer.send_request(pid, n) for n in range(10)]
    process.exit(pid, "kill")
    for each in asked:
        with pytest.raises(ServerExit) as caught:
            each.result(WATCHDOG)
        assert caught.value.reason == "killed"
    held.open()


def test_a_caller_gets_no_stray_messages(way, kill):
    """Whatever becomes of a call, its caller's mailbox stays as it was."""
    pid = way(Server).start()
    pid.call(1)
    asked = GenServer.send_request(pid, withhold)
    with pytest.raises(CallTimeout):
        pid.call(withhold, timeout=0.01)
    kill(pid)
    with pytest.raises(ServerExit):
        asked.result(WATCHDOG)
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)


def test_a_call_that_races_with_a_stop_is_always_answered(way, at_every_line):
    """Pykka's ask hangs when the actor stops between its look and its put."""

    def a_round() -> Any:
        pid = way(Server).start()
        outcome: list[object] = []

        def ask() -> None:
            try:
                outcome.append(pid.call("now", timeout=WATCHDOG))
            except ProcessExit as error:
                outcome.append(error.reason)

        def check() -> None:
            assert outcome in (["now"], ["killed"], ["noproc"])

        return ask, lambda: process.exit(pid, "kill"), check

    at_every_line(a_round)


def test_a_stop_that_races_with_a_call_is_always_answered(way, at_every_line):
    def a_round() -> Any:
        pid = way(Server).start()
        asked: list[Any] = []

        def check() -> None:
            error = asked[0].exception(WATCHDOG)
            assert error.reason in ("killed", "noproc") if error else asked[0].result() == "now"

        return (
            lambda: process.exit(pid, "kill"),
            lambda: asked.append(GenServer.send_request(pid, "now")),
            check,
        )

    at_every_line(a_round)


def test_calls_of_shaken_threads_are_always_answered(way, shaken):
    for _ in range(30):
        pid = way(Server).start()
        outcomes: list[object] = []

        def ask(pid: Any = pid, outcomes: list[object] = outcomes) -> None:
            for n in range(5):
                try:
                    assert pid.call(n, timeout=WATCHDOG) == n
                    outcomes.append("answer")
                except ProcessExit as error:
                    outcomes.append(error.reason)

        with shaken():
            asking = [threading.Thread(target=ask) for _ in range(3)]
            for each in asking:
                each.start()
            process.exit(pid, "kill")
        for each in asking:
            each.join(WATCHDOG)
        assert len(outcomes) == 15
        assert set(outcomes) <= {"answer", "killed", "noproc"}


# -- stop --------------------------------------------------------------------------


def test_stop_returns_when_the_server_is_dead(way):
    pid = way(Server).start(name="calls.stopped")
    GenServer.stop("calls.stopped")
    assert not pid.alive
    assert pid.exit_reason == "normal"
    assert process.whereis("calls.stopped") is None


def test_stop_takes_any_reason(way, crashes):
    pid = way(Server).start()
    GenServer.stop(pid, "shutdown")
    assert pid.exit_reason == "shutdown"
    pid = way(Server).start()
    GenServer.stop(pid, ("a", "fault"))
    assert pid.exit_reason == ("a", "fault")


def test_stop_waits_its_turn_behind_the_messages_that_are_there(collected):
    pid = collected().start()
    for n in range(5):
        pid.cast(n)
    seen = GenServer.send_request(pid, "seen")
    GenServer.stop(pid)
    assert seen.result(WATCHDOG) == [("cast", n) for n in range(5)]


def test_stop_of_the_dead_is_an_error(way, kill):
    pid = way(Server).start()
    kill(pid)
    with pytest.raises(NoProcess):
        GenServer.stop(pid)
    with pytest.raises(NoProcess):
        GenServer.stop("calls.nobody")


def test_stop_says_when_the_server_ended_for_another_reason(way, crashes):
    class Clumsy(Server):
        def terminate(self, reason: Any, state: Any) -> None:
            raise ValueError("while cleaning up")

    pid = way(Clumsy).start()
    with pytest.raises(ServerExit) as caught:
        GenServer.stop(pid)
    assert caught.value.reason == Crash(ValueError("while cleaning up"))


def test_stop_gives_up_after_its_timeout(gate):
    held = gate()
    pid = Server.start()

    def wait(server: Any, state: Any) -> NoReply:
        held()
        return NoReply(state)

    pid.cast(wait)
    held.await_arrival()
    with pytest.raises(CallTimeout):
        GenServer.stop(pid, timeout=0.01)
    assert pid.alive
    ref = process.monitor(pid)
    held.open()
    down_of(ref)
    assert pid.exit_reason == "normal"


# -- futures and coroutines ------------------------------------------------------------


def test_requests_are_sent_at_once_and_taken_later(way):
    pid = way(Server).start()
    asked = [GenServer.send_request(pid, n) for n in range(100)]
    assert [each.result(WATCHDOG) for each in asked] == list(range(100))
    pid.stop()


def test_a_coroutine_asks_without_blocking_its_loop(gate):
    held = gate()

    def wait(server: Any, from_: Any, state: Any) -> Reply:
        held()
        return Reply("answer", state)

    async def main() -> object:
        pid = await Server.astart()
        asking = asyncio.ensure_future(GenServer.acall(pid, wait, timeout=WATCHDOG))
        await asyncio.get_running_loop().run_in_executor(None, held.await_arrival)
        held.open()  # by this coroutine: the loop goes on while the other one waits
        answer = await asking
        await GenServer.astop(pid)
        return answer

    assert asyncio.run(main()) == "answer"


def test_a_coroutine_asks_all_kinds_of_servers(way):
    async def main() -> list[object]:
        pid = await way(Server).astart()
        answers = [await GenServer.acall(pid, n) for n in range(3)]
        answers += await asyncio.gather(*(GenServer.acall(pid, n) for n in range(50)))
        await GenServer.astop(pid)
        return answers

    assert asyncio.run(main()) == [0, 1, 2, *range(50)]


def test_acall_gives_up_dies_and_finds_nobody_like_call(way, kill):
    async def main() -> None:
        pid = await way(Server).astart()
        with pytest.raises(CallTimeout):
            await GenServer.acall(pid, withhold, timeout=0.01)
        with pytest.raises(NoProcess):
            await GenServer.acall("calls.nobody", 1)
        asking = asyncio.ensure_future(GenServer.acall(pid, withhold, timeout=WATCHDOG))
        await GenServer.acall(pid, "barrier")
        await asyncio.sleep(0)
        process.exit(pid, "kill")
        with pytest.raises(ServerExit) as caught:
            await asking
        assert caught.value.reason == "killed"
        with pytest.raises(NoProcess):
            await GenServer.acall(pid, 1)

    asyncio.run(main())


def test_cancelling_the_task_that_asks_drops_the_answer(way):
    async def main() -> None:
        pid = await way(Server).astart()
        asking = asyncio.ensure_future(GenServer.acall(pid, withhold, timeout=None))
        await asyncio.sleep(0)
        caller = await GenServer.acall(pid, give_up_caller)
        while caller is None:  # the request has not been sent yet
            caller = await GenServer.acall(pid, give_up_caller)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert caller.cancelled()
        GenServer.reply(caller, "late")
        assert await GenServer.acall(pid, "next") == "next"
        await GenServer.astop(pid)

    asyncio.run(main())


def test_several_loops_ask_one_server_at_the_same_time(way):
    pid = way(Server).start()

    async def ask(first: int) -> list[int]:
        return list(
            await asyncio.gather(*(GenServer.acall(pid, first + n, timeout=WATCHDOG) for n in range(200)))
        )

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda first: asyncio.run(ask(first)), range(0, 4000, 1000)))
    assert answers == [list(range(first, first + 200)) for first in range(0, 4000, 1000)]
    pid.stop()


def test_a_future_of_a_request_can_be_awaited(way):
    async def main() -> object:
        pid = await way(Server).astart()
        answer = await GenServer.send_request(pid, "question")
        await GenServer.astop(pid)
        return answer

    assert asyncio.run(main()) == "question"


def test_a_blocking_call_inside_a_loop_is_refused_and_names_the_async_form():
    class Pooled(Server):
        pass

    class OnLoop(Server):
        async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(message, state)

    async def main() -> None:
        for kind in (Pooled, OnLoop):
            pid = await kind.astart()
            with pytest.raises(BlockingInLoop, match="acall"):
                pid.call(1)
            with pytest.raises(BlockingInLoop, match="astop"):
                GenServer.stop(pid)
            with pytest.raises(BlockingInLoop, match="astart"):
                kind.start()
            with pytest.raises(BlockingInLoop, match="await"):
                Future().result(1)  # one that is not done; taking the value of one that is blocks nobody
            await GenServer.astop(pid)

    asyncio.run(main())


def test_a_call_to_a_non_blocking_server_is_fine_inside_a_loop():
    class Quick(Server):
        blocking = False

    async def main() -> list[object]:
        pid = Quick.start()
        answers = [pid.call(n) for n in range(100)]
        await GenServer.astop(pid)
        return answers

    assert asyncio.run(main()) == list(range(100))


def test_a_non_blocking_server_that_other_threads_keep_busy_still_answers_a_loop():
    """None of its callbacks blocks, so the wait is only as long as the work that others have given it."""

    class Busy(Server):
        blocking = False

        def handle_cast(self, message: Any, state: Any) -> Any:
            return NoReply(sum(range(300)))

    pid = Busy.start()
    enough = threading.Event()

    def cast() -> None:
        while not enough.is_set():
            for n in range(500):
                pid.cast(n)
            pid.call("barrier", timeout=WATCHDOG)  # so that the mailbox does not grow for ever

    casting = [threading.Thread(target=cast) for _ in range(8)]

    async def main() -> None:
        for n in range(30):
            assert pid.call(n, timeout=WATCHDOG) == n
            await asyncio.sleep(0)

    for each in casting:
        each.start()
    try:
        asyncio.run(main())
    finally:
        enough.set()
        for each in casting:
            each.join()
        pid.stop()


def test_a_call_that_a_non_blocking_server_leaves_open_is_refused_inside_a_loop():
    class Quick(Server):
        blocking = False

    async def main() -> None:
        pid = Quick.start()
        with pytest.raises(BlockingInLoop, match="acall"):
            pid.call(withhold)
        await GenServer.astop(pid)

    asyncio.run(main())


def test_processes_without_callbacks_answer_no_calls():
    with pytest.raises(TypeError, match="send it a message"):
        threading_pid = process.spawn(process.receive)
        try:
            threading_pid.call(1)
        finally:
            threading_pid.send("end")


def test_a_request_to_a_process_that_is_dead_ends_in_no_process_as_a_call_does(way, kill):
    pid = way(Server).start()
    kill(pid)
    asked = GenServer.send_request(pid, "x")
    assert isinstance(asked.exception(WATCHDOG), NoProcess)
    assert asked.exception().pid is pid
    assert isinstance(GenServer.send_request("calls.nobody", "x").exception(WATCHDOG), NoProcess)
