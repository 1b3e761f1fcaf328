"""Threads and asyncio tasks are processes while they last."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import gc
import queue
import threading
from typing import Any

import pytest

from resprout.actors import CallTimeout, Crash, Down, Exited, GenServer, Pid, Reply, ServerExit, Stop, process

from ...scripted import Silent, Slot
from ...waiting import down_of

WATCHDOG = 20.0


class Quick(GenServer):
    blocking = False

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return message if isinstance(message, Stop) else Reply(message, state)


# -- threads ----------------------------------------------------------------------------


def test_a_thread_is_one_process_as_long_as_it_lives():
    pids: list[Pid] = []

    def body() -> None:
        pids.extend(process.current() for _ in range(3))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert len(set(pids)) == 1
    assert pids[0] is not process.current()
    assert process.current() is process.current()


@pytest.mark.parametrize("how", ["thread", "raw", "pool", "exit"])
def test_a_thread_dies_when_it_ends(how, await_down, monkeypatch):
    # Python ignores SystemExit in threads, pytest's own hook does not.
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    told: queue.Queue[Any] = queue.Queue()
    go = threading.Event()

    def body() -> None:
        told.put(process.current())
        process.register(process.current(), "ambient.thread")
        assert go.wait(WATCHDOG)
        if how == "exit":
            _thread.exit()

    match how:
        case "raw":
            _thread.start_new_thread(body, ())
            end = lambda: None
        case "pool":
            executor = concurrent.futures.ThreadPoolExecutor(1)
            executor.submit(body)
            end = executor.shutdown
        case _:
            thread = threading.Thread(target=body)
            thread.start()
            end = thread.join
    pid = told.get(timeout=WATCHDOG)
    ref = process.monitor(pid)
    assert pid.alive
    go.set()
    end()
    assert await_down(ref) == Down(ref, pid, "normal")
    assert process.whereis("ambient.thread") is None
    assert not pid.alive


def test_after_join_the_thread_is_dead():
    for _ in range(50):
        pids: list[Pid] = []
        thread = threading.Thread(target=lambda pids=pids: pids.append(process.current()))
        thread.start()
        thread.join()
        assert not pids[0].alive


def test_a_thread_that_raises_dies_of_the_crash(await_down, monkeypatch):
    hooked: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: hooked.append(args.exc_value))
    told: queue.Queue[Pid] = queue.Queue()
    go = threading.Event()

    def body() -> None:
        told.put(process.current())
        assert go.wait(WATCHDOG)
        raise ValueError("boom")

    thread = threading.Thread(target=body)
    thread.start()
    ref = process.monitor(told.get(timeout=WATCHDOG))
    go.set()
    thread.join()
    assert await_down(ref).reason == Crash(ValueError("boom"))
    assert [type(error) for error in hooked] == [ValueError]  # the user's own hook still hears of it


def test_the_end_of_a_thread_is_seen_though_it_has_met_errors_of_ours():
    """An exception keeps the frames that it went through; they must not keep the thread's process."""
    kept: list[BaseException] = []
    pids: list[Pid] = []

    def body() -> None:
        pids.append(process.current())
        process.register(process.current(), "ambient.errors")
        dying = Quick.start()
        try:
            dying.call(Stop("normal"))
        except ServerExit as error:
            kept.append(error)
        try:
            dying.call("dead")
        except ServerExit as error:
            kept.append(error)
        except Exception as error:
            kept.append(error)
        try:
            process.receive(timeout=0)
        except CallTimeout as error:
            kept.append(error)

    gc.disable()
    try:
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        assert not pids[0].alive
        ref = process.monitor(pids[0])
        down_of(ref)
        process.send_after(process.current(), "barrier", 0)
        process.receive(lambda message: message == "barrier", timeout=WATCHDOG)
        assert process.whereis("ambient.errors") is None
        assert len(kept) == 3
    finally:
        gc.enable()


def test_threads_can_be_linked_and_hear_of_the_end(crashes):
    seen: queue.Queue[object] = queue.Queue()

    def body() -> None:
        process.trap_exit(True)
        pid = process.spawn_link(process.exit, "fault")
        seen.put(process.receive(timeout=WATCHDOG) == Exited(pid, "fault"))

    thread = threading.Thread(target=body)
    thread.start()
    assert seen.get(timeout=WATCHDOG) is True
    thread.join()


