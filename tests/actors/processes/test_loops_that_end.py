"""A task's process ends with the loop that would have run it, however that loop ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout.actors import Crash, Down, Exited, Future, GenServer, NoReply, Pid, Reply, process
from resprout.actors.runtime import loop_bells as bells_module
from resprout.actors.runtime.kernel import kernel
from resprout.actors.runtime.loop_bells import Bells, bells_of
from resprout.actors.runtime.parking import LoopBell
from resprout.actors.runtime.thread_state import tasks

from ...scripted import Silent, Slot

WATCHDOG = 20.0

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",  # a loop that nobody closed
    "ignore:unclosed event loop:ResourceWarning",
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Asyncio logs of tasks that are destroyed while they wait, which is what these tests are about."""
    caplog.set_level(logging.CRITICAL, logger="asyncio")
    yield
    # Loops that are garbage now warn here, and not in somebody else's test.
    gc.collect()


@pytest.fixture
def silent() -> Iterator[Pid]:
    pid = Silent.start()
    yield pid
    pid.stop()


@pytest.fixture
def look() -> Callable[[], None]:
    """Have the kernel thread look at the stopped loops now, and wait until it has."""

    def look() -> None:
        done = threading.Event()
        kernel.ensure()
        kernel.post(bells_module._look)
        kernel.post(done.set)
        assert done.wait(WATCHDOG)

    return look


def holding(slot: Slot, then: Callable[[], Any]) -> tuple[asyncio.AbstractEventLoop, Pid]:
    """A loop with a task that is a process, has a resource and a name, and waits for something."""
    seen: list[Pid] = []

    async def work() -> None:
        me = process.current()
        me.attach(slot)
        process.register(me, f"loops {me.id}")
        seen.append(me)
        await then()

    loop = asyncio.new_event_loop()
    loop.create_task(work())  # noqa: RUF006  # nobody refers to it
    while not seen:
        # A turn of the loop.
        loop.run_until_complete(asyncio.sleep(0))
    return loop, seen[0]


def waits(silent: Pid) -> dict[str, Callable[[], Any]]:
    """Everything that a coroutine of ours can wait for."""
    future: Future[Any] = Future()
    kept = {"a future": future}
    return {
        # Nobody waits for it: it is what the task is at when its loop ends, with a timer of the loop's own.
        "a sleep": lambda: asyncio.sleep(1000),
        "a future": lambda: kept["a future"],
        "a call": lambda: GenServer.acall(silent, "never", timeout=None),
        "a call with a timeout": lambda: GenServer.acall(silent, "never", timeout=1000),
        "a message": lambda: process.areceive(),
        "a message with a timeout": lambda: process.areceive(timeout=1000),
    }


WAITS = ["a sleep", "a future", "a call", "a call with a timeout", "a message", "a message with a timeout"]


@pytest.mark.parametrize("what", WAITS)
def test_closing_a_loop_ends_the_processes_of_its_tasks(what, silent, await_down):
    slot = Slot()
    what = waits(silent)[what]
    loop, pid = holding(slot, what)
    kept = [task for task in asyncio.all_tasks(loop) if not task.done()]
    ref = process.monitor(pid)
    loop.close()
    assert not pid.alive
    assert await_down(ref) == Down(ref, pid, "normal")
    assert slot.ended()
    assert process.whereis(f"loops {pid.id}") is None
    assert kept  # somebody refers to the tasks all the time
    del kept
    gc.collect()


@pytest.mark.asyncio_loop
@pytest.mark.parametrize("what", WAITS)
def test_a_loop_that_is_dropped_without_being_closed_takes_its_tasks_along(what, silent, await_down):
    """Nobody but us knows loop, task or coroutine; and we do not keep them."""
    slot = Slot()
    what = waits(silent)[what]
    loop, pid = holding(slot, what)
    there = weakref.ref(loop)
    ref = process.monitor(pid)
    del loop
    gc.collect()
    assert there() is None
    assert await_down(ref) == Down(ref, pid, "normal")
    assert slot.ended()


def test_a_task_that_waits_lives_as_long_as_its_loop(silent):
    """Though only the loop refers to it then, and asyncio's own references to tasks are weak."""
    slot = Slot()
    future: Future[str] = Future()
    got: list[str] = []

    async def wait() -> None:
        got.append(await future)

    loop, pid = holding(slot, wait)
    gc.collect()
    assert pid.alive
    future.set("value")
    while not got:
        loop.run_until_complete(asyncio.sleep(0))
    assert got == ["value"]
    loop.run_until_complete(asyncio.sleep(0))
    assert slot.ended()
    loop.close()


