"""A message that a server of the library does not know ends nobody.

Every kind of message is sent in every way to every kind of process that the library starts.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import attrs
import httpx
import pytest
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from resprout import (
    Agent,
    Application,
    ChildSpec,
    Crash,
    Down,
    DynamicSupervisor,
    Exited,
    GenServer,
    NoReply,
    PartitionSupervisor,
    Pid,
    Registry,
    ServerExit,
    Supervisor,
    Task,
    TaskSupervisor,
    UnknownMessage,
    Via,
    process,
    throttle,
)
from resprout import sys as sys_
from resprout.supervision.trees.asgi import AsgiOptions, AsgiServer
from resprout.supervision.trees.listener import Listener

from .waiting import down_of

WATCHDOG = 20.0
LOCK = "strays.lock"


@attrs.frozen
class Note:
    text: str


class Text(str):
    __slots__ = ()


class Envelope:
    """Looks like what Pykka and resprout put into mailboxes."""

    def __init__(self) -> None:
        self.message = "inside"
        self.reply_to: Any = None
        self.ref = self.pid = self


class Touchy:
    """Can be neither shown, nor compared, nor hashed."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = None  # type: ignore[assignment]


MESSAGES: dict[str, Any] = {
    "None": None,
    "an int": 7,
    "a str": "normal",
    "bytes": b"\0bytes",
    "a dict": {"id": 1},
    "a tuple": ("stop", "now"),
    "an object": object(),
    "an exception": ValueError("boom"),
    "a Down": Down(None, None, "killed"),  # type: ignore[arg-type]
    "a Down of something": Down([], {}, "killed"),  # type: ignore[arg-type]
    "an Exited": Exited(None, "killed"),  # type: ignore[arg-type]
    "an Exited of something": Exited([], "killed"),  # type: ignore[arg-type]
    "an attrs instance": Note("hello"),
    "a lambda": lambda: None,
    "a very large list": list(range(1_000_000)),
    "a str subclass": Text("shutdown"),
    "a class": Note,
    "a ProxyCall": ProxyCall(attr_path=("stop",), args=(), kwargs={}),
    "a ProxyGetAttr": ProxyGetAttr(attr_path=("siblings",)),
    "a ProxySetAttr": ProxySetAttr(attr_path=("siblings",), value=None),
    "an envelope": Envelope(),
    "a touchy one": Touchy(),
}
WAYS: dict[str, Callable[[Pid, Any], object]] = {
    "send": lambda pid, message: pid.send(message),
    "cast": GenServer.cast,
    "call": lambda pid, message: GenServer.call(pid, message, timeout=WATCHDOG),
    "tell": lambda pid, message: pid.tell(message),
    "an exit signal": lambda pid, message: process.exit(pid, "normal"),
}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


class House:
    """One of each kind of process that the library starts, as children of a supervisor."""

    def __init__(self, folder: Path) -> None:
        self.listener = Listener("127.0.0.1", 0)
        self.go = threading.Event()
        throttle.new(LOCK, 2)
        self.worker = throttle.execute(LOCK, process.current).result(WATCHDOG)
        self.supervisor = Supervisor.start_link(
            [
                (Registry, {"keys": "unique", "name": "strays.registry"}),
                ChildSpec("agent", (Agent.start_link, (lambda: 0,), {"name": "strays.agent"})),
                ChildSpec("dynamic", (DynamicSupervisor.start_link, (), {"name": "strays.dynamic"})),
                (PartitionSupervisor, {"child_spec": TaskSupervisor, "name": "strays.partitions"}),
                ChildSpec("tasks", (TaskSupervisor.start_link, ("strays.tasks",), {})),
                ChildSpec("task", (Task.start_link, (self.go.wait, WATCHDOG), {}), restart="temporary"),
                ChildSpec("web", (AsgiServer.start_link, (AsgiOptions(hello, self.listener),), {})),
            ],
            max_restarts=0,
        )
        tree = folder / "tree.yaml"
        tree.write_text("name: strays\nchildren:\n  - {registry: strays.tree, keys: unique}\n")
        self.application = Application.load(tree)
        self.application.start()

    def pids(self) -> dict[str, Pid]:
        """Every one of them, by what it is."""
        named = {
            "lock": LOCK,
            "registry": "strays.registry",
            "agent": "strays.agent",
            "dynamic supervisor": "strays.dynamic",
            "partition supervisor": "strays.partitions",
            "partition": Via(PartitionSupervisor, ("strays.partitions", 0)),
            "task supervisor": "strays.tasks",
            "root of throttle": "resprout.throttle",
            "supervisor of locks": "resprout.throttle.locks",
            "supervisor of workers": "resprout.throttle.workers",
        }
        found: dict[str, Any] = {what: process.whereis(name) for what, name in named.items()}
        children = {child.id: child.pid for child in Supervisor.which_children(self.supervisor)}
        found |= {"task": children["task"], "web server": children["web"], "supervisor": self.supervisor}
        found |= {"root": self.application.root, "master": self.application.root.parent}  # type: ignore[union-attr]
        found |= {"slot worker": self.worker}
        return found

    def serves(self) -> None:
        """All of it still does what it is for."""
        assert throttle.run(LOCK, lambda: "ran") == "ran"
        # Both workers, so the one that got the messages as well.
        gate = threading.Barrier(2)
        jobs = [throttle.execute(LOCK, gate.wait, WATCHDOG) for _ in range(2)]
        assert sorted(job.result(WATCHDOG) for job in jobs) == [0, 1]
        assert process.alive(throttle.new(f"{LOCK}.2", 1))
        throttle.stop_lock(f"{LOCK}.2")
        me = Registry.register("strays.registry", "key")
        assert Registry.whereis("strays.registry", "key") is me
        Registry.unregister("strays.registry", "key")
        assert Agent.get("strays.agent", lambda state: state) == 0
        for name in ("strays.dynamic", Via(PartitionSupervisor, ("strays.partitions", 0)), "strays.tasks"):
            child = DynamicSupervisor.start_child(name, ChildSpec("child", (Agent.start_link, (int,), {})))
            DynamicSupervisor.terminate_child(name, child)
        host, port = AsgiServer.address(self.pids()["web server"])
        assert httpx.get(f"http://{host}:{port}").text == "hello"
        assert [child.id for child in Supervisor.which_children(self.application.root)] == ["strays.tree"]

    def stop(self) -> None:
        """Stop what it has started."""
        self.go.set()
        self.application.stop()
        Supervisor.stop(self.supervisor)
        throttle.stop_lock(LOCK)
        self.listener.close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = process.trap_exit(True)
    made = House(tmp_path)
    yield made
    made.stop()
    process.trap_exit(before)


