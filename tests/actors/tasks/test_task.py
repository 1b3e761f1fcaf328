"""Task: Elixir's, one computation in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import queue
import re
import threading
import time
from typing import Any

import pytest

from resprout.actors import (
    CallTimeout,
    Crash,
    Down,
    Exited,
    GenServer,
    NoReply,
    Ok,
    Pid,
    Reply,
    ResproutError,
    ServerExit,
    Stop,
    Task,
    TaskExit,
    TaskIgnored,
    process,
)

from ...waiting import down_of

WATCHDOG = 20.0


def no_mail() -> None:
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)


async def double_later(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


def double(number: int) -> int:
    return number * 2


@pytest.mark.parametrize("function", [double, double_later])
def test_await_gives_the_result_and_leaves_no_mail(function):
    task = Task.async_(function, 21)
    assert Task.await_(task, WATCHDOG) == 42
    no_mail()
    assert process.info(process.current()).links == ()


def test_it_runs_in_a_process_of_its_own_that_is_linked_to_the_owner():
    task = Task.async_(lambda: (process.current(), process.info(process.current()).links))
    pid, links = Task.await_(task, WATCHDOG)
    assert pid is task.pid
    assert links == (process.current(),)


async def works_in_a_loop() -> str:
    return str(process.current())


def works_on_a_thread() -> str:
    return str(process.current())


@pytest.mark.parametrize("function", [works_on_a_thread, works_in_a_loop])
def test_its_process_is_called_as_its_function(function):
    assert Task.await_(Task.async_(function), WATCHDOG).endswith(f" {function.__name__}>")


def test_tasks_run_at_the_same_time():
    together = threading.Barrier(5)
    tasks = [Task.async_(together.wait, WATCHDOG) for _ in range(5)]
    assert sorted(Task.await_many(tasks, WATCHDOG)) == [0, 1, 2, 3, 4]
    no_mail()


def test_a_result_of_none_is_a_result():
    task = Task.async_(lambda: None)
    assert Task.await_(task, WATCHDOG) is None
    no_mail()


def test_await_gives_up_and_may_be_tried_again(gate):
    held = gate()
    task = Task.async_(lambda: held() or "done")
    held.await_arrival()
    with pytest.raises(CallTimeout):
        Task.await_(task, 0.01)
    assert not task.done()
    held.open()
    assert Task.await_(task, WATCHDOG) == "done"
    no_mail()


def test_yield_gives_none_when_it_is_not_there_yet(gate):
    held = gate()
    task = Task.async_(lambda: held() or "done")
    held.await_arrival()
    assert Task.yield_(task, 0) is None
    assert Task.yield_(task, 0.01) is None
    held.open()
    assert Task.yield_(task, WATCHDOG) == "done"
    no_mail()


def test_a_crash_takes_the_owner_along_unless_it_traps(crashes):
    outcome: queue.Queue[Any] = queue.Queue()

    def owner() -> None:
        task = Task.async_(lambda: 1 / 0)
        Task.await_(task, WATCHDOG)
        outcome.put("went on")

    _, ref = process.spawn_monitor(owner)
    down = down_of(ref)
    assert down.reason == Crash(ZeroDivisionError("division by zero"))
    assert outcome.empty()


def test_an_owner_that_traps_gets_the_exit_and_the_error(crashes):
    process.trap_exit(True)
    task = Task.async_(lambda: 1 / 0)
    with pytest.raises(ServerExit) as caught:
        Task.await_(task, WATCHDOG)
    assert caught.value.reason == Crash(ZeroDivisionError("division by zero"))
    assert process.receive(timeout=WATCHDOG) == Exited(task.pid, caught.value.reason)
    no_mail()


def test_a_thread_whose_task_crashes_hears_of_it(crashes):
    task = Task.async_(lambda: 1 / 0)
    with pytest.raises(ServerExit) as caught:
        Task.await_(task, WATCHDOG)
    assert caught.value.reason == Crash(ZeroDivisionError("division by zero"))
    assert process.current().alive


def test_a_task_ends_with_its_owner(gate, reason_of):
    held = gate()
    tasks: queue.Queue[Task] = queue.Queue()

    def owner() -> None:
        tasks.put(Task.async_(lambda: held() or process.current()))
        process.receive()

    pid = process.spawn(owner)
    task = tasks.get(timeout=WATCHDOG)
    held.await_arrival()
    process.exit(pid, "kill")
    assert reason_of(task.pid) == "killed"
    held.open()


def test_only_the_owner_may_await():
    task = Task.async_(lambda: 1)
    errors: queue.Queue[object] = queue.Queue()

    def other() -> None:
        for wait in (Task.await_, Task.yield_, Task.shutdown, Task.ignore):
            try:
                wait(task)
            except ResproutError as error:
                errors.put(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(WATCHDOG)
    assert errors.qsize() == 4
    assert "owner" in errors.get()
    assert Task.await_(task, WATCHDOG) == 1


def test_a_server_may_handle_the_result_as_a_message():
    seen: queue.Queue[object] = queue.Queue()

    class Owner(GenServer):
        blocking = False

        def init(self, arg: Any) -> Any:
            return Ok({})

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            task = Task.async_(double, message)
            return Reply(None, {**state, task.ref: from_})

        def handle_info(self, message: Any, state: Any) -> Any:
            match message:
                case (ref, result) if ref in state:
                    process.demonitor(ref, flush=True)
                    seen.put(result)
                case other:
                    seen.put(other)
            return NoReply(state)

    pid = Owner.start()
    pid.call(4)
    pid.call(5)
    assert {seen.get(timeout=WATCHDOG), seen.get(timeout=WATCHDOG)} == {8, 10}
    pid.call(0)
    assert seen.get(timeout=WATCHDOG) == 0
    pid.stop()


def test_a_coroutine_awaits_a_task():
    async def main() -> None:
        tasks = [Task.async_(function, n) for n, function in enumerate((double, double_later, double))]
        assert [await task for task in tasks] == [0, 2, 4]

    asyncio.run(main())


def test_shutdown_ends_a_task(gate, reason_of):
    held = gate()
    task = Task.async_(lambda: held())
    held.await_arrival()
    assert Task.shutdown(task, WATCHDOG) is None
    assert not task.pid.alive
    assert task.pid.exit_reason == "shutdown"
    no_mail()
    held.open()
    killed = Task.async_(process.receive)
    assert Task.shutdown(killed, 0) is None
    assert killed.pid.exit_reason == "killed"
    no_mail()
    assert process.current().alive


def test_shutdown_gives_the_result_that_is_there(reason_of):
    task = Task.async_(lambda: "done")
    reason_of(task.pid)
    assert Task.shutdown(task) == "done"
    no_mail()


def test_a_shutdown_at_any_moment_of_the_end_gives_the_result_or_none(at_every_line):
    def a_round() -> Any:
        go = threading.Event()
        got: list[object] = []

        def start_and_shut_down() -> None:
            task = Task.async_(lambda: go.wait(WATCHDOG) and "done")
            got.append(Task.shutdown(task, WATCHDOG))
            no_mail()

        def check() -> None:
            assert got[0] in ("done", None)

        return start_and_shut_down, go.set, check

    at_every_line(a_round)


def test_ignore_lets_a_task_go_on_alone(gate, reason_of):
    held = gate()
    ended: queue.Queue[str] = queue.Queue()
    task = Task.async_(lambda: held() or ended.put("went on"))
    held.await_arrival()
    assert Task.ignore(task) is None
    held.open()
    assert ended.get(timeout=WATCHDOG) == "went on"
    assert reason_of(task.pid) == "normal"


def test_start_and_start_link_want_no_result(reason_of, crashes):
    seen: queue.Queue[object] = queue.Queue()
    pid = Task.start(lambda value: seen.put((value, process.info(process.current()).links)), 1)
    assert seen.get(timeout=WATCHDOG) == (1, ())
    assert reason_of(pid) == "normal"
    pid = Task.start_link(lambda: seen.put(process.info(process.current()).links))
    assert seen.get(timeout=WATCHDOG) == (process.current(),)
    assert reason_of(pid) == "normal"
    no_mail()


def test_await_many_gives_up_together(gate):
    held = gate()
    tasks = [Task.async_(double, 1), Task.async_(held)]
    begin = time.monotonic()
    with pytest.raises(CallTimeout):
        Task.await_many(tasks, 0.05)
    assert time.monotonic() - begin < 5
    held.open()
    Task.shutdown(tasks[1], WATCHDOG)
    Task.shutdown(tasks[0], WATCHDOG)


def test_yield_many_tells_of_each(gate, crashes):
    process.trap_exit(True)
    held = gate()
    tasks = [Task.async_(double, 1), Task.async_(held), Task.async_(lambda: 1 / 0)]
    held.await_arrival()
    process.receive(
        lambda message: message == Exited(tasks[2].pid, Crash(ZeroDivisionError("division by zero"))),
        timeout=WATCHDOG,
    )
    pairs = Task.yield_many(tasks, 1)
    assert [task for task, _ in pairs] == tasks
    assert pairs[0][1] == 2
    assert pairs[1][1] is None
    assert pairs[2][1].reason == Crash(ZeroDivisionError("division by zero"))
    held.open()
    Task.shutdown(tasks[1], WATCHDOG)


# -- streams ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [double, double_later])
@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_a_stream_gives_the_results_in_order(function, size):
    assert list(Task.async_stream(range(20), function, max_concurrency=size, timeout=WATCHDOG)) == [
        2 * n for n in range(20)
    ]
    no_mail()


def test_an_unordered_stream_gives_each_result_as_it_comes(gate):
    held = gate()

    def work(n: int) -> int:
        if n == 0:
            held()
        return n

    stream = Task.async_stream(range(4), work, max_concurrency=2, ordered=False, timeout=WATCHDOG)
    assert [next(stream) for _ in range(3)] == [1, 2, 3]
    held.open()
    assert list(stream) == [0]
    no_mail()


def test_a_stream_never_runs_more_than_max_concurrency_and_never_reads_ahead():
    taken: list[int] = []
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    def source() -> Any:
        for n in itertools.count():
            taken.append(n)
            yield n

    def work(n: int) -> int:
        with lock:
            running.append(n)
            most.append(len(running))
        process.sleep(0.001)
        with lock:
            running.remove(n)
        return n

    stream = Task.async_stream(source(), work, max_concurrency=3, timeout=WATCHDOG)
    assert taken == []
    for n in range(30):
        assert next(stream) == n
        assert len(taken) <= n + 1 + 3
    stream.close()
    assert max(most) <= 3
    no_mail()


def test_a_stream_that_is_closed_or_forgotten_ends_its_tasks(gate):
    held = gate()
    pids: queue.Queue[Any] = queue.Queue()

    def work(n: int) -> None:
        pids.put(process.current())
        if n:
            process.receive()

    stream = Task.async_stream(itertools.count(), work, max_concurrency=4, timeout=WATCHDOG)
    next(stream)
    alive = [pids.get(timeout=WATCHDOG) for _ in range(4)]
    stream.close()
    assert not any(pid.alive for pid in alive)
    held.open()


def test_a_slow_item_raises_or_is_killed(gate):
    held = gate()

    def work(n: int) -> int:
        if n == 1:
            held()
        return n

    results = list(Task.async_stream(range(3), work, max_concurrency=2, timeout=0.05, on_timeout="kill_task"))
    assert results[0] == 0
    assert results[1].reason == "timeout"
    assert results[2] == 2
    no_mail()
    stream = Task.async_stream(range(3), work, max_concurrency=2, timeout=0.05)
    assert next(stream) == 0
    with pytest.raises(CallTimeout):
        next(stream)
    no_mail()
    held.open()


def test_an_item_that_crashes_takes_a_thread_out_of_the_stream(crashes):
    stream = Task.async_stream([1, 0, 2], lambda n: 1 // n, max_concurrency=1, timeout=WATCHDOG)
    assert next(stream) == 1
    with pytest.raises(ServerExit) as caught:
        next(stream)
    # Its text is not the same on all Pythons.
    assert isinstance(caught.value.reason.exception, ZeroDivisionError)


def test_a_source_that_raises_ends_the_stream_and_its_tasks():
    def source() -> Any:
        yield 1
        yield 2
        raise LookupError("source")

    stream = Task.async_stream(source(), double, max_concurrency=1, timeout=WATCHDOG)
    assert next(stream) == 2
    assert next(stream) == 4
    with pytest.raises(LookupError, match="source"):
        next(stream)
    no_mail()


def test_a_stream_of_nothing_is_empty():
    assert list(Task.async_stream([], double)) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_concurrency": 0}, ValueError),
        ({"max_concurrency": "2"}, (TypeError, ValueError)),
        ({"on_timeout": "explode"}, ValueError),
        ({"timeout": -1}, ValueError),
    ],
)
def test_bad_options_are_refused_before_the_first_item(options, error):
    with pytest.raises(error):
        Task.async_stream(range(3), double, **options)


def test_bad_arguments_are_refused():
    for start in (Task.async_, Task.start, Task.start_link):
        with pytest.raises(TypeError):
            start(42)
    for wait in (Task.await_, Task.yield_, Task.shutdown, Task.ignore):
        with pytest.raises(TypeError, match="Task"):
            wait(42)
    task = Task.async_(double, 1)
    with pytest.raises(ValueError, match="timeout"):
        Task.await_(task, -1)
    assert Task.await_(task, WATCHDOG) == 2


def test_many_tasks_under_haste(hasty):
    for _ in range(10):
        assert Task.await_many([Task.async_(double, n) for n in range(100)], WATCHDOG) == [
            2 * n for n in range(100)
        ]
    no_mail()


# -- what Elixir does ------------------------------------------------------------------------


def test_shutdown_tells_how_a_task_ended(reason_of):
    process.trap_exit(True)
    silent = Task.async_(process.exit, "normal")
    reason_of(silent.pid)
    assert Task.shutdown(silent) == TaskExit("normal")
    stubborn = Task.async_(lambda: process.trap_exit() or process.receive(lambda message: False))
    while not process.info(stubborn.pid).trap_exit:
        pass
    assert Task.shutdown(stubborn, 0.01) == TaskExit("killed")
    process.receive(lambda message: message == Exited(silent.pid, "normal"), timeout=WATCHDOG)
    no_mail()


def test_await_many_tells_of_a_death_behind_one_that_hangs(crashes):
    process.trap_exit(True)
    tasks = [Task.async_(process.receive), Task.async_(process.exit, "boom")]
    with pytest.raises(ServerExit) as caught:
        Task.await_many(tasks, None)
    assert caught.value.reason == "boom"
    Task.shutdown(tasks[0], 0)


def test_await_many_looks_at_the_owner_of_all_first(gate):
    held = gate()
    others: queue.Queue[Task] = queue.Queue()
    pid = process.spawn(lambda: others.put(Task.async_(double, 1)) or process.receive())
    mine = Task.async_(held)
    with pytest.raises(ResproutError, match="owner"):
        Task.await_many([mine, others.get(timeout=WATCHDOG)], None)
    process.exit(pid, "kill")
    held.open()
    Task.await_(mine, WATCHDOG)


def test_what_was_ignored_leaves_no_message_and_cannot_be_awaited(gate, reason_of):
    held = gate()
    task = Task.async_(held)
    held.await_arrival()
    assert Task.ignore(task) is None
    for wait in (Task.await_, Task.yield_, Task.shutdown, Task.ignore):
        with pytest.raises(TaskIgnored, match="let go"):
            wait(task)
    held.open()
    assert reason_of(task.pid) == "normal"
    no_mail()


def test_completed_has_its_result_and_its_message():
    task = Task.completed(42)
    assert task.done()
    assert process.receive(timeout=0) == (task.ref, 42)
    assert Task.await_(task) == 42
    assert Task.shutdown(Task.completed(1)) == 1
    assert Task.yield_many([Task.completed(None)])[0][1] is None
    no_mail()


@pytest.mark.parametrize(("on_timeout", "alive"), [("nothing", True), ("ignore", True), ("kill_task", False)])
def test_yield_many_does_with_the_late_what_it_is_told(on_timeout, alive):
    tasks = [Task.async_(double, 1), Task.async_(process.receive)]
    pairs = Task.yield_many(tasks, 0.1, on_timeout=on_timeout)
    assert pairs == [(tasks[0], 2), (tasks[1], None)]
    assert process.alive(tasks[1].pid) is alive
    process.unlink(tasks[1].pid)
    process.exit(tasks[1].pid, "kill")


def test_yield_many_is_content_with_as_many_as_its_limit_says():
    tasks = [Task.async_(process.receive), Task.async_(double, 1)]
    assert Task.yield_many(tasks, None, limit=1, on_timeout="kill_task") == [(tasks[0], None), (tasks[1], 2)]
    assert process.alive(tasks[0].pid)
    Task.shutdown(tasks[0], 0)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_of_an_owner_that_traps_goes_on_after_a_failure_and_leaves_nothing(ordered, crashes):
    process.trap_exit(True)

    def work(number: int) -> int:
        return number if number % 2 else process.exit(("odd", number))

    got = list(Task.async_stream(range(6), work, max_concurrency=3, ordered=ordered, zip_input_on_exit=True))
    failed = [TaskExit((number, ("odd", number))) for number in (0, 2, 4)]
    assert sorted(one for one in got if isinstance(one, int)) == [1, 3, 5]
    assert sorted((one for one in got if isinstance(one, TaskExit)), key=lambda one: one.reason) == failed
    no_mail()
    assert process.info(process.current()).links == ()


def test_a_stream_ends_all_its_tasks_and_tells_of_the_first_failure(crashes):
    before = set(process.processes())
    crash_together = threading.Barrier(2)

    def work(number: int) -> None:
        if number < 2:
            crash_together.wait(WATCHDOG)
            process.exit(("crash", number))
        process.receive(lambda message: False)

    with pytest.raises(ServerExit) as caught:
        list(Task.async_stream(range(6), work, max_concurrency=6, timeout=WATCHDOG))
    assert caught.value.reason[0] == "crash"
    # The thread has gone on as a new process.
    assert set(process.processes()) - before <= {process.current()}


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stream_of_an_owner_that_traps_leaves_nothing_of_late_items_and_when_closed(ordered, reason_of):
    process.trap_exit(True)
    pids: queue.Queue[Pid] = queue.Queue()

    def work(number: int) -> int:
        if number:
            pids.put(process.current())
            process.receive(lambda message: False)
        return number

    options: dict[str, Any] = {"max_concurrency": 3, "ordered": ordered}
    late = list(Task.async_stream([1, 2], work, timeout=0.05, on_timeout="kill_task", **options))
    assert late == [TaskExit("timeout"), TaskExit("timeout")]
    no_mail()
    pids = queue.Queue()
    stream = Task.async_stream(range(3), work, timeout=None, **options)
    assert next(stream) == 0
    at_work = [pids.get(timeout=WATCHDOG) for _ in range(2)]
    stream.close()
    assert [reason_of(pid) for pid in at_work] == ["killed"] * 2
    no_mail()
    assert process.info(process.current()).links == ()


@pytest.mark.parametrize("trap", [True, False])
def test_a_stream_that_another_thread_closes_leaves_nothing_in_the_owners_mailbox(trap, gate, reason_of):
    process.trap_exit(trap)
    held = gate()
    pids: queue.Queue[Pid] = queue.Queue()

    def work(number: int) -> int:
        if number == 2:
            held()
        pids.put(process.current())
        return number

    stream = Task.async_stream(range(3), work, max_concurrency=3, timeout=None)
    assert next(stream) == 0
    for _ in range(2):  # the second one's messages are in the mailbox by now
        reason_of(pids.get(timeout=WATCHDOG))
    process.send(process.current(), "mine")
    # Passed over, so that they are in the other list.
    assert process.receive(lambda message: message == "mine", timeout=0) == "mine"
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join()
    held.open()
    no_mail()
    assert process.info(process.current()).links == ()
    assert process.info(process.current()).message_queue_len == 0


def test_gathered_tasks_leave_nothing_in_their_owners_mailbox():
    async def main() -> int:
        tasks = [Task.async_(double, number) for number in range(3)]
        assert await asyncio.gather(*tasks) == [0, 2, 4]
        return process.info(process.current()).message_queue_len

    assert asyncio.run(main()) == 0


def test_a_cancelled_await_ends_the_wait_only():
    async def main() -> None:
        gate = threading.Event()
        task = Task.async_(lambda: gate.wait(WATCHDOG) and "done")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task, 0.01)
        gate.set()
        assert await task == "done"

    asyncio.run(main())


def test_callers_are_those_on_whose_behalf_a_task_works():
    me = process.current()
    assert process.callers() == ()

    def outer() -> Any:
        inner = Task.await_(Task.async_(process.callers), WATCHDOG)
        return process.current(), process.callers(), inner

    pid, mine, inner = Task.await_(Task.async_(outer), WATCHDOG)
    assert mine == (me,)
    assert inner == (pid, me)
    assert GenServer.call(CallersOfServer.start(), "callers") == ()


def test_a_timer_can_be_read():
    timer = process.send_after(process.current(), "late", 60)
    assert 59 < process.read_timer(timer) <= 60
    process.cancel_timer(timer)
    assert process.read_timer(timer) is None
    again = process.send_interval(process.current(), "again", 0.01)
    assert process.receive(timeout=WATCHDOG) == "again"
    assert 0 <= process.read_timer(again) <= 0.01
    process.cancel_timer(again)
    with pytest.raises(TypeError, match="send_after"):
        process.read_timer("timer")


def test_a_timer_that_has_fired_has_no_time_left():
    timer = process.send_after(process.current(), "now", 0)
    assert process.receive(timeout=WATCHDOG) == "now"
    assert process.read_timer(timer) is None


class CallersOfServer(GenServer):
    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Stop("normal", state, reply=process.callers())


class Picky(GenServer):
    """Takes one message out of the middle of its mailbox during a call."""

    blocking = False
    trap_exit = True

    def init(self, arg: Any) -> Any:
        return Ok([])

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "pick":
            for each in ("first", "wanted", "last"):
                process.send(process.current(), each)
            process.receive(lambda message: message == "wanted", timeout=0)
        return Reply(list(state), state)

    def handle_info(self, message: Any, state: Any) -> Any:
        return NoReply([*state, message])


def test_a_server_on_the_senders_thread_handles_what_receive_passed_over():
    server = Picky.start()
    GenServer.call(server, "pick")
    assert process.info(server).message_queue_len == 0
    assert GenServer.call(server, "seen") == ["first", "last"]
    GenServer.stop(server)


def test_notices_made_by_hand_are_messages_like_any_other(way):
    server = way(Picky).start()
    made = [Down("ref", None, "boom"), Exited("pid", "boom"), Down(None, 1, 2), Exited(None, None)]
    for each in made:
        server.send(each)
        process.send(process.current(), each)
    assert GenServer.call(server, "seen") == made
    assert [process.receive(timeout=0) for _ in made] == made
    GenServer.stop(server)


def test_notices_of_the_runtime_may_be_sent_on_by_hand(way, kill):
    server, dead = way(Picky).start(), Picky.start()
    made = [Down(process.monitor(dead), dead, "boom"), Exited(dead, "boom")]
    kill(dead)
    told = process.receive(lambda message: isinstance(message, Down), timeout=WATCHDOG)
    for each in (*made, told):
        server.send(each)
    assert GenServer.call(server, "seen") == [*made, told]
    GenServer.stop(server)


def test_the_report_of_a_task_that_crashes_shows_on_whose_behalf_it_worked(crashes, reason_of):
    me = process.current()
    outer = Task.start(lambda: Task.await_(Task.async_(lambda: 1 // 0)))
    reason_of(outer)
    report = next(each for each in crashes() if each.callers == (outer, me))
    # By their numbers: a process that has left has no label any more.
    assert re.search(rf"callers: <0\.{outer.id}\b.*>, <0\.{me.id}\b", str(report))