@pytest.mark.parametrize("error", [None, ValueError("boom")])
def test_a_task_that_is_done_in_the_last_turn_of_a_closed_loop_has_ended(error, await_down, crashes):
    slot = Slot()
    seen: list[Pid] = []

    async def work() -> None:
        seen.append(process.current())
        process.current().attach(slot)
        await asyncio.sleep(0)
        if error is not None:
            raise error

    loop = asyncio.new_event_loop()
    task = loop.create_task(work())

    async def main() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert task.done()
    ref = process.monitor(seen[0])
    loop.close()
    reason = "normal" if error is None else Crash(error)
    assert await_down(ref).reason in (reason, "noproc")
    assert slot.ended(reason)
    assert seen[0].exit_reason == reason
    assert len(crashes()) == (error is not None)


@pytest.mark.asyncio_loop
def test_a_task_that_is_done_in_a_loop_that_was_stopped_ends_though_the_loop_is_kept(look):
    """Its done callback would come when the loop runs again. If it ever does, that changes nothing."""
    slot = Slot()
    loop = asyncio.new_event_loop()
    seen: list[Pid] = []

    async def work() -> None:
        seen.append(process.current())
        process.current().attach(slot)
        loop.stop()

    task = loop.create_task(work())
    loop.run_forever()
    assert task.done()
    assert slot.told.empty()
    look()
    assert slot.ended()
    loop.run_until_complete(asyncio.sleep(0))
    assert slot.told.empty()

    # And once more: that it has been looked at holds until it runs again.
    again = loop.create_task(work())
    loop.run_forever()
    assert again.done()
    look()
    assert slot.ended()
    loop.close()
    assert not any(pid.alive for pid in seen)


def test_a_task_that_waits_in_a_stopped_loop_is_alive(look):
    slot = Slot()
    go: Future[None] = Future()

    async def wait() -> None:
        await go

    loop, pid = holding(slot, wait)
    look()
    look()
    assert pid.alive
    assert slot.told.empty()
    go.set()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert slot.ended()
    loop.close()


class Stubborn(asyncio.SelectorEventLoop):
    """Is closed in a way of its own, which nobody can see."""

    def end(self) -> None:
        super().close()


def test_a_loop_that_is_closed_behind_our_back_is_found(look):
    slot = Slot()
    seen: list[Pid] = []

    async def work() -> None:
        seen.append(process.current())
        process.current().attach(slot)
        await asyncio.Event().wait()  # for ever

    loop = Stubborn()
    task = loop.create_task(work())
    loop.run_until_complete(asyncio.sleep(0))
    loop.end()
    look()
    assert slot.ended()
    assert not task.done()


def test_a_loop_that_refuses_to_be_closed_goes_on():
    slot = Slot()

    async def main() -> None:
        me = process.current()
        me.attach(slot)
        with pytest.raises(RuntimeError, match="running"):
            asyncio.get_running_loop().close()
        assert me.alive
        await asyncio.sleep(0)
        assert process.current() is me

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    loop.close()
    assert slot.ended()
    assert slot.told.empty()


def test_links_and_monitors_of_a_closed_loops_task_go_with_it(kill):
    process.trap_exit(True)
    me = process.current()
    watched = Silent.start()

    async def tie() -> None:
        process.link(me)
        process.monitor(watched)
        await asyncio.Event().wait()  # for ever

    loop, pid = holding(Slot(), tie)
    assert pid in process.info(watched).monitored_by
    loop.close()
    assert process.receive(timeout=WATCHDOG) == Exited(pid, "normal")
    assert process.info(watched).monitored_by == ()
    kill(watched)


def test_loops_that_come_and_go_leave_nothing():
    """And a loop that is closed is freed as before, at once, without the collector."""
    gc.collect()
    known, processes = set(bells_module.known), len(tasks)
    gc.disable()
    try:
        gone = []
        for _ in range(50):
            loop = asyncio.new_event_loop()

            async def main() -> None:
                process.current()

            loop.run_until_complete(main())
            loop.close()
            gone.append(weakref.ref(loop))
            del loop
        assert not [each for each in gone if each() is not None]
    finally:
        gc.enable()
    assert set(bells_module.known) <= known
    assert len(tasks) == processes


