"""A placed child's life: what it is found by, how it starts, ends and comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from placed_servers import (
    Async,
    Echo,
    LocalError,
    Quick,
    Readies,
    Refuses,
    Stubborn,
    Traps,
    start_function,
    starts_nothing,
    works,
)

from resprout import cluster, throttle
from resprout.actors import (
    BRUTAL_KILL,
    AlreadyStarted,
    ChildSpec,
    ConfigError,
    Crash,
    Exited,
    GenServer,
    Pid,
    ServerExit,
    Shutdown,
    SpecError,
    StartError,
    Task,
    child_spec,
    process,
    sys,
)
from resprout.registry import Registry, Via
from resprout.stages import Producer
from resprout.supervision import Application, DynamicSupervisor, NotReady, Supervisor

from ...waiting import WATCHDOG, down_of, until
from .conftest import os_pid, reason_after

Placed = Callable[..., Pid]


def test_a_placed_server_answers_from_another_os_process(placed: Placed) -> None:
    pid = placed(Echo)
    assert GenServer.call("placed", {"a": [1, 2]}) == {"a": [1, 2]}
    assert os_pid(pid) != os.getpid()
    GenServer.cast(pid, "cast")
    assert sys.get_state(pid) == "cast"
    process.send(pid, "sent")
    assert sys.get_state(pid) == "sent"
    process.send_after(pid, "later", 0.0)
    until(lambda: sys.get_state(pid) == "later")


def test_calls_casts_and_sends_of_one_process_stay_in_order(placed: Placed) -> None:
    pid = placed(Echo, [])
    for number in range(200):
        pid.cast(number)
        if number % 50 == 0:
            assert sys.get_state(pid) == number
    assert GenServer.call(pid, "seen") == "seen"
    assert sys.get_state(pid) == 199


@pytest.mark.parametrize("kind", [Async, Quick])
def test_servers_of_every_way_of_being_run_are_placed(placed: Placed, kind: Any) -> None:
    assert GenServer.call(placed(kind), "hi") in ("hi", ("awaited", "hi"))


def test_its_name_is_a_via_and_which_children_shows_it(supervised: Placed) -> None:
    Registry.start_link(keys="unique", name="placed_keys")
    name = Via("placed_keys", "one")
    spec = ChildSpec("it", (Echo.start_link, (), {"name": name}), placement="process")
    supervisor = supervised(spec)
    assert GenServer.call(name, 1) == 1
    (child,) = Supervisor.which_children(supervisor)
    assert child.pid is process.whereis(name)
    assert str(child.pid).endswith("placed_keys/one>")
    Supervisor.stop(supervisor)
    process.exit(process.whereis("placed_keys"), "shutdown")


def test_it_may_answer_later(placed: Placed) -> None:
    pid = placed(Echo)
    answer = GenServer.send_request(pid, ("later",))
    assert GenServer.call(pid, 1) == 1
    assert not answer.done()
    pid.cast(("answer", "late"))
    assert answer.result(WATCHDOG) == "late"


def test_what_is_called_back_may_wait_and_holds_up_nobody(placed: Placed) -> None:
    pid = placed(Echo)
    waits, seen = threading.Event(), threading.Event()

    def called_back(answer: object) -> None:
        seen.set()
        waits.wait(WATCHDOG)

    answer = GenServer.send_request(pid, ("later",))
    answer.add_done_callback(called_back)
    pid.cast(("answer", 1))
    assert seen.wait(WATCHDOG)
    assert os_pid(pid) != os.getpid()
    waits.set()


def test_a_caller_in_a_loop_awaits_it(placed: Placed) -> None:
    import asyncio

    from resprout.actors import BlockingInLoop

    pid = placed(Echo)

    async def ask() -> object:
        with pytest.raises(BlockingInLoop, match="acall"):
            GenServer.call(pid, 1)
        return await asyncio.gather(*(GenServer.acall(pid, number) for number in range(10)))

    assert asyncio.run(ask()) == list(range(10))


def test_a_killed_os_process_is_noticed_and_started_again(placed: Placed) -> None:
    pid = placed(Echo)
    victim = os_pid(pid)
    assert reason_after(pid, lambda: os.kill(victim, signal.SIGKILL)) == ("exit", -9)
    until(lambda: process.whereis("placed"))
    assert os_pid("placed") != victim


def test_a_caller_of_a_killed_os_process_is_told(placed: Placed) -> None:
    pid = placed(Echo)
    victim = os_pid(pid)
    answer = GenServer.send_request(pid, ("hang",))
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(ServerExit) as raised:
        answer.result(WATCHDOG)
    assert raised.value.reason == ("exit", -9)
    assert raised.value.pid is pid


def test_an_exit_code_is_the_reason(placed: Placed) -> None:
    pid = placed(Echo)
    assert reason_after(pid, lambda: GenServer.cast(pid, ("_exit", 3))) == ("exit", 3)


def test_a_crash_has_the_far_traceback(placed: Placed) -> None:
    pid = placed(Echo)
    with pytest.raises(ServerExit) as raised:
        GenServer.call(pid, ("raise", "this"))
    reason = raised.value.reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, LocalError)
    assert str(reason.exception) == "this and that"
    assert "in _raise" in str(reason.exception.__cause__)


@pytest.mark.parametrize("reason", ["normal", "shutdown", "boom", ("a", 1)])
def test_reasons_come_as_they_are(placed: Placed, reason: object) -> None:
    pid = placed(Echo, restart="temporary")
    assert reason_after(pid, lambda: GenServer.call(pid, ("stop", reason))) == reason


def test_a_shutdown_with_a_detail_comes_as_it_is(placed: Placed) -> None:
    pid = placed(Echo, restart="temporary")
    assert reason_after(pid, lambda: GenServer.cast(pid, ("exit", Shutdown("x")))) == Shutdown("x")


def test_stop_ends_it_in_order(placed: Placed, tmp_path: Path) -> None:
    pid = placed(Echo, tmp_path / "end", restart="temporary")
    GenServer.stop(pid, "shutdown")
    assert (tmp_path / "end").read_text() == "'shutdown'"


def test_it_is_linked_to_its_supervisor_and_to_whom_links_to_it(placed: Placed) -> None:
    pid = placed(Echo, restart="temporary")
    process.link(pid)
    victim = os_pid(pid)
    os.kill(victim, signal.SIGKILL)
    told = process.receive(lambda message: isinstance(message, Exited), timeout=WATCHDOG)
    assert told == Exited(pid, ("exit", -9))


def test_an_exit_signal_reaches_a_server_that_traps_exits_as_a_message(placed: Placed) -> None:
    pid = placed(Traps)
    process.exit(pid, "boom")
    until(lambda: isinstance(sys.get_state(pid), Exited))
    assert sys.get_state(pid).reason == "boom"


def test_an_exit_signal_ends_a_server_that_traps_none(placed: Placed) -> None:
    pid = placed(Echo)
    process.exit(pid, "normal")
    assert GenServer.call(pid, 1) == 1
    assert reason_after(pid, lambda: process.exit(pid, "boom")) == "boom"


# Starting


def test_an_init_that_raises_is_a_start_error_with_its_traceback(supervised: Placed) -> None:
    supervisor = supervised()
    spec = ChildSpec("it", (Refuses.start_link, ("raise",)), placement="process")
    with pytest.raises(StartError) as raised:
        Supervisor.start_child(supervisor, spec)
    reason = raised.value.reason
    assert isinstance(reason, Crash)
    assert "in init" in str(reason.exception.__cause__)
    assert Supervisor.which_children(supervisor) == []


@pytest.mark.parametrize("reason", ["why", "shutdown"])
def test_an_init_that_stops_is_a_start_error(supervised: Placed, reason: object) -> None:
    spec = ChildSpec("it", (Refuses.start_link, (reason,)), placement="process")
    with pytest.raises(StartError) as raised:
        Supervisor.start_child(supervised(), spec)
    assert raised.value.reason == reason


def test_an_init_that_ends_its_os_process_is_a_start_error(supervised: Placed) -> None:
    spec = ChildSpec("it", (Refuses.start_link, ("exit",)), placement="process")
    with pytest.raises(StartError) as raised:
        Supervisor.start_child(supervised(), spec)
    assert raised.value.reason == ("exit", 7)


def test_an_init_that_ignores_is_no_process(supervised: Placed) -> None:
    spec = ChildSpec("it", (Refuses.start_link, ("ignore",), {"name": "placed"}), placement="process")
    assert Supervisor.start_child(supervised(), spec) is None
    assert process.whereis("placed") is None


def test_the_death_of_its_supervisor_ends_a_child_that_hangs_in_its_init(tmp_path: Path) -> None:
    supervisor = Supervisor.start_link([])
    process.unlink(supervisor)
    spec = ChildSpec("it", (Refuses.start_link, (tmp_path / "pid",)), placement="process")
    starting = Task.async_(_outcome, lambda: Supervisor.start_child(supervisor, spec))
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    victim = int((tmp_path / "pid").read_text())
    process.exit(supervisor, "kill")
    until(lambda: not _runs(victim))
    assert isinstance(Task.await_(starting, WATCHDOG), ServerExit)


def test_a_start_that_takes_too_long_is_a_start_error_and_leaves_nothing(
    supervised: Placed, tmp_path: Path
) -> None:
    start = (Refuses.start_link, (tmp_path / "pid",), {"timeout": 0.2})
    with pytest.raises(StartError, match="timeout"):
        Supervisor.start_child(supervised(), ChildSpec("it", start, placement="process"))
    until(lambda: not _runs(int((tmp_path / "pid").read_text())))


def test_a_taken_name_starts_no_os_process(supervised: Placed, placed: Placed) -> None:
    pid = placed(Echo)
    spec = ChildSpec("it", (Echo.start_link, (), {"name": "placed"}), placement="process")
    with pytest.raises(AlreadyStarted) as raised:
        Supervisor.start_child(supervised(), spec)
    assert raised.value.pid is pid


def test_a_function_that_starts_a_server_is_placed(placed: Placed) -> None:
    pid = placed((start_function, (5,), {"name": "placed"}))
    assert sys.get_state(pid) == 5


def test_a_function_that_returns_no_process_is_an_error(supervised: Placed) -> None:
    with pytest.raises(StartError, match="expected the start to return the Pid"):
        Supervisor.start_child(supervised(), ChildSpec("it", starts_nothing, placement="process"))


def test_dynamic_children_are_placed(supervised: Placed) -> None:
    supervisor = DynamicSupervisor.start_link()
    spec = ChildSpec("it", (Echo.start_link, (1,)), placement="process")
    pids = [DynamicSupervisor.start_child(supervisor, spec) for _ in range(3)]
    assert len({os_pid(pid) for pid in pids}) == 3
    DynamicSupervisor.terminate_child(supervisor, pids[0])
    assert not pids[0].alive
    DynamicSupervisor.stop(supervisor)


def test_a_class_may_say_that_it_is_placed() -> None:
    class Far(GenServer, placement="process"):
        pass

    assert Far.child_spec().placement == "process"


def test_a_supervisor_is_not_placed() -> None:
    with pytest.raises(SpecError, match="place its workers"):
        ChildSpec("it", print, type="supervisor", placement="process")
    with pytest.raises(SpecError, match="'local', 'process'"):
        ChildSpec("it", print, placement="elsewhere")  # type: ignore[arg-type]


def test_a_start_that_becomes_ready_in_time_is_over_then(placed: Placed) -> None:
    assert sys.get_state(placed(Readies, "soon", ready_timeout=WATCHDOG)) == "soon"


def test_a_start_that_does_not_become_ready_fails(supervised: Placed) -> None:
    spec = ChildSpec("it", (Readies.start_link, ("never",)), placement="process", ready_timeout=0.05)
    with pytest.raises(StartError) as raised:
        Supervisor.start_child(supervised(), spec)
    assert raised.value.reason == NotReady("it", 0.05)


# Stopping


def test_it_is_asked_to_stop_and_terminates(supervised: Placed, tmp_path: Path) -> None:
    start = (Traps.start_link, (tmp_path / "end",))
    supervisor = supervised(ChildSpec("it", start, placement="process", shutdown=30.0))
    Supervisor.stop(supervisor)
    assert (tmp_path / "end").read_text() == "'shutdown'"


def test_one_that_does_not_stop_in_its_time_is_killed(placed: Placed, tmp_path: Path) -> None:
    pid = placed(Stubborn, str(tmp_path / "asked"), shutdown=0.2)
    victim, ref, channel = os_pid(pid), process.monitor(pid), _channel(pid)
    assert pid.parent is not None
    began = time.monotonic()
    Supervisor.terminate_child(pid.parent, "it")
    assert time.monotonic() - began >= 0.2
    assert down_of(ref).reason == "killed"
    assert (tmp_path / "asked").read_text() == "asked"
    until(lambda: not _runs(victim))
    until(channel.gone.is_set)
    assert channel.popen.returncode == -signal.SIGTERM


def test_one_that_is_stopped_by_a_signal_is_killed_when_its_time_is_over(placed: Placed) -> None:
    pid = placed(Traps, shutdown=0.2)
    victim, channel = os_pid(pid), _channel(pid)
    os.kill(victim, signal.SIGSTOP)
    assert pid.parent is not None
    Supervisor.terminate_child(pid.parent, "it")
    until(lambda: not _runs(victim))
    until(channel.gone.is_set)
    assert channel.popen.returncode == -signal.SIGKILL


def test_brutal_kill_does_not_ask(placed: Placed, tmp_path: Path) -> None:
    pid = placed(Traps, tmp_path / "end", shutdown=BRUTAL_KILL)
    victim = os_pid(pid)
    assert pid.parent is not None
    Supervisor.terminate_child(pid.parent, "it")
    # A supervisor goes on when the OS process is gone, and not before.
    assert not _runs(victim)
    assert not (tmp_path / "end").exists()


def test_kill_ends_one_that_hangs_and_its_successor_serves(placed: Placed) -> None:
    pid = placed(Echo)
    pid.cast(("hang",))
    assert reason_after(pid, lambda: process.exit(pid, "kill")) == "killed"
    until(lambda: process.whereis("placed"))
    assert GenServer.call("placed", 1) == 1


def test_it_ignores_the_signals_of_the_process_group(placed: Placed) -> None:
    pid = placed(Echo)
    victim = os_pid(pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(victim, number)
    assert os_pid(pid) == victim


def test_work_of_a_function_is_placed(supervised: Placed, tmp_path: Path) -> None:
    from resprout.supervision.trees.functions import start_function as run

    path = tmp_path / "pid"
    start = (run, (works, {"path": str(path)}), {"name": "placed"})
    supervised(ChildSpec("it", start, placement="process"))
    until(lambda: path.exists() and path.read_text())
    assert int(path.read_text()) != os.getpid()
    with pytest.raises(TypeError, match="answers no calls"):
        GenServer.call("placed", 1)


def _outcome(act: Callable[[], object]) -> object:
    try:
        return act()
    except Exception as error:
        return error


def _channel(pid: Pid) -> Any:
    """What a placed server's proxy has for a state."""
    return pid.state  # type: ignore[attr-defined]


