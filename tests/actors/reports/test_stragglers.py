"""Processes that were killed while their handler ran: dead to everybody, though the thread goes on."""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout.actors import (
    GenServer,
    Killed,
    NoReply,
    Ok,
    Pid,
    ProcessExit,
    Reply,
    ServerExit,
    Task,
    process,
    telemetry,
)
from resprout.actors.primitives.atomic import FREE_THREADED
from resprout.actors.reports import stragglers
from resprout.actors.tasks.spawned import spawn

from ...scripted import Obeys, Slot

WATCHDOG = 20.0


@pytest.fixture
def straggler(gate, kill):
    """A server that was killed while its handler stands at a gate.

    (The pid, the gate, a queue of what becomes of the handler.)
    """
    held, ended = gate(), queue.Queue()

    def start(afterwards: Any = process.current) -> tuple[Pid, Any, queue.Queue[Any]]:
        def run(server: Any) -> None:
            held()
            try:
                ended.put(afterwards())
            except BaseException as error:
                ended.put(error)
                raise

        pid = Obeys.start(name="stragglers.killed")
        pid.cast(run)
        held.await_arrival()
        kill(pid)
        return pid, held, ended

    return start


def test_a_killed_process_is_dead_at_once_though_its_handler_goes_on(straggler):
    pid, held, _ = straggler()
    assert not pid.alive
    assert not pid.left
    assert process.whereis("stragglers.killed") is None
    assert pid not in process.processes()
    assert process.info(pid) is None
    held.open()


def test_it_is_listed_with_its_reason_and_stack_until_its_handler_has_left(straggler):
    slot = Slot()
    pid, held, _ = straggler()
    pid.attach(slot)
    (listed,) = process.stragglers()
    assert (listed.pid, listed.reason) == (pid, "killed")
    assert listed.seconds >= 0
    if FREE_THREADED:
        # A look into the frames of a thread that runs may crash the interpreter.
        assert listed.stack == ()
    else:
        assert any("held()" in line for line in listed.stack)
    held.open()
    assert slot.ended("killed")
    assert process.stragglers() == []
    assert pid.left


@pytest.mark.parametrize(
    "call",
    [
        process.current,
        lambda: process.send("anybody", 1),
        lambda: process.receive(timeout=0),
        lambda: process.sleep(0),
        lambda: process.spawn_link(print),
        lambda: process.monitor("anybody"),
        lambda: GenServer.call("stragglers.other", 1),
        lambda: GenServer.cast("stragglers.other", 1),
        lambda: process.exit("stragglers.other", "kill"),
        lambda: process.whereis("stragglers.other").send(1),
    ],
)
def test_its_code_meets_killed_at_its_next_call(straggler, call, kill):
    other = Obeys.start(name="stragglers.other")
    _, held, ended = straggler(call)
    held.open()
    assert isinstance(ended.get(timeout=WATCHDOG), Killed)
    assert other.alive
    kill(other)


def test_except_exception_does_not_keep_it_going(straggler):
    def stubborn() -> str:
        try:
            process.current()
        except Exception:
            return "went on"
        return "never knew"

    _, held, ended = straggler(stubborn)
    held.open()
    assert isinstance(ended.get(timeout=WATCHDOG), Killed)


def test_what_its_handler_returns_is_thrown_away(gate, kill):
    held = gate()

    def wait(server: Any) -> str:
        held()
        return "too late"

    pid = Obeys.start()
    asked = GenServer.send_request(pid, wait)
    held.await_arrival()
    kill(pid)
    with pytest.raises(ServerExit) as caught:
        asked.result(WATCHDOG)
    assert caught.value.reason == "killed"
    slot = Slot()
    pid.attach(slot)
    held.open()
    assert slot.ended("killed")
    assert asked.exception().reason == "killed"