def test_the_end_of_a_thread_ends_what_is_linked_to_it(await_down, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    pids: list[Pid] = []
    refs: list[Any] = []
    go = threading.Event()
    ready = threading.Event()

    def body() -> None:
        pids.append(Quick.start_link())
        ready.set()
        assert go.wait(WATCHDOG)
        raise ValueError("boom")

    thread = threading.Thread(target=body)
    thread.start()
    assert ready.wait(WATCHDOG)
    refs.append(process.monitor(pids[0]))
    go.set()
    thread.join()
    assert await_down(refs[0]).reason == Crash(ValueError("boom"))


def test_an_exit_signal_to_a_thread_is_raised_once_and_a_new_process_goes_on(await_down):
    to_main: queue.Queue[Any] = queue.Queue()
    to_thread: queue.Queue[Any] = queue.Queue()
    watched = Quick.start()

    def body() -> None:
        old = process.current()
        process.register(old, "ambient.signalled")
        process.link(watched)
        to_main.put(old)
        to_thread.get(timeout=WATCHDOG)
        try:
            process.current()
        except ServerExit as error:
            to_main.put((error.pid, error.reason))
        new = process.current()
        to_main.put((new is not old, new.alive, process.whereis("ambient.signalled")))
        process.send(new, "mail")
        to_main.put(process.receive(timeout=WATCHDOG))

    thread = threading.Thread(target=body)
    thread.start()
    old = to_main.get(timeout=WATCHDOG)
    ref = process.monitor(old)
    process.exit(old, "enough")
    assert await_down(ref).reason == "enough"
    assert process.whereis("ambient.signalled") is None
    assert not watched.alive  # it was linked
    to_thread.put("go on")
    assert to_main.get(timeout=WATCHDOG) == (old, "enough")
    assert to_main.get(timeout=WATCHDOG) == (True, True, None)
    assert to_main.get(timeout=WATCHDOG) == "mail"
    thread.join()


@pytest.mark.parametrize(
    "wait",
    [
        lambda: process.receive(timeout=WATCHDOG),
        lambda: process.sleep(WATCHDOG),
        lambda: GenServer.call("ambient.silent", "question", timeout=WATCHDOG),
    ],
)
def test_an_exit_signal_wakes_a_thread_that_waits(wait):
    seen: queue.Queue[Any] = queue.Queue()
    silent = Silent.start(name="ambient.silent")

    def body() -> None:
        seen.put(process.current())
        try:
            wait()
        except ServerExit as error:
            seen.put(error.reason)

    thread = threading.Thread(target=body)
    thread.start()
    pid = seen.get(timeout=WATCHDOG)
    process.exit(pid, "wake up")
    assert seen.get(timeout=WATCHDOG) == "wake up"
    thread.join()
    silent.stop()


def test_what_a_signalled_thread_holds_is_held_until_the_thread_ends():
    slot = Slot()
    told: queue.Queue[Pid] = queue.Queue()
    go = threading.Event()

    def body() -> None:
        me = process.current()
        me.attach(slot)
        told.put(me)
        assert go.wait(WATCHDOG)
        with pytest.raises(ServerExit):
            process.current()
        process.current()
        told.put(me)
        assert go.wait(WATCHDOG)

    thread = threading.Thread(target=body)
    thread.start()
    pid = told.get(timeout=WATCHDOG)
    process.exit(pid, "enough")
    assert slot.next() == ("died", "enough")
    go.set()
    told.get(timeout=WATCHDOG)
    thread.join()
    assert slot.next() == ("left", None)
    assert slot.told.empty()


def test_a_resource_of_a_thread_is_told_of_its_end():
    slot = Slot()
    thread = threading.Thread(target=lambda: process.current().attach(slot))
    thread.start()
    thread.join()
    assert slot.ended("normal")


def test_many_threads_come_and_go_and_leave_nothing():
    before = len(process.processes())
    refs: queue.Queue[Any] = queue.Queue()

    def body() -> None:
        refs.put(process.current())
        process.send(process.current(), "unread")

    for _ in range(10):
        threads = [threading.Thread(target=body) for _ in range(20)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    pids = [refs.get() for _ in range(200)]
    assert not any(pid.alive for pid in pids)
    assert len(process.processes()) <= before


# -- tasks -----------------------------------------------------------------------------------


def test_each_task_is_a_process_of_its_own():
    async def main() -> None:
        async def one() -> list[Pid]:
            first = process.current()
            await asyncio.sleep(0)
            return [first, process.current()]

        pids = await asyncio.gather(one(), one())
        assert all(first is second for first, second in pids)
        assert len({pids[0][0], pids[1][0], process.current()}) == 3

    outside = process.current()
    asyncio.run(main())
    assert process.current() is outside


def test_a_task_dies_when_it_ends():
    seen: queue.Queue[Any] = queue.Queue()

    async def main() -> None:
        async def work(how: str) -> None:
            process.register(process.current(), "ambient.task")
            seen.put(process.current())
            await asyncio.sleep(0)
            if how == "crash":
                raise ValueError("boom")

        for how, reason in (("end", "normal"), ("crash", Crash(ValueError("boom")))):
            task = asyncio.ensure_future(work(how))
            await asyncio.sleep(0)
            pid = seen.get_nowait()
            ref = process.monitor(pid)
            await asyncio.wait({task})
            task.exception()
            down = await process.areceive(timeout=WATCHDOG)
            assert down == Down(ref, pid, reason)
            assert process.whereis("ambient.task") is None

    asyncio.run(main())


async def asleep(ended: list[str]) -> tuple[asyncio.Task[None], Pid]:
    """A task that waits for ever and notes how that ends, and its process."""
    pids: list[Pid] = []

    async def work() -> None:
        pids.append(process.current())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    return task, pids[0]


def test_a_cancelled_task_is_dead():
    async def main() -> None:
        task, pid = await asleep(ended := [])
        ref = process.monitor(pid)
        task.cancel()
        assert (await process.areceive(timeout=WATCHDOG)).ref is ref
        assert ended == ["cancelled"]
        assert not pid.alive

    asyncio.run(main())


def exit_from_another_thread(pid: Pid, reason: object) -> None:
    threading.Thread(target=process.exit, args=(pid, reason)).start()


@pytest.mark.parametrize("send", [process.exit, exit_from_another_thread])
def test_an_exit_signal_cancels_a_task(send):
    async def main() -> None:
        task, pid = await asleep(ended := [])
        send(pid, "enough")
        await asyncio.wait({task})
        assert task.cancelled()
        assert ended == ["cancelled"]
        assert pid.exit_reason == "enough"

    asyncio.run(main())


def test_a_loop_that_ends_ends_its_tasks():
    seen: list[Pid] = []

    async def main() -> None:
        seen.append(process.current())

    asyncio.run(main())
    assert not seen[0].alive
    assert seen[0].exit_reason == "normal"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_that_is_destroyed_while_pending_is_dead(await_down, caplog):
    slot = Slot()

    async def work() -> None:
        seen.append(process.current())
        process.register(process.current(), "ambient.destroyed")
        process.current().attach(slot)
        await asyncio.get_running_loop().create_future()

    seen: list[Pid] = []
    loop = asyncio.new_event_loop()
    task = loop.create_task(work())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    ref = process.monitor(seen[0])
    del task
    gc.collect()
    assert await_down(ref).pid is seen[0]
    assert slot.next()[0] == "died"
    assert slot.next()[0] == "left"
    assert process.whereis("ambient.destroyed") is None
    assert any("destroyed" in record.getMessage() for record in caplog.records)


def test_code_in_a_loop_but_in_no_task_runs_as_the_thread():
    async def main() -> list[Pid]:
        seen: asyncio.Future[Pid] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: seen.set_result(process.current()))
        return [await seen, process.current()]

    in_callback, in_task = asyncio.run(main())
    assert in_callback is process.current()
    assert in_task is not in_callback


def test_code_in_an_executor_runs_as_the_task_that_waits_for_it():
    async def main() -> tuple[Pid, Pid]:
        elsewhere = await asyncio.get_running_loop().run_in_executor(None, process.current)
        return elsewhere, process.current()

    elsewhere, task = asyncio.run(main())
    assert elsewhere is task
    assert elsewhere is not process.current()


def test_a_callback_on_the_senders_thread_is_its_own_process_even_inside_a_task():
    class Who(GenServer):
        blocking = False

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply((process.current(), from_.pid), state)

    async def main() -> None:
        pid = Who.start()
        me = process.current()
        assert pid.call("who") == (pid, me)
        assert process.current() is me
        await GenServer.astop(pid)

    asyncio.run(main())


def test_thousands_of_tasks_leave_nothing():
    before = set(process.processes())

    async def main() -> None:
        async def one() -> None:
            process.current()
            await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(3_000)))

    asyncio.run(main())
    assert set(process.processes()) == before


