"""Who blocks an event loop is told of while it does. What only development mode does is run in an interpreter
that is in that mode: this file is a program, too.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout import Application, lifespan, task_group
from resprout.actors import GenServer, Ok, Reply, process
from resprout.actors.engine import kernel, watch_loop
from resprout.actors.runtime.loop_watch import BEAT, LIMIT, NAME, BlockedLoop, LoopWatch, Misses, next_look
from resprout.supervision import Supervisor

WATCHDOG = 20.0
LOOPS = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:
    # Not made for every Python and system.
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


class Heard(logging.Handler):
    """Keeps what was told; each time there is news in `news`."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[BlockedLoop] = []
        self.texts: list[str] = []
        self.news = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        blocked = getattr(record, "blocked_loop", None)
        if blocked is not None:
            assert (record.name, record.levelno) == ("resprout", logging.WARNING)
            self.told.append(blocked)
            self.texts.append(record.getMessage())
            self.news.set()

    def block(self) -> None:
        """Blocks until that is told of."""
        self.news.clear()
        assert self.news.wait(WATCHDOG), "nobody told of it"


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler = Heard()
    logger = logging.getLogger("resprout")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def await_looks(number: int) -> None:
    """Waits until a watch has looked so often."""
    over = threading.Event()
    kernel.at(time.monotonic() + number * BEAT, over.set)
    assert over.wait(WATCHDOG)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_task_that_blocks_its_loop_is_told_of_while_it_does(heard: Heard, kind: str) -> None:
    async def blocks() -> None:
        LoopWatch(asyncio.get_running_loop()).begin()
        heard.block()

    loop = LOOPS[kind]()
    loop.run_until_complete(loop.create_task(blocks(), name="the culprit"))
    loop.close()
    [blocked] = heard.told
    assert (blocked.thread, blocked.task) == (threading.current_thread().name, "the culprit")
    assert blocked.process is None
    assert blocked.callback.function.endswith("blocks")
    assert (blocked.callback.file, blocked.callback.line) == (__file__, blocks.__code__.co_firstlineno + 2)
    assert blocked.now.function.endswith("wait")
    assert blocked.now.file == threading.__file__
    assert blocked.seconds >= LIMIT
    [text] = heard.texts
    assert f"the event loop of the thread '{blocked.thread}' has been blocked for" in text
    assert f"the task 'the culprit' is in {blocked.callback}, now at {blocked.now}" in text
    assert "heard.block()" in text
    for advice in ("asyncio.to_thread", "plain functions", "loop: own"):
        assert advice in text


@pytest.mark.parametrize("tenths_of_a_beat", range(11))
def test_what_blocks_for_an_eighth_of_a_second_is_told_of_whenever_it_begins(tenths_of_a_beat: int) -> None:
    """By a clock of the test's: the loop gives back no beat that is sent after the block has begun."""
    begin = 1.0 + BEAT * tenths_of_a_beat / 10
    misses, now, sent = Misses(), 1.0, None
    while True:
        if sent is None:
            misses.came()
            sent = now
            if now < begin:
                sent, now = None, now + BEAT
                continue
        elif misses.missed("the callback", now - sent):
            break
        now = next_look(now, sent)
    # Two turns of a thread that computes (5 ms each) before an eighth of a second.
    assert LIMIT <= now - begin <= 0.115


def test_it_is_told_of_once_and_so_is_the_next(heard: Heard) -> None:
    async def blocks_twice() -> None:
        LoopWatch(asyncio.get_running_loop()).begin()
        heard.block()
        await_looks(4)
        assert len(heard.told) == 1
        await asyncio.sleep(0)
        heard.block()

    asyncio.run(blocks_twice())
    assert len(heard.told) == 2