def test_an_exception_of_its_handler_is_not_reported(gate, kill, crashes):
    held = gate()

    def fail(server: Any) -> None:
        held()
        raise ValueError("nobody cares any more")

    pid = Obeys.start()
    pid.cast(fail)
    held.await_arrival()
    kill(pid)
    slot = Slot()
    pid.attach(slot)
    held.open()
    assert slot.ended("killed")
    assert crashes() == []
    assert pid.exit_reason == "killed"


def test_a_call_that_it_waits_in_ends_with_killed(gate, kill):
    held, ended = gate(), queue.Queue()
    other = Obeys.start()

    def ask(server: Any) -> None:
        entered.set()
        try:
            other.call(lambda server: held(), timeout=None)
        except BaseException as error:
            ended.put(error)
            raise

    entered = threading.Event()
    pid = Obeys.start()
    pid.cast(ask)
    held.await_arrival()
    kill(pid)
    assert isinstance(ended.get(timeout=WATCHDOG), Killed)
    held.open()
    assert other.call("alive") == "alive"
    kill(other)


def test_it_delays_nobody(straggler):
    """Its name, and a successor with that name, are there at once."""
    _, held, _ = straggler()
    successor = Obeys.start(name="stragglers.killed")
    assert successor.call("here") == "here"
    held.open()
    successor.stop()


def test_it_is_told_to_telemetry_once_and_an_ordinary_end_is_not(straggler):
    seen: list[object] = []
    telemetry.attach(
        "stragglers", ("resprout", "process", "straggling"), lambda *event: seen.append(event[2]["pid"])
    )
    try:
        ordinary = Obeys.start()
        ordinary.stop()
        crashing = Obeys.start()
        # Without a GIL its thread may not have come out of its init, and would be a straggler for a moment.
        while process.info(crashing).status != "waiting":
            pass
        process.exit(crashing, "idle")
        pid, held, _ = straggler()
        assert seen == [pid]
        held.open()
    finally:
        telemetry.detach("stragglers")


# -- attached resources -------------------------------------------------------------------------


def test_a_resource_is_told_of_the_death_at_once_and_of_the_leaving_later(gate, kill):
    held, slot = gate(), Slot()
    pid = Obeys.start()
    pid.attach(slot)
    pid.cast(lambda server: held())
    held.await_arrival()
    kill(pid)
    assert slot.so_far == [("died", "killed")]
    held.open()
    assert slot.ended("killed")


def test_a_resource_of_an_idle_process_is_told_both_at_once(way, kill):
    slot = Slot()
    pid = way(Obeys).start()
    pid.call("barrier")
    pid.attach(slot)
    kill(pid, "enough")
    assert slot.ended("enough")


def test_a_resource_attached_to_the_dead_is_told_at_once(way, kill):
    pid = way(Obeys).start()
    kill(pid)
    slot = Slot()
    pid.attach(slot)
    assert slot.ended("killed")


def test_a_resource_attached_to_a_straggler_is_told_of_the_leaving_when_it_leaves(straggler):
    pid, held, _ = straggler()
    slot = Slot()
    pid.attach(slot)
    assert slot.so_far == [("died", "killed")]
    held.open()
    assert slot.ended("killed")


def test_a_resource_is_attached_once_and_can_be_detached(kill):
    class Quick(Obeys):
        blocking = False

    twice, gone = Slot(), Slot()
    pid = Quick.start()
    pid.attach(twice)
    pid.attach(twice)
    pid.attach(gone)
    pid.detach(gone)
    kill(pid)
    assert twice.so_far == [("died", "killed"), ("left", None)]
    assert gone.so_far == []