def test_what_is_kept_of_a_wait_is_gone_after_it():
    async def main() -> Bells:
        future: Future[Any] = Future()
        waiting = [asyncio.ensure_future(_get(future)) for _ in range(3)]
        late = asyncio.ensure_future(process.areceive(timeout=0.001))
        bells = bells_of(asyncio.get_running_loop())
        while len(bells.sleeping) < 4:
            await asyncio.sleep(0)
        waiting[0].cancel()  # which cancels the future of all
        await asyncio.wait({*waiting, late})
        late.exception()
        return bells

    async def _get(future: Future[Any]) -> Any:
        return await future

    bells = asyncio.run(main())
    assert bells.sleeping == bells.waiting == {}


def test_a_bell_that_has_rung_before_is_not_waited_for():
    async def main() -> None:
        bell = LoopBell(asyncio.get_running_loop())
        bell.wake()
        assert await bell.wait(None)
        await bell
        assert await LoopBell(asyncio.get_running_loop()).wait(0.001) is False

    asyncio.run(main())


def test_all_that_ask_at_once_get_the_same_bells(monkeypatch):
    """A signal handler may come between the look and the entry."""
    loop = asyncio.new_event_loop()
    real = Bells.__init__
    others: list[Bells] = []

    def slow(self: Bells, loop: Any) -> None:
        real(self, loop)
        if not others:
            others.append(self)
            others[0] = bells_of(loop)

    monkeypatch.setattr(Bells, "__init__", slow)
    assert bells_of(loop) is others[0] is bells_of(loop)
    loop.close()


# -- who wakes a loop ----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers of signals here")
@pytest.mark.parametrize("what", ["a future", "a message", "a call"])
def test_what_a_signal_handler_does_wakes_the_loop_of_the_main_thread(what):
    """It runs on top of the loop that sleeps in its selector, so only a byte in the pipe wakes that."""
    future: Future[str] = Future()
    answers: list[Any] = []

    class Asked(GenServer):
        blocking = False

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            answers.append(from_)
            return NoReply(state)

        def handle_info(self, message: Any, state: Any) -> Any:
            from_ = answers.pop()
            GenServer.reply(from_, message)
            return NoReply(state)

    async def main() -> str:
        me = process.current()
        server = Asked.start()
        acts: dict[str, tuple[Callable[[], object], Callable[[], Any]]] = {
            "a future": (lambda: future.set("value"), lambda: future),
            "a message": (lambda: me.send("value"), process.areceive),
            "a call": (lambda: server.send("value"), lambda: GenServer.acall(server, "?", timeout=None)),
        }
        act, wait = acts[what]
        signal.signal(signal.SIGALRM, lambda *_: act())
        # Real time, while the loop sleeps. Nothing else would wake it.
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        value = await wait()
        await GenServer.astop(server)
        return str(value)

    before = signal.getsignal(signal.SIGALRM)
    loop = asyncio.new_event_loop()
    slept: list[bool] = []

    def watchdog() -> None:
        slept.append(True)
        loop.call_soon_threadsafe(loop.stop)

    # No timer of the loop, which would wake it.
    timer = threading.Timer(WATCHDOG, watchdog)
    timer.start()
    try:
        assert loop.run_until_complete(main()) == "value"
        assert not slept
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGALRM, before)
        loop.close()


@pytest.mark.asyncio_loop
def test_what_a_finalizer_does_wakes_the_runtimes_loop(monkeypatch):
    """It may run on the loop's own thread, when that has decided how long to sleep."""
    from resprout.actors.runtime.loop import runtime_loop

    class Echo(GenServer):
        async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(message, state)

        async def handle_info(self, message: Any, state: Any) -> Any:
            message.send("came")
            return NoReply(state)

    pid = Echo.start()
    assert pid.call(1) == 1
    me = process.current()
    loop: Any = runtime_loop()
    real = loop._selector.select
    sent: list[bool] = []

    def select(timeout: float | None = None) -> Any:
        if not sent:
            sent.append(True)
            pid.send(me)
        return real(timeout)

    monkeypatch.setattr(loop._selector, "select", select)
    # It goes to sleep after this, and on the way there the message is sent.
    loop.call_soon_threadsafe(lambda: None)
    assert process.receive(timeout=WATCHDOG) == "came"
    monkeypatch.undo()
    pid.stop()