def by_another(send: Callable[[], object]) -> BaseException | None:
    """Send something from a process that is nobody's parent; what that raised."""
    raised: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            send()
        except Exception as error:
            raised.put(error)
        else:
            raised.put(None)

    process.spawn(run)
    return raised.get(timeout=WATCHDOG)


@pytest.mark.parametrize("way", WAYS)
def test_everything_survives_every_message(house: House, way: str) -> None:
    before = house.pids()
    wrong = []
    for what, pid in before.items():
        for name, message in MESSAGES.items():
            error = by_another(lambda: WAYS[way](pid, message))  # noqa: B023  # done at once
            if what == "task":
                # It reads its mailbox itself, so it takes messages and nothing else.
                expected: Any = TypeError if way in ("call", "cast", "tell") else None
            else:
                expected = UnknownMessage if way == "call" else None
            if not (error is None if expected is None else isinstance(error, expected)):
                wrong.append(f"{name} to the {what}: {error!r}")
            if pid.dead:
                wrong.append(f"{name} to the {what}: it ended with {pid.exit_reason!r}")
                break
    assert not wrong, "\n".join(wrong)
    assert house.pids() == before
    house.serves()
    assert house.pids() == before


def test_an_exit_signal_of_anything_is_a_message_to_who_traps_exits(
    house: House,
) -> None:
    before = house.pids()
    traps = {what: pid for what, pid in before.items() if pid.trap_exit}
    assert set(before) - set(traps) == {"lock", "agent", "task", "slot worker"}
    for pid in traps.values():
        for message in MESSAGES.values():
            by_another(lambda: process.exit(pid, message))  # noqa: B023  # done at once
    after = house.pids()
    assert {what: after[what] for what in traps} == traps
    house.serves()


def test_a_lock_that_an_exit_signal_ends_is_brought_back(house: House) -> None:
    before = house.pids()
    grant = throttle.acquire(LOCK)
    process.exit(before["lock"], Note("go"))
    assert before["lock"].exit_reason == Note("go")
    Supervisor.which_children("resprout.throttle.locks")
    assert house.pids()["lock"].alive
    assert [holder.token for holder in throttle.holders(LOCK)] == [grant.token]
    throttle.release(LOCK)
    house.serves()


@pytest.mark.parametrize("ask", ["call", "acall", "send_request", "ask", "proxy"])
def test_the_caller_is_told_what_it_has_called_and_what_to_use_instead(house: House, ask: str) -> None:
    lock = house.pids()["lock"]
    asks: dict[str, Callable[[], object]] = {
        "call": lambda: lock.call(("acquire", 1)),
        "acall": lambda: asyncio.run(GenServer.acall(lock, ("acquire", 1))),  # type: ignore[arg-type]
        "send_request": lambda: GenServer.send_request(lock, ("acquire", 1)).result(WATCHDOG),
        "ask": lambda: lock.ask(("acquire", 1)),
        "proxy": lambda: lock.proxy().pid.get(timeout=WATCHDOG),
    }
    text = r"strays\.lock> is the process of a lock, which answers no such call: .*; use .*resprout\.throttle"
    with pytest.raises(UnknownMessage, match=text):
        asks[ask]()