def test_a_resource_is_told_before_links_monitors_and_telemetry(kill):
    order: list[str] = []

    class Noting(Slot):
        def owner_died(self, pid: Pid, reason: object) -> None:
            order.append("resource")

    class Watcher(GenServer):
        blocking = False
        trap_exit = True

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            process.link(message)
            process.monitor(message)
            return Reply(0, state)

        def handle_info(self, message: Any, state: Any) -> Any:
            order.append(type(message).__name__)
            return NoReply(state)

    pid, watcher = Obeys.start(), Watcher.start()
    watcher.call(pid)
    pid.attach(Noting())
    telemetry.attach(
        "stragglers.order", ("resprout", "process", "exited"), lambda *event: order.append("exited")
    )
    try:
        kill(pid)
    finally:
        telemetry.detach("stragglers.order")
    assert order[:2] == ["resource", "exited"]
    assert sorted(order[2:]) == ["Down", "Exited"]
    kill(watcher)


@pytest.mark.parametrize("kind", ["attach first", "die first"])
def test_a_resource_attached_at_any_moment_of_a_death_is_told_each_once_and_in_order(kind, at_every_line):
    class Quick(Obeys):
        blocking = False

    def a_round() -> Any:
        pid, slot = Quick.start(), Slot()

        def check() -> None:
            assert slot.ended("killed")

        actions = (lambda: process.exit(pid, "kill"), lambda: pid.attach(slot))
        return (*(actions if kind == "die first" else actions[::-1]), check)

    at_every_line(a_round)


def test_a_departure_at_any_moment_of_a_death_is_told_in_order(at_every_line):
    """The handler comes to its end while the kill is being carried out."""

    def a_round() -> Any:
        pid, slot, there, go = Obeys.start(), Slot(), threading.Event(), threading.Event()

        def wait(server: Any) -> None:
            there.set()
            assert go.wait(WATCHDOG)

        pid.attach(slot)
        pid.cast(wait)
        assert there.wait(WATCHDOG)

        def check() -> None:
            assert slot.ended("killed")

        return lambda: process.exit(pid, "kill"), go.set, check

    at_every_line(a_round)


def test_a_non_blocking_process_dies_between_two_messages(gate):
    """Its handler is never a straggler: whoever drains it carries the death out."""
    held, slot = gate(), Slot()

    class Quick(GenServer):
        blocking = False

        def init(self, arg: Any) -> Any:
            return Ok(arg)

        def handle_cast(self, message: Any, state: Any) -> Any:
            held()
            state.append(self.pid.alive)
            return NoReply(state)

    state: list[bool] = []
    pid = Quick.start(state)
    pid.attach(slot)
    draining = threading.Thread(target=pid.cast, args=("work",))
    draining.start()
    held.await_arrival()
    process.exit(pid, "kill")
    assert slot.so_far == []
    held.open()
    draining.join(WATCHDOG)
    assert slot.ended("killed")
    assert state == [True]


def test_a_straggler_that_retries_whatever_process_is_gone_ends_at_its_first_try(straggler) -> None:
    tries: list[int] = []

    def retry() -> None:
        while len(tries) < 1000:
            tries.append(1)
            try:
                GenServer.call("stragglers.nobody", "anybody?")
            except ProcessExit:
                pass

    _, held, ended = straggler(retry)
    held.open()
    assert isinstance(ended.get(timeout=WATCHDOG), Killed)
    assert len(tries) == 1


def test_what_a_task_returns_that_was_killed_meanwhile_reaches_nobody(gate) -> None:
    held, over = gate(), threading.Event()

    class Late:
        def __del__(self) -> None:
            over.set()

    def work() -> object:
        held()
        return Late()

    process.trap_exit(True)
    task = Task.async_(work)
    held.await_arrival()
    process.exit(task.pid, "kill")
    with pytest.raises(ServerExit):
        Task.await_(task, WATCHDOG)
    held.open()
    assert over.wait(WATCHDOG), "somebody has it"
    assert process.receive(timeout=WATCHDOG).reason == "killed"  # of the link
    process.trap_exit(False)


