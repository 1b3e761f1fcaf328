"""What SIGQUIT shows: every process with its state and where it is, whatever hangs."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from resprout.actors import Future, GenServer, Ok, Reply, dump_processes, process
from resprout.actors.primitives.atomic import FREE_THREADED
from resprout.actors.system.stack_dump import processes_as_text

from ...waiting import down_of

WATCHDOG = 20.0
with_stacks = pytest.mark.skipif(FREE_THREADED, reason="a look into a thread that runs may crash there")
"""Where stacks are what a test is about; what is shown without them has a test of its own."""


class Gate:
    """A message that keeps whoever handles it where it is."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened: Future[None] = Future()

    def let_go(self) -> None:
        self.opened.try_set(None)

    def stand_here(self) -> None:
        self.reached.set()
        # Not by the future, which would be a wait of the library's.
        opened = threading.Event()
        self.opened.add_done_callback(lambda _: opened.set())
        assert opened.wait(WATCHDOG)


class Pooled(GenServer):
    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_call(self, gate: Gate, from_: Any, state: Any) -> Any:
        gate.stand_here()
        return Reply("done", state)


class Inline(Pooled):
    blocking = False


class OnLoop(Pooled):
    async def handle_call(self, gate: Gate, from_: Any, state: Any) -> Any:
        await self.in_a_coroutine(gate)
        return Reply("done", state)

    async def in_a_coroutine(self, gate: Gate) -> None:
        gate.reached.set()
        await gate.opened


class Old(pykka.ThreadingActor):
    def on_receive(self, gate: Gate) -> None:
        gate.stand_here()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.let_go()


def seen() -> tuple[dict[str, str], str]:
    """What is shown of each process by its printed form, and of the threads."""
    text = processes_as_text(sys._getframe())
    assert text.endswith("== end ==\n")
    processes, _, threads = text.partition("Processes:\n")[2].partition("Threads (most")
    parts = re.split(r"^  (<0\.\d+[^\n]*>): ", processes, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)), threads


@with_stacks
@pytest.mark.parametrize("kind", [Pooled, Inline, OnLoop])
def test_a_server_is_shown_where_its_callback_is(kind: type[Pooled], gate: Gate) -> None:
    pid = kind.start(name="held up")
    caller = threading.Thread(target=pid.call, args=(gate, WATCHDOG))
    caller.start()
    assert gate.reached.wait(WATCHDOG)
    processes, _ = seen()
    shown = processes[str(pid)]
    assert shown.startswith(f"server of class {kind.__name__}, name 'held up', running, 0 in its mailbox\n")
    assert "in stand_here\n" in shown or "in in_a_coroutine\n" in shown
    assert "in <module>" not in shown, "its own part of the stack only"
    gate.let_go()
    caller.join()
    pid.stop()


@with_stacks
@pytest.mark.parametrize("stands", [True, False], ids=["runs", "waits"])
def test_a_server_is_shown_where_the_first_step_of_its_callback_is(stands: bool) -> None:
    """Which is taken inside the step of its caller."""
    shown: list[str] = []

    class Here(OnLoop):
        async def in_a_coroutine(self, gate: Any) -> None:
            if stands:
                shown.append(seen()[0][str(self.pid)])
            await gate

    async def main() -> None:
        pid = await Here.astart(name="here")
        gate = asyncio.get_running_loop().create_future()
        calling = asyncio.ensure_future(GenServer.acall(pid, gate))
        await asyncio.sleep(0)
        shown.append(seen()[0][str(pid)])
        gate.set_result(None)
        await calling

    asyncio.run(main())
    assert ("on thread" in shown[0]) is stands
    assert "its task waits:\n" in shown[-1]
    for each in shown:
        assert each.startswith("server of class Here, name 'here', running, 0 in its mailbox\n")
        assert "in in_a_coroutine\n" in each
        assert "in main\n" not in each, "its own part of the stack only"


def test_an_idle_server_is_shown_without_a_stack() -> None:
    pid = Pooled.start()
    assert seen()[0][str(pid)] == "server of class Pooled, waiting, 0 in its mailbox\n"
    pid.stop()


@pytest.mark.skipif(not FREE_THREADED, reason="elsewhere all are shown")
def test_without_a_gil_only_the_calling_thread_is_looked_into(gate: Gate) -> None:
    pid = process.spawn(gate.stand_here)
    assert gate.reached.wait(WATCHDOG)
    processes, threads = seen()
    assert processes[str(pid)].startswith("spawned, running, 0 in its mailbox")
    assert "stand_here" not in processes[str(pid)] + threads
    assert "only the calling one" in threads
    assert "in seen\n" in threads
    gate.let_go()


def test_messages_that_wait_are_counted(gate: Gate) -> None:
    pid = Pooled.start()
    pid.request(gate)
    assert gate.reached.wait(WATCHDOG)
    waiting = [pid.request(gate) for _ in range(3)]
    assert ", running, 3 in its mailbox\n" in seen()[0][str(pid)]
    gate.let_go()
    assert waiting[-1].result(WATCHDOG) == "done"
    pid.stop()


