"""The end of a process, interrupted where the interpreter looks for signals: who is concerned hears of it."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
from typing import Any

import pytest

from resprout.actors import Down, Exited, Pid, ServerExit, process
from resprout.actors.processes import ambient as context
from resprout.actors.processes.pid import table
from resprout.actors.runtime.thread_state import tasks

from ...interrupting import Interrupter
from ...scripted import Slot
from ...waiting import until

SOON = 20.0


def test_the_resources_of_a_killed_thread_are_told(interrupted: Interrupter) -> None:
    for cuts in interrupted.everywhere(20):
        slot = Slot()
        on, began = threading.Event(), threading.Event()
        pids: list[Pid] = []

        def live(slot: Slot = slot, on: Any = on, began: Any = began, pids: list[Pid] = pids) -> None:
            process.current().attach(slot)
            pids.append(process.current())
            began.set()
            on.wait(SOON)

        thread = threading.Thread(target=live)
        thread.start()
        assert began.wait(SOON)
        was_cut = interrupted(cuts, lambda pids=pids: process.exit(pids[0], "kill"))
        if pids[0].alive:
            assert was_cut
            process.exit(pids[0], "kill")
        assert slot.next() == ("died", "killed")
        on.set()
        thread.join(SOON)
        assert set(slot.until_left()[:-1]) <= {("died", "killed")}


def test_a_resource_that_fails_to_hear_it_keeps_nobody_else_from_hearing_it() -> None:
    class Failing(Slot):
        def owner_died(self, pid: Pid, reason: object) -> None:
            super().owner_died(pid, reason)
            raise ValueError("of the resource")

    failing, slot = Failing(), Slot()
    victim = process.spawn(process.receive)
    victim.attach(failing)
    victim.attach(slot)
    process.monitor(victim)
    with pytest.raises(ValueError, match="of the resource"):
        process.exit(victim, "kill")
    assert process.receive(lambda message: isinstance(message, Down), timeout=SOON).pid is victim
    assert slot.ended("killed")
    assert failing.told.qsize() == 1


def test_links_and_monitors_of_a_killed_process_are_told(interrupted: Interrupter) -> None:
    for cuts in interrupted.everywhere(20):
        heard: queue.Queue[type] = queue.Queue()
        on = threading.Event()

        def watch(pid: Pid, heard: Any = heard, on: Any = on) -> None:
            process.trap_exit(True)
            process.link(pid)
            process.monitor(pid)
            on.set()
            kinds: set[type] = set()
            while kinds != {Down, Exited}:
                kinds.add(type(process.receive(timeout=SOON)))
            for kind in kinds:
                heard.put(kind)

        victim = process.spawn(process.receive)
        process.spawn(watch, victim)
        assert on.wait(SOON)
        was_cut = interrupted(cuts, lambda victim=victim: process.exit(victim, "kill"))
        if victim.alive:
            assert was_cut
            process.exit(victim, "kill")
        assert {heard.get(timeout=SOON) for _ in range(2)} == {Down, Exited}


@pytest.mark.parametrize("goes_on", [False, True])
def test_the_resources_of_a_task_and_of_what_it_was_before_are_told(
    goes_on: bool, interrupted: Interrupter, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = context._done
    for cuts in interrupted.everywhere(20):
        slots = [Slot()]

        async def work(slots: list[Slot] = slots) -> None:
            process.current().attach(slots[0])
            process.exit(process.current(), "enough")
            with pytest.raises(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
            if goes_on:
                with pytest.raises(ServerExit):
                    process.current()
                slots.append(Slot())
                process.current().attach(slots[1])

        def done(task: Any, cuts: int = cuts) -> None:
            interrupted(cuts, lambda: real(task))

        monkeypatch.setattr(context, "_done", done)
        asyncio.run(work())
        monkeypatch.setattr(context, "_done", real)
        gc.collect()
        for slot in slots:
            assert {what for what, _ in slot.until_left()[:-1]} == {"died"}
        assert len(slots) == 1 + goes_on
    assert not [pid for pid in tasks.values() if pid.kind == "task"]


def test_a_task_that_is_interrupted_while_it_becomes_a_process_leaves_none_behind(
    interrupted: Interrupter,
) -> None:
    before = set(table)
    for cuts in interrupted.everywhere(3):

        async def become(cuts: int = cuts) -> None:
            interrupted(cuts, process.current, exact=True)

        asyncio.run(become())
        gc.collect()
        until(lambda: set(table) <= before)
    assert not [pid for pid in tasks.values() if pid.kind == "task"]


def test_a_task_that_meets_its_death_twice_at_once_goes_on_as_one_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a signal handler or finalizer comes between."""
    slot, before = Slot(), set(table.values())
    real = context.TaskPid.__init__
    after: list[Pid] = []

    def init(self: Any, task: Any, former: Any = None) -> None:
        monkeypatch.setattr(context.TaskPid, "__init__", real)
        with pytest.raises(ServerExit):
            process.current()
        after.append(process.current())
        after[0].attach(slot)
        real(self, task, former)

    async def work() -> None:
        process.exit(process.current(), "enough")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        monkeypatch.setattr(context.TaskPid, "__init__", init)
        with pytest.raises(ServerExit):
            process.current()
        assert process.current() is after[0]

    asyncio.run(work())
    assert slot.ended()
    assert not after[0].alive
    assert not [pid for pid in set(table.values()) - before if pid.kind == "task"]