def _runs(victim: int) -> bool:
    try:
        os.kill(victim, 0)
    except ProcessLookupError:
        return False
    return True


def test_many_children_have_one_thread(supervised: Placed) -> None:
    specs = [ChildSpec(n, (Echo.start_link, (n,)), placement="process") for n in range(20)]
    pids = [child.pid for child in Supervisor.which_children(supervised(*specs))]
    answers = [GenServer.send_request(pid, ("os",)) for pid in pids]
    assert len({answer.result(WATCHDOG) for answer in answers}) == 20
    assert sum("placement" in thread.name for thread in threading.enumerate()) == 1


# In a tree file


def test_a_tree_file_places_workers(tmp_path: Path) -> None:
    tree = (
        "children:\n"
        "  - {worker: echo, start: 'placed_servers:Echo', name: 'echo{index}', args: {at: 5}, replicas: 2,\n"
        "     placement: process}\n"
        "  - {worker: work, run: 'placed_servers:works', args: {path: work}, name: work,\n"
        "     placement: process}\n"
    )
    (tmp_path / "tree.yaml").write_text(tree.replace("path: work", f"path: {tmp_path / 'work'}"))
    application = Application.load(tmp_path / "tree.yaml")
    application.start()
    assert len({os.getpid(), os_pid("echo0"), os_pid("echo1")}) == 3
    assert sys.get_state("echo1") == {"at": 5}
    assert process.whereis("work")
    application.stop()