def test_a_handler_of_the_exited_event_may_look_around_on_the_thread_of_the_dead() -> None:
    seen: queue.Queue[object] = queue.Queue()

    def look(event: object, measurements: object, metadata: Any) -> None:
        if metadata["name"] == "stragglers.looked":
            seen.put((process.whereis("stragglers.looked"), process.alive(metadata["pid"])))

    telemetry.attach("look", ("resprout", "process", "exited"), look)
    try:
        Obeys.start(name="stragglers.looked").stop()
        assert seen.get(timeout=WATCHDOG) == (None, False)
    finally:
        telemetry.detach("look")


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def read_while_python_runs(connection: socket.socket) -> bytes:
    """Read from a connection, but never sleep in the system for long.

    Without a GIL, what another thread drops is closed by the thread that made it: this one, between two steps
    of Python.
    """
    connection.settimeout(0.05 if FREE_THREADED else WATCHDOG)
    until = time.monotonic() + WATCHDOG
    while True:
        try:
            return connection.recv(1)
        except TimeoutError:
            if time.monotonic() > until:
                raise


def meets_its_death() -> None:
    process.current()


def fails() -> None:
    raise ValueError("boom")


def fails_because_of_its_death() -> None:
    try:
        process.current()
    except BaseException as death:
        raise RuntimeError("boom") from death


def returns() -> None:
    """Nothing more comes."""


ENDS = (meets_its_death, fails, fails_because_of_its_death, returns)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["function", "coroutine", "server", "task"])
def test_what_a_straggler_had_open_is_closed_at_its_end_without_a_collection(
    kind: str, end: Callable[[], None], gate, kill, no_collections: None
) -> None:
    ours, theirs = socket.socketpair()
    held = gate()

    def serve(connection: socket.socket) -> None:
        held()
        end()
        connection.fileno()

    async def serve_in_a_loop(connection: socket.socket) -> None:
        arrived = asyncio.get_running_loop().run_in_executor(None, held)
        while not arrived.done():
            try:
                await asyncio.shield(arrived)
            except asyncio.CancelledError:
                continue
        end()
        connection.fileno()

    match kind:
        case "function":
            pid = process.spawn(serve, theirs)
        case "coroutine":
            pid = process.spawn(serve_in_a_loop, theirs)
        case "task":
            pid = Task.start(serve, theirs)
        case _:
            pid = Obeys.start()
            # Out of the message, which the server's own frames have.
            box = [theirs]
            pid.cast(lambda server: serve(box.pop()))
    del theirs
    held.await_arrival()
    kill(pid)
    held.open()
    assert read_while_python_runs(ours) == b""
    ours.close()


# (Without a GIL another thread than the test's may close it, which goes by the filters of its own start.)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_crashed_function_had_open_is_closed_when_nobody_has_its_pid(
    no_collections: None, caplog: pytest.LogCaptureFixture
) -> None:
    # What pytest captures of the report would keep its traceback.
    caplog.set_level(logging.CRITICAL, "resprout")
    ours, theirs = socket.socketpair()

    def serve(connection: socket.socket) -> None:
        raise ValueError("boom")

    process.spawn(serve, theirs)
    del theirs
    assert read_while_python_runs(ours) == b""
    ours.close()


def test_an_error_that_somebody_keeps_does_not_keep_the_process_of_an_ended_thread() -> None:
    kept: list[ServerExit] = []
    mine: list[Pid] = []

    def body() -> None:
        process.exit(process.current(), "boom")
        try:
            process.whereis("nobody")
        except ServerExit as error:
            kept.append(error)
        mine.append(process.current())
        process.register(mine[0], "stragglers.thread")

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    process.trap_exit(True)
    process.monitor(mine[0])
    assert process.receive(timeout=WATCHDOG).pid is mine[0]
    process.trap_exit(False)
    assert process.whereis("stragglers.thread") is None


# -- coroutines ---------------------------------------------------------------------------------