@with_stacks
def test_a_spawned_function_is_shown_where_it_is(gate: Gate) -> None:
    pid, ref = process.spawn_monitor(gate.stand_here)
    assert gate.reached.wait(WATCHDOG)
    shown = seen()[0][str(pid)]
    assert shown.startswith("spawned, running, 0 in its mailbox, started by <0.")
    assert "in stand_here\n" in shown
    gate.let_go()
    down_of(ref)


def test_a_spawned_coroutine_is_shown_where_it_waits() -> None:
    begun = threading.Event()

    async def lies_in_wait() -> None:
        begun.set()
        await process.areceive()

    pid, ref = process.spawn_monitor(lies_in_wait)
    assert begun.wait(WATCHDOG)
    while "waiting" not in (shown := seen()[0][str(pid)]):
        pass  # from the flag to the wait there is nothing to hold on to
    assert shown.startswith("coroutine, waiting, 0 in its mailbox")
    assert "in lies_in_wait\n" in shown
    process.send(pid, "go")
    down_of(ref)


@with_stacks
def test_a_thread_is_shown_with_the_processes_that_it_runs(gate: Gate) -> None:
    pid = Inline.start()
    mine: list[Any] = []

    def calls() -> None:
        mine.append(process.current())
        pid.call(gate, WATCHDOG)

    caller = threading.Thread(target=calls, name="the caller")
    caller.start()
    assert gate.reached.wait(WATCHDOG)
    processes, threads = seen()
    assert f"is thread {caller.ident} 'the caller', see there\n" in processes[str(mine[0])]
    (line,) = (line for line in threads.splitlines() if line.startswith(f"  {caller.ident} "))
    assert {str(pid), str(mine[0])} == set(line.partition(", runs ")[2].rstrip(":").split(", "))
    gate.let_go()
    caller.join()
    pid.stop()


@with_stacks
def test_who_waits_for_a_server_is_not_shown_as_running_it(gate: Gate) -> None:
    pid = Inline.start()
    first = threading.Thread(target=pid.call, args=(gate, WATCHDOG))
    first.start()
    assert gate.reached.wait(WATCHDOG)
    second = threading.Thread(target=pid.call, args=(gate, WATCHDOG))
    second.start()
    while not pid.mailbox_length():
        pass  # until its call has been sent
    assert f"on thread {first.ident} " in seen()[0][str(pid)]
    gate.let_go()
    for each in (first, second):
        each.join()
    pid.stop()


@with_stacks
def test_pykkas_actors_are_shown_and_their_inbox_is_not_waited_for(gate: Gate) -> None:
    actor: Any = Old.start()
    ref = process.monitor(actor)
    actor.tell(gate)
    assert gate.reached.wait(WATCHDOG)
    actor.tell(gate)
    with actor.actor_inbox.mutex:  # as somebody who is stuck in put() has it
        shown = seen()[0][str(ref.target)]
    assert shown.startswith("pykka, running, 1 in its mailbox\n")
    assert "in stand_here\n" in shown
    gate.let_go()
    actor.stop()


@with_stacks
def test_the_dead_whose_code_goes_on_are_shown(gate: Gate) -> None:
    pid = Pooled.start()
    pid.request(gate)
    assert gate.reached.wait(WATCHDOG)
    process.exit(pid, "kill")
    shown = seen()[0][str(pid)]
    assert "dead ('killed'), its code goes on" in shown
    assert "in stand_here\n" in shown
    gate.let_go()


@with_stacks
def test_it_is_written_at_once_and_takes_no_buffer_of_stderr(gate: Gate) -> None:
    reader, writer = os.pipe()

    class Held:
        """A stderr that somebody is stuck in: whoever wrote to it would wait, too."""

        def __getattr__(self, name: str) -> Any:
            pytest.fail(f"stderr was asked for its {name}")

    stuck = threading.Thread(target=gate.stand_here, name="stuck")
    stuck.start()
    assert gate.reached.wait(WATCHDOG)
    before, sys.stderr = sys.stderr, Held()  # type: ignore[assignment]
    try:
        dump_processes(fd=writer)
        with os.fdopen(reader) as shown:
            lines = list(iter(shown.readline, "== end ==\n"))
    finally:
        sys.stderr = before
        os.close(writer)
        gate.let_go()
        stuck.join()
    assert re.match(r"== resprout: \d+ processes, \d+ threads in program \d+ ==\n", lines[0])
    assert any("in stand_here\n" in line for line in lines)
    assert any("in test_it_is_written_at_once" in line for line in lines), "the caller's own stack, too"


def test_nobody_who_reads_holds_nobody_up() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while os.write(writer, b"x" * 65536):
            pass
    os.set_blocking(writer, True)
    dump_processes(fd=writer)  # returns, though the pipe is full
    with os.fdopen(reader, "rb") as late:
        while b"== end ==" not in late.readline():
            pass
    os.close(writer)


class Unshowable:
    """A name that makes trouble."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_one_that_cannot_be_shown_hides_nobody() -> None:
    good, odd = Pooled.start(), Pooled.start()
    odd.name = Unshowable()
    try:
        text = processes_as_text(sys._getframe())
    finally:
        odd.name = None
    assert f"{good}: server of class Pooled" in text
    assert "(it cannot be seen: RuntimeError)" in text
    good.stop()
    odd.stop()