@pytest.mark.parametrize(
    ("child", "problem"),
    [
        ("{registry: keys, keys: unique, placement: process}", "only a worker has a placement"),
        ("{throttle: lock, num_slots: 1, placement: process}", "only a worker has a placement"),
        ("{supervisor: s, children: [], placement: process}", "only a worker has a placement"),
        ("{dynamic_supervisor: s, placement: process}", "only a worker has a placement"),
        ("{asgi: web, app: 'placed_servers:Echo', placement: process}", "only a worker has a placement"),
        ("{producer: p, start: 'placed_servers:Echo', placement: process}", "only a worker has a placement"),
        ("{worker: s, start: 'resprout:DynamicSupervisor', placement: process}", "place its workers"),
        ("{worker: w, start: 'placed_servers:Echo', placement: far}", "local, process, got: 'far'"),
    ],
)
def test_a_tree_file_with_a_wrong_placement_is_refused_where_it_stands(
    tmp_path: Path, child: str, problem: str
) -> None:
    (tmp_path / "tree.yaml").write_text(f"children:\n  - {child}\n")
    with pytest.raises(ConfigError) as raised:
        Application.load(tmp_path / "tree.yaml")
    column = child.index("placement") + 5
    assert f"tree.yaml:2:{column}" in str(raised.value) or f"tree.yaml:2:{column + 11}" in str(raised.value)
    assert problem in str(raised.value)


class Numbers(Producer):
    pass


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (partial(throttle.child_spec, "lock", 1), "a lock"),
        (partial(Registry.child_spec, keys="unique", name="keys"), "a registry"),
        (partial(cluster.Engine.child_spec, "redis://db", name="shared"), "an engine"),
        (partial(Numbers.child_spec, 0), "a stage"),
        (partial(ChildSpec, "keys", partial(Registry.start_link, keys="unique", name="keys")), "a registry"),
        (partial(ChildSpec, "n", (partial(partial(Numbers.start_link), 0), (), {})), "a stage"),
    ],
)
def test_what_a_whole_program_has_is_refused_a_placement_in_python_as_well(
    make: Callable[..., ChildSpec], what: str
) -> None:
    problem = f"only a worker has a placement; {what} is of this OS process"
    with pytest.raises(SpecError, match=problem):
        make(placement="process")
    with pytest.raises(SpecError, match=problem):
        child_spec(make(), placement="process")
    with pytest.raises(SpecError, match=problem):
        ChildSpec("it", make().start, placement="process")