@pytest.mark.parametrize("kind", LOOPS)
def test_a_callback_of_no_task_is_told_of(heard: Heard, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        LoopWatch(loop).begin()
        done = loop.create_future()

        def not_a_task() -> None:
            heard.block()
            done.set_result(None)

        loop.call_soon(not_a_task)
        await done

    loop = LOOPS[kind]()
    loop.run_until_complete(main())
    loop.close()
    [blocked] = heard.told
    assert (blocked.task, blocked.process) == ("", None)
    assert blocked.callback.function.endswith("not_a_task")
    assert ": a callback is in " in heard.texts[0]


def test_a_process_is_told_of_by_its_pid_and_label(heard: Heard) -> None:
    async def main() -> Any:
        LoopWatch(asyncio.get_running_loop()).begin()
        process.register(process.current(), "greedy")
        me = process.current()
        heard.block()
        return me

    me = asyncio.run(main())
    [blocked] = heard.told
    assert blocked.process is me
    assert f": <0.{me.id} greedy> is in " in heard.texts[0]


def test_a_loop_that_waits_is_not_blocked(heard: Heard) -> None:
    async def main() -> None:
        LoopWatch(asyncio.get_running_loop()).begin()
        await asyncio.to_thread(await_looks, 5)

    asyncio.run(main())
    assert heard.told == []


def test_a_loop_that_runs_again_is_watched_again(heard: Heard) -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        LoopWatch(asyncio.get_running_loop()).begin()

    async def blocks() -> None:
        heard.block()

    loop.run_until_complete(begin())
    await_looks(5)
    loop.run_until_complete(blocks())
    loop.close()
    assert len(heard.told) == 1


def test_a_watch_keeps_no_loop_alive() -> None:
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        LoopWatch(asyncio.get_running_loop()).begin()

    loop.run_until_complete(begin())
    loop.close()
    known = weakref.ref(loop)
    del loop
    gc.collect()
    assert known() is None


def test_only_development_mode_watches() -> None:
    loop = asyncio.new_event_loop()
    watch_loop(loop)
    assert not hasattr(loop, NAME)
    loop.close()


class TestMisses:
    def test_the_same_callback_at_two_looks_is_told_when_the_time_is_over(self) -> None:
        misses = Misses()
        assert not misses.missed("a", LIMIT / 2)
        assert misses.missed("a", LIMIT)

    def test_no_time_is_too_long_for_one_look(self) -> None:
        # The machine may have slept.
        assert not Misses().missed("a", 10 * LIMIT)

    def test_many_short_callbacks_are_nobodys_fault(self) -> None:
        misses = Misses()
        assert not any(misses.missed(number, number * LIMIT) for number in range(10))

    def test_a_loop_that_is_at_nothing_waits_for_its_thread_to_run(self) -> None:
        misses = Misses()
        assert not any(misses.missed(None, number * LIMIT) for number in range(10))

    def test_it_is_told_once_a_block(self) -> None:
        misses = Misses()
        told = [misses.missed("a", number * LIMIT) for number in range(1, 6)]
        misses.came()
        assert told + [misses.missed("a", number * LIMIT) for number in range(1, 4)] == [
            *(False, True, False, False, False),
            *(False, True, False),
        ]


# -- in development mode -------------------------------------------------------------------------------------


class Greedy(GenServer):
    """Blocks the runtime's loop until that is told of."""

    async def init(self, heard: Heard) -> Ok:
        return Ok(heard)

    async def handle_call(self, message: Any, from_: Any, heard: Heard) -> Reply:
        heard.block()
        return Reply("answer", heard)


def listening() -> Heard:
    heard = Heard()
    logging.getLogger("resprout").addHandler(heard)
    return heard


def a_server_that_blocks_the_runtimes_loop() -> None:
    heard = listening()
    server = Greedy.start(heard, name="greedy")
    assert server is not None
    assert server.call("x", timeout=WATCHDOG) == "answer"
    [blocked] = heard.told
    assert (blocked.thread, blocked.process) == ("resprout-loop", server)
    assert blocked.callback.function.endswith("handle_call")
    assert blocked.callback.file == __file__


def a_coroutine_worker_that_blocks_the_runtimes_loop() -> None:
    heard = listening()

    async def worker() -> None:
        heard.block()

    pid, ref = process.spawn_monitor(worker)
    process.receive(lambda message: message.ref is ref, timeout=WATCHDOG)
    [blocked] = heard.told
    assert blocked.process is pid
    assert blocked.callback.function.endswith("worker")


def a_server_that_blocks_the_loop_in_which_it_was_started() -> None:
    heard = listening()

    async def main() -> None:
        server = await Greedy.astart(heard, name="greedy")
        assert await GenServer.acall(server, "x", timeout=WATCHDOG) == "answer"
        [blocked] = heard.told
        assert (blocked.thread, blocked.process) == ("MainThread", server)
        assert blocked.callback.function.endswith("handle_call")

    asyncio.run(main())


class Threaded(GenServer):
    """Nothing of it runs on a loop."""


CHILD = "name: app\nchildren:\n  - {throttle: spare, num_slots: 1}\n"


def the_loop_of_a_tree_without_coroutines() -> None:
    def written(folder: str) -> Application:
        path = Path(folder, "tree.yaml")
        path.write_text(CHILD, encoding="utf-8")
        return Application.load(path, socket=False)

    async def blocks(heard: Heard) -> None:
        heard.block()
        assert heard.told[-1].thread == "MainThread"

    async def started(heard: Heard) -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with written(folder):
                await blocks(heard)

    async def with_a_lifespan(heard: Heard) -> None:
        with tempfile.TemporaryDirectory() as folder:
            written(folder)
            async with lifespan(Path(folder, "tree.yaml"))(object()):
                await blocks(heard)

    async def in_a_group(heard: Heard) -> None:
        async with task_group() as group:
            await group.start_child(Threaded)
            await blocks(heard)

    async def supervised(heard: Heard) -> None:
        supervisor = await Supervisor.astart_link([Threaded], strategy="one_for_one")
        await blocks(heard)
        await Supervisor.astop(supervisor)

    heard = listening()
    for main in (started, with_a_lifespan, in_a_group, supervised):
        asyncio.run(main(heard))
    assert len(heard.told) == 4


def a_loop_of_somebody_elses_is_watched_once() -> None:
    async def main() -> tuple[object, object]:
        loop = asyncio.get_running_loop()
        watch_loop(loop)
        first = getattr(loop, NAME)
        watch_loop(loop)
        return first, getattr(loop, NAME)

    first, second = asyncio.run(main())
    assert isinstance(first, LoopWatch)
    assert first is second


PROGRAMS = [
    a_server_that_blocks_the_runtimes_loop,
    a_coroutine_worker_that_blocks_the_runtimes_loop,
    a_server_that_blocks_the_loop_in_which_it_was_started,
    the_loop_of_a_tree_without_coroutines,
    a_loop_of_somebody_elses_is_watched_once,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_in_development_mode(program: Any) -> None:
    made = subprocess.run(
        [sys.executable, "-X", "dev", __file__, program.__name__],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr


if __name__ == "__main__":
    globals()[sys.argv[1]]()
