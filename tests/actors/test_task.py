"""Task: Elixir's, one computation in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import queue
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
    Reply,
    ResproutError,
    ServerExit,
    Task,
    process,
)

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
    down = process.receive(lambda message: isinstance(message, Down) and message.ref is ref, timeout=WATCHDOG)
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
    process.trap_exit(True)
    stream = Task.async_stream([1, 0, 2], lambda n: 1 // n, max_concurrency=1, timeout=WATCHDOG)
    assert next(stream) == 1
    with pytest.raises(ServerExit) as caught:
        next(stream)
    assert caught.value.reason == Crash(ZeroDivisionError("integer division or modulo by zero"))


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