def test_what_a_signalled_task_holds_is_held_until_the_task_ends():
    """It may catch its cancellation and go on, as a new process."""
    slot = Slot()

    async def main() -> None:
        go = asyncio.Event()

        async def stubborn() -> None:
            process.current().attach(slot)
            seen.append(process.current())
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
            with pytest.raises(ServerExit):
                process.current()
            seen.append(process.current())
            await go.wait()

        seen: list[Pid] = []
        task = asyncio.ensure_future(stubborn())
        await asyncio.sleep(0)
        process.exit(seen[0], "enough")
        assert slot.next() == ("died", "enough")
        while len(seen) < 2:
            await asyncio.sleep(0)
        assert seen[1] is not seen[0]
        assert seen[1].alive
        assert slot.told.empty()
        go.set()
        await task
        assert not seen[1].alive

    asyncio.run(main())
    assert slot.next() == ("left", None)
    assert slot.told.empty()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_signalled_task_holds_is_held_until_the_task_is_destroyed(caplog):
    slots = [Slot(), Slot()]
    seen: list[Pid] = []

    async def stubborn() -> None:
        for slot in slots:
            process.current().attach(slot)
            seen.append(process.current())
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                with pytest.raises(ServerExit):
                    process.current()
        seen.append(process.current())
        await asyncio.get_running_loop().create_future()

    loop = asyncio.new_event_loop()
    task = loop.create_task(stubborn())
    for begun in (1, 2):
        while len(seen) < begun:
            loop.run_until_complete(asyncio.sleep(0))
        process.exit(seen[-1], "enough")
    while len(seen) < 3:
        loop.run_until_complete(asyncio.sleep(0))
    for slot in slots:
        assert slot.next() == ("died", "enough")
        assert slot.told.empty()
    loop.close()
    del task
    gc.collect()
    for slot in slots:
        assert slot.next() == ("left", None)
        assert slot.told.empty()
    assert len({*seen}) == 3
    assert not any(pid.alive for pid in seen)
    assert any("destroyed" in record.getMessage() for record in caplog.records)