def test_a_stray_is_logged_once_for_each_process_and_type(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    pids = house.pids()
    with caplog.at_level(logging.WARNING, "resprout"):
        for what in ("lock", "supervisor"):
            for _ in range(3):
                pids[what].send(17)
                pids[what].cast(17)
            pids[what].cast(Note("large" * 1000))
        # It runs by itself, and answers when it is through with what came before.
        Supervisor.which_children(house.supervisor)
    told = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert [record.levelname for record in caplog.records if "does not know" in record.getMessage()] == [
        "WARNING"
    ] * 4
    assert [
        (str(pids[what]) in line, " int " in line)
        for what, line in zip(("lock", "lock", "supervisor", "supervisor"), told, strict=True)
    ] == [(True, True), (True, False), (True, True), (True, False)]
    assert max(map(len, told)) < 400


def test_a_slot_worker_answers_also_while_it_never_runs_out_of_jobs() -> None:
    over = threading.Event()
    ran: SimpleQueue[Pid] = SimpleQueue()
    last: SimpleQueue[Any] = SimpleQueue()

    def job() -> None:
        if ran.qsize() < 100:
            ran.put(process.current())
        # The next one is in the line before this one is through.
        last.put(None if over.is_set() else throttle.execute(LOCK, job))

    throttle.new(LOCK, 1)
    throttle.execute(LOCK, job)
    worker = ran.get(timeout=WATCHDOG)
    with pytest.raises(UnknownMessage, match="slot worker"):
        worker.call("what?", timeout=WATCHDOG)
    assert sys_.get_state(worker, timeout=WATCHDOG).pid is worker
    over.set()
    while (future := last.get(timeout=WATCHDOG)) is not None:
        future.result(WATCHDOG)
    assert throttle.execute(LOCK, process.current).result(WATCHDOG) is worker
    throttle.stop_lock(LOCK)


def test_a_supervisor_that_waits_for_a_child_to_end_is_not_confused_by_a_hand_made_down() -> None:
    """They lie in its mailbox while it looks for the right one."""
    stopping, go = threading.Event(), threading.Event()

    class Lingering(GenServer):
        trap_exit = True

        def terminate(self, reason: Any, state: Any) -> None:
            stopping.set()
            go.wait(WATCHDOG)

    process.trap_exit(True)
    supervisor = Supervisor.start_link([Lingering])
    stop = threading.Thread(target=Supervisor.terminate_child, args=(supervisor, "Lingering"))
    stop.start()
    assert stopping.wait(WATCHDOG)
    for message in MESSAGES.values():
        supervisor.send(message)
    go.set()
    stop.join(WATCHDOG)
    assert [child.pid for child in Supervisor.which_children(supervisor)] == [None]
    Supervisor.stop(supervisor)


def test_a_supervisor_does_not_take_the_living_for_dead() -> None:
    process.trap_exit(True)
    supervisor = Supervisor.start_link([(Agent, int)])
    (child,) = Supervisor.which_children(supervisor)
    assert isinstance(child.pid, Pid)
    supervisor.send(Exited(child.pid, "boom"))
    Agent.get(child.pid, lambda state: process.exit(supervisor, "boom"))
    assert Supervisor.which_children(supervisor) == [child]
    Supervisor.stop(supervisor)


@pytest.mark.parametrize("way", ["call", "cast"])
def test_a_server_of_your_own_still_crashes_of_what_it_does_not_know(way: str) -> None:
    class Mine(GenServer):
        pass

    pid = Mine.start()
    ref = process.monitor(pid)
    if way == "cast":
        pid.cast("what?")
    else:
        with pytest.raises(ServerExit, match="defines no handle_call"):
            pid.call("what?")
    down = down_of(ref)
    assert isinstance(down.reason, Crash)


def test_an_agent_of_your_own_handles_what_it_knows_and_leaves_the_rest() -> None:
    heard: SimpleQueue[Any] = SimpleQueue()

    class Mine(Agent):
        def handle_info(self, message: Any, state: Any) -> Any:
            if message == "known":
                heard.put(state)
                return NoReply(state)
            return super().handle_info(message, state)

    pid = Mine.start(lambda: 1)
    pid.send("unknown")
    pid.send("known")
    assert heard.get(timeout=WATCHDOG) == 1
    Agent.stop(pid)


def test_a_hand_made_exited_of_nobody_does_not_end_a_server_without_a_parent() -> None:
    class Mine(GenServer):
        trap_exit = True

        def handle_info(self, message: Any, state: Any) -> Any:
            heard.put(message)
            return NoReply(state)

    heard: SimpleQueue[Any] = SimpleQueue()
    pid = Mine.start()
    message = Exited(None, "boom")  # type: ignore[arg-type]
    pid.send(message)
    assert heard.get(timeout=WATCHDOG) is message
    assert pid.alive
    GenServer.stop(pid)