class Swallows(GenServer):
    """Awaits what it is given, whatever becomes of it."""

    async def handle_cast(self, message: Any, state: Any) -> NoReply:
        await message()
        return NoReply(state)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[queue.Queue[Any]]:
    """The stragglers of which telemetry is told; soon."""
    monkeypatch.setattr("resprout.actors.servers.on_loop.SOON", 0.001)
    monkeypatch.setattr("resprout.actors.tasks.spawned.SOON", 0.001)
    monkeypatch.setattr("resprout.actors.reports.stragglers.PATIENCE", 0.002)
    told: queue.Queue[Any] = queue.Queue()
    telemetry.attach(
        "coroutines", ("resprout", "process", "straggling"), lambda *event: told.put(event[2]["pid"])
    )
    yield told
    telemetry.detach("coroutines")


class Reported(logging.Handler):
    """What the runtime warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: queue.Queue[str] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.put(record.getMessage())


@pytest.fixture
def reported() -> Iterator[Reported]:
    handler = Reported()
    logging.getLogger("resprout").addHandler(handler)
    yield handler
    logging.getLogger("resprout").removeHandler(handler)


async def start(kind: str, where: Any, work: Callable[[], Any]) -> Pid:
    if kind == "coroutine":
        return spawn(work, (), where=where)[0]
    pid = await type("Server", (Swallows,), {"loop": where}).astart()
    (GenServer.acast if kind == "server, at once" else GenServer.cast)(pid, work)
    return pid


@pytest.mark.parametrize("where", ["here", "runtime"])
@pytest.mark.parametrize("kind", ["server", "server, at once", "coroutine"])
def test_a_coroutine_that_swallows_its_cancellation_is_one(
    kind: str, where: str, heard: queue.Queue[Any], reported: Reported
) -> None:
    began, stop = threading.Event(), threading.Event()
    met: list[BaseException] = []

    async def swallow() -> None:
        began.set()
        while not stop.is_set():
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                continue
        try:
            process.current()
        except BaseException as error:
            met.append(error)
            raise

    async def main() -> None:
        pid = await start(kind, where, swallow)
        assert await asyncio.to_thread(began.wait, WATCHDOG)
        process.exit(pid, "kill")
        assert not pid.left
        assert await asyncio.to_thread(heard.get, timeout=WATCHDOG) is pid
        text = await asyncio.to_thread(reported.texts.get, timeout=WATCHDOG)
        assert f"{pid} was killed ('killed') 0.002 s ago, but its handler goes on:" in text
        assert "in swallow" in text
        (listed,) = process.stragglers()
        assert (listed.pid, listed.reason) == (pid, "killed")
        assert any("in swallow" in line for line in listed.stack)
        stop.set()
        while not pid.left:
            await asyncio.sleep(0)
        assert process.stragglers() == []

    asyncio.run(main())
    assert isinstance(met[0], Killed)


@pytest.mark.parametrize("kind", ["server", "coroutine"])
def test_a_coroutine_that_ends_with_its_cancellation_is_none_for_telemetry(
    kind: str, heard: queue.Queue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("servers.on_loop", "tasks.spawned"):
        monkeypatch.setattr(f"resprout.actors.{module}.SOON", 10 * WATCHDOG)

    async def main() -> None:
        arrived = asyncio.Event()

        async def wait() -> None:
            arrived.set()
            await asyncio.Event().wait()

        pid = await start(kind, "here", wait)
        await arrived.wait()
        process.exit(pid, "kill")
        while not pid.left:
            await asyncio.sleep(0)
        assert process.stragglers() == []
        # As when the time is over.
        stragglers._Tell(pid).run(None)

    asyncio.run(main())
    assert heard.empty()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a test itself has stragglers told of and reported."""
    for module in ("servers.on_loop", "tasks.spawned"):
        monkeypatch.setattr(f"resprout.actors.{module}.SOON", 10 * WATCHDOG)
    monkeypatch.setattr(stragglers, "PATIENCE", 10 * WATCHDOG)
    monkeypatch.setattr(stragglers, "_since", {})
    monkeypatch.setattr(stragglers, "_unseen", deque())
    monkeypatch.setattr(stragglers, "_at_rest", [])