def test_first_messages_that_come_at_once_all_arrive(monkeypatch):
    """The mailbox is made by the first, and another may be on its way."""
    me = process.current()
    real = Pid._own
    others = ["second", "third"]

    def own(self: Pid, slot: str, fresh: Any) -> Any:
        if self is pid and slot == "_inbox" and others:
            pid.send(others.pop(0))
        return real(self, slot, fresh)

    def collect() -> None:
        go.wait(WATCHDOG)
        got = [process.receive(timeout=WATCHDOG) for _ in range(3)]
        me.send(got)

    go = threading.Event()
    pid = process.spawn(collect)
    monkeypatch.setattr(Pid, "_own", own)
    pid.send("first")
    go.set()
    assert sorted(process.receive(timeout=WATCHDOG)) == ["first", "second", "third"]
    assert not others


def test_a_task_that_traps_exits_awaits_them():
    async def main() -> None:
        process.trap_exit(True)
        pid = process.spawn_link(process.exit, "fault")
        assert await process.areceive(timeout=WATCHDOG) == Exited(pid, "fault")

    asyncio.run(main())


def test_cancelling_a_task_that_awaits_a_message_loses_no_message():
    async def main() -> None:
        me = process.current()

        async def wait() -> object:
            pids.append(process.current())
            try:
                return await process.areceive(timeout=WATCHDOG)
            except asyncio.CancelledError:
                # What came at the same moment is in the mailbox still.
                return process.receive(timeout=0)

        for _ in range(50):
            pids: list[Pid] = []
            task = asyncio.ensure_future(wait())
            while not pids:
                await asyncio.sleep(0)
            sender = threading.Thread(target=process.send, args=(pids[0], "message"))
            sender.start()
            sender.join(WATCHDOG)
            task.cancel()
            assert await task == "message"
        assert me.alive

    asyncio.run(main())


def test_an_interrupt_ends_a_wait_of_the_main_thread_and_nothing_else():
    import signal

    pid = Silent.start()
    waits = (
        lambda: pid.call("question", timeout=WATCHDOG),
        lambda: process.receive(timeout=WATCHDOG),
        lambda: process.sleep(WATCHDOG),
    )
    me = process.current()
    main = threading.main_thread().ident

    def interrupt() -> None:
        while me.parked is None:
            pass  # until it waits
        signal.pthread_kill(main, signal.SIGINT)

    for wait in waits:
        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            wait()
        interrupter.join()
    assert process.current().alive
    process.send(process.current(), "mail")
    assert process.receive(timeout=0) == "mail"
    assert pid.alive
    pid.stop()
