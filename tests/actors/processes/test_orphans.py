"""Starting and ending at the same moment: no orphan, no double, no name of the dead, at whatever line."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from resprout.actors import (
    IGNORE,
    AlreadyStarted,
    CallTimeout,
    GenServer,
    Killed,
    NoProcess,
    Ok,
    Pid,
    ProcessExit,
    Reply,
    StartError,
    Stop,
    process,
    telemetry,
)

from ...waiting import down_of

WATCHDOG = 20.0


class Server(GenServer):
    def init(self, arg: Any) -> Any:
        if arg is not None:
            arg.append(self.pid)
        return Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message, state)


def await_death(pid: Pid) -> None:
    down_of(process.monitor(pid))


@pytest.mark.parametrize("reason", ["kill", "fault"])
def test_a_parent_that_dies_at_any_moment_of_a_start_leaves_no_orphan(threaded, reason, at_every_line):
    def a_round() -> Any:
        started: list[Pid] = []
        parent: list[Pid] = []

        def start() -> None:
            parent.append(process.current())
            try:
                threaded(Server).start_link(started)
            except (ProcessExit, StartError):
                pass

        def kill() -> None:
            if parent:
                process.exit(parent[0], reason)

        def check() -> None:
            for pid in started:
                if parent[0].exit_reason == "normal":  # it was not a process yet, or was through already
                    process.exit(pid, "kill")
                await_death(pid)

        return start, kill, check

    at_every_line(a_round)


def test_a_parent_that_dies_while_it_spawns_leaves_no_orphan(at_every_line):
    def a_round() -> Any:
        started: list[Pid] = []
        parent: list[Pid] = []

        def child() -> None:
            started.append(process.current())
            process.receive()

        def start() -> None:
            parent.append(process.current())
            try:
                started.append(process.spawn_link(child))
            except ProcessExit:
                pass

        def kill() -> None:
            if parent:
                process.exit(parent[0], "kill")

        def check() -> None:
            for pid in started:
                if parent[0].exit_reason == "normal":
                    process.exit(pid, "kill")
                await_death(pid)

        return start, kill, check

    at_every_line(a_round)


def test_a_start_under_a_name_whose_holder_is_dying_gets_the_name_or_the_holder(threaded, at_every_line):
    def a_round() -> Any:
        holder = threaded(Server).start(name="orphans.name")
        outcome: list[Any] = []

        def start() -> None:
            try:
                outcome.append(threaded(Server).start(name="orphans.name"))
            except AlreadyStarted as error:
                outcome.append(error.pid)

        def check() -> None:
            await_death(holder)
            (pid,) = outcome
            if pid is holder:
                assert process.whereis("orphans.name") is None
            else:
                assert process.whereis("orphans.name") is pid
                process.exit(pid, "kill")
                await_death(pid)
            assert "orphans.name" not in process.registered()

        return start, lambda: process.exit(holder, "kill"), check

    at_every_line(a_round)


def test_a_name_given_at_any_moment_of_a_death_is_free_afterwards(threaded, at_every_line):
    def a_round() -> Any:
        pid = threaded(Server).start()

        def register() -> None:
            try:
                process.register(pid, "orphans.late")
            except NoProcess:
                pass

        def check() -> None:
            await_death(pid)
            assert process.whereis("orphans.late") is None
            other = threaded(Server).start(name="orphans.late")
            process.exit(other, "kill")
            await_death(other)

        return lambda: process.exit(pid, "kill"), register, check

    at_every_line(a_round)


def test_a_stop_and_a_kill_at_the_same_moment_both_come_to_an_end(threaded, at_every_line):
    def a_round() -> Any:
        pid = threaded(Server).start()
        outcome: list[object] = []

        def stop() -> None:
            try:
                GenServer.stop(pid, timeout=WATCHDOG)
                outcome.append("normal")
            except ProcessExit as error:
                outcome.append(error.reason)

        def check() -> None:
            assert outcome in (["normal"], ["killed"], ["noproc"])
            assert pid.exit_reason in ("normal", "killed")

        return stop, lambda: process.exit(pid, "kill"), check

    at_every_line(a_round)


def test_two_signals_at_the_same_moment_give_one_death(threaded, at_every_line, await_down):
    def a_round() -> Any:
        pid = threaded(Server).start()
        ref = process.monitor(pid)

        def check() -> None:
            assert await_down(ref).reason == pid.exit_reason
            assert pid.exit_reason in ("first", "second")
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)

        return lambda: process.exit(pid, "first"), lambda: process.exit(pid, "second"), check

    at_every_line(a_round)


def test_a_thread_that_ends_while_it_is_signalled_dies_once(at_every_line, await_down):
    def a_round() -> Any:
        ready, go = threading.Event(), threading.Event()
        pids: list[Pid] = []

        def body() -> None:
            pids.append(process.current())
            ready.set()
            assert go.wait(WATCHDOG)

        thread = threading.Thread(target=body)
        thread.start()
        assert ready.wait(WATCHDOG)
        ref = process.monitor(pids[0])

        def end() -> None:
            go.set()
            thread.join(WATCHDOG)

        def check() -> None:
            assert await_down(ref).reason in ("normal", "fault")
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)

        return lambda: process.exit(pids[0], "fault"), end, check

    at_every_line(a_round)


def test_a_spawned_function_killed_at_any_moment_dies_once_and_leaves(at_every_line):
    class Slot:
        def __init__(self) -> None:
            self.told: list[str] = []
            self.left = threading.Event()

        def owner_died(self, pid: Pid, reason: object) -> None:
            self.told.append("died")

        def owner_left(self, pid: Pid) -> None:
            self.told.append("left")
            self.left.set()

    def a_round() -> Any:
        slot, go = Slot(), threading.Event()

        def run() -> None:
            go.wait(WATCHDOG)
            try:
                process.current()
            except Killed:
                raise

        pid = process.spawn(run)
        pid.attach(slot)

        def check() -> None:
            assert slot.left.wait(WATCHDOG)
            assert slot.told == ["died", "left"]

        return lambda: process.exit(pid, "kill"), go.set, check

    at_every_line(a_round)


@pytest.mark.parametrize("how", ["ignored", "taken", "failed"])
@pytest.mark.parametrize("coroutine", [False, True])
def test_a_start_that_comes_to_nothing_says_so_though_its_process_is_dead_already(
    how, coroutine, at_every_line, crashes
):
    """The starter begins to wait between the death of the new process and its answer."""

    class Refuses(GenServer):
        def init(self, arg: Any) -> Any:
            return IGNORE if how == "ignored" else Stop("no")

    class RefusesOnTheLoop(Refuses):
        async def init(self, arg: Any) -> Any:
            return super().init(arg)

    kind = RefusesOnTheLoop if coroutine else Refuses
    holder = Server.start(name="orphans.taken")

    def a_round() -> Any:
        dying, through = threading.Event(), threading.Event()
        starter: list[Pid] = []
        outcome: list[object] = []

        def start() -> None:
            starter.append(process.current())
            try:
                outcome.append(kind.start(name="orphans.taken" if how == "taken" else None))
            except AlreadyStarted as error:
                outcome.append(error.pid)
            except StartError as error:
                outcome.append(error.reason)
            through.set()

        def hold_up(event: Any, measured: Any, about: Any) -> None:
            if about["kind"] != "server":
                return
            dying.set()
            # Until the starter waits, or has gone on without an answer.
            deadline = time.monotonic() + 1
            while process.status(starter[0]) != "waiting" and time.monotonic() < deadline:
                if through.wait(0.001):
                    return

        def check() -> None:
            telemetry.detach("orphans")
            assert outcome == [{"ignored": None, "taken": holder, "failed": "no"}[how]]

        telemetry.attach("orphans", ("resprout", "process", "exited"), hold_up)
        return start, lambda: dying.wait(0.02), check

    try:
        at_every_line(a_round)
    finally:
        telemetry.detach("orphans")
        holder.stop()