def test_many_are_reported_together_and_each_is_looked_at_by_itself(
    later: None, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Pid] = []
    goes_on = stragglers._goes_on
    monkeypatch.setattr(stragglers, "_goes_on", lambda pid: looked.append(pid) or goes_on(pid))

    async def main() -> None:
        stop = asyncio.Event()

        async def swallow() -> None:
            while not stop.is_set():
                try:
                    await stop.wait()
                except asyncio.CancelledError:
                    continue

        pids = [spawn(swallow, ())[0] for _ in range(20)]
        await asyncio.sleep(0)
        for pid in pids:
            process.exit(pid, "kill")
        for pid in pids:
            stragglers._Tell(pid).run(None)
        assert looked == pids
        monkeypatch.setattr(stragglers, "PATIENCE", 0.0)
        stragglers._Report().run(None)
        monkeypatch.setattr(stragglers, "PATIENCE", 10 * WATCHDOG)
        texts = [reported.texts.get_nowait() for _ in range(stragglers.SHOWN + 1)]
        assert reported.texts.empty()
        for pid, text in zip(pids, texts[:-1], strict=False):
            assert text.startswith(f"{pid} was killed ('killed')")
        assert texts[-1].startswith(f"{20 - stragglers.SHOWN} more were killed")
        assert str(pids[stragglers.SHOWN]) in texts[-1]
        stragglers._Report().run(None)
        assert reported.texts.empty()
        stop.set()
        while not all(pid.left for pid in pids):
            await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("server", "servers.on_loop"),
        ("coroutine", "tasks.spawned"),
        ("thread", "tasks.spawned"),
        ("server with a thread", "servers.pooled"),
    ],
)
def test_one_that_leaves_while_it_is_noted_is_not_kept(
    kind: str, module: str, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: queue.Queue[Any] = queue.Queue()

    def note(pid: Any) -> None:
        """At the latest moment."""
        stragglers.caught_up(pid)
        stragglers.straggles(pid)
        noted.put(pid)

    monkeypatch.setattr(f"resprout.actors.{module}.caught_up", note)

    async def main() -> None:
        if kind in ("server", "coroutine"):
            pid = await start(kind, "here", lambda: asyncio.Event().wait())
        else:
            pid = spawn(list, ())[0] if kind == "thread" else await Obeys.astart()
        process.exit(pid, "kill")
        assert await asyncio.to_thread(noted.get, timeout=WATCHDOG) is pid

    asyncio.run(main())
    assert stragglers._since == {}


def test_a_callback_that_blocks_its_loop_is_one_with_its_stack() -> None:
    held, began = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        assert held.wait(WATCHDOG)

    pid = Swallows.start()
    pid.cast(block)
    assert began.wait(WATCHDOG)
    process.exit(pid, "kill")
    (listed,) = process.stragglers()
    assert listed.pid is pid
    if not FREE_THREADED:
        assert any("held.wait(WATCHDOG)" in line for line in listed.stack)
    held.set()


@pytest.mark.parametrize("kind", ["server", "coroutine"])
def test_one_whose_loop_does_not_run_is_none_and_leaves_with_the_loop(kind: str) -> None:
    loop, slot = asyncio.new_event_loop(), Slot()

    async def main() -> Pid:
        arrived = asyncio.Event()

        async def wait() -> None:
            arrived.set()
            await asyncio.Event().wait()

        pid = await start(kind, "here", wait)
        pid.attach(slot)
        await arrived.wait()
        return pid

    pid = loop.run_until_complete(main())
    process.exit(pid, "kill")
    assert slot.so_far == [("died", "killed")]
    assert process.stragglers() == []
    loop.close()
    assert slot.ended("killed")
    assert pid.left
