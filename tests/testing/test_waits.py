"""Awaiting deaths, restarts and whatever else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resprout import (
    Agent,
    BlockingInLoop,
    Crash,
    DynamicSupervisor,
    GenServer,
    NoProcess,
    Ok,
    Pid,
    Registry,
    ServerExit,
    Supervisor,
    Via,
    process,
    testing,
)

from .counting import Counter


@pytest.fixture
def tree() -> Iterator[Pid]:
    """A supervisor outside of any region, so that only `crash` knows what it does."""
    children = [Counter.child_spec(name="named"), Counter.child_spec(id="nameless")]
    pid = Supervisor.start_link(children, strategy="one_for_one", max_restarts=1000)
    yield pid
    Supervisor.stop(pid)


def child(tree: Pid, id: str) -> Pid:
    found = next(row.pid for row in Supervisor.which_children(tree) if row.id == id)
    assert isinstance(found, Pid)
    return found


# Deaths


def test_a_crash_is_of_the_error_that_was_given(tree: Pid) -> None:
    error = ValueError("boom")
    pid = testing.crash("named", error)
    assert testing.await_down(pid) == Crash(error)
    testing.await_restart("named")


def test_the_exit_reason_is_what_comes_of_an_awaited_end() -> None:
    pid = process.spawn(process.receive)
    process.exit(pid, "enough")
    assert testing.await_down(pid) == "enough"
    assert testing.await_down(pid) == "enough"


def test_the_mailbox_is_left_alone() -> None:
    me = process.current()
    process.send(me, "mail")
    pid = process.spawn(lambda: None)
    testing.await_down(pid)
    assert process.receive(timeout=0) == "mail"


def test_a_process_that_lives_on_is_named() -> None:
    pid = Counter.start(name="lasting")
    with pytest.raises(testing.NotInTime, match=r"lasting> to end within 0\.01 s, but it is alive"):
        testing.await_down("lasting", timeout=0.01)
    info = process.info(pid)
    assert info is not None
    assert info.monitored_by == ()
    GenServer.stop(pid)


def test_a_name_that_nobody_has_is_an_error_at_once() -> None:
    for wait in (testing.crash, testing.await_down):
        with pytest.raises(NoProcess):
            wait("nobody")


# Restarts


def test_a_restart_is_awaited_by_name(tree: Pid) -> None:
    before = testing.crash("named")
    after = testing.await_restart("named")
    assert after is not before
    assert after.call("count") == 0
    # Whoever asks again gets the same answer.
    assert testing.await_restart("named") is after


def test_a_restart_is_awaited_by_pid_though_the_process_has_no_name(tree: Pid) -> None:
    before = child(tree, "nameless")
    testing.crash(before)
    testing.await_down(before)
    after = testing.await_restart(before)
    assert after is child(tree, "nameless")


def test_children_of_one_id_are_told_apart() -> None:
    with testing.isolated() as region:
        pool = region.start_supervised(DynamicSupervisor.child_spec(name="pool"))
        workers = [DynamicSupervisor.start_child("pool", Counter) for _ in range(3)]
        testing.crash(workers[1])
        after = testing.await_restart(workers[1])
        living = [row.pid for row in DynamicSupervisor.which_children(pool)]
        assert sorted(living) == sorted([workers[0], after, workers[2]])


def test_a_crash_that_nobody_injected_is_known_in_a_region() -> None:
    with testing.isolated() as region:
        pid = region.start_supervised(Counter.child_spec(id="nameless"))
        process.exit(pid, "kill")
        testing.await_down(pid)
        assert testing.await_restart(pid) is not pid


def test_a_restart_is_over_when_init_is() -> None:
    go = threading.Event()
    go.set()

    class Slow(Counter):
        def init(self, arg: Any) -> Any:
            go.wait(10)
            return Ok(0)

    with testing.isolated() as region:
        region.start_supervised(Slow.child_spec(name="slow"))
        go.clear()
        testing.crash("slow")
        with pytest.raises(testing.NotInTime, match="slow"):
            testing.await_restart("slow", timeout=0.05)
        go.set()
        assert testing.await_restart("slow").call("count") == 0


def test_a_restart_is_awaited_by_via() -> None:
    with testing.isolated() as region:
        region.start_supervised(Registry.child_spec(keys="unique", name="keys"))
        name = Via("keys", "counter")
        pid = region.start_supervised(Counter.child_spec(name=name))
        testing.crash(name)
        assert testing.await_restart(pid) is process.whereis(name)


def test_a_process_whose_supervisor_nobody_knows_is_refused() -> None:
    pid = Counter.start()
    GenServer.stop(pid)
    with pytest.raises(ValueError, match="nobody knows whose child it was"):
        testing.await_restart(pid)


def test_a_restart_that_does_not_come_says_how_the_process_ended() -> None:
    with testing.isolated() as region:
        region.start_supervised(Counter.child_spec(name="once", restart="temporary"))
        testing.crash("once", ValueError("boom"))
        with pytest.raises(testing.NotInTime, match=r"once.*ended \(Crash.*boom.* and none has come"):
            testing.await_restart("once", timeout=0.05)


# Whatever else


def test_a_check_is_made_until_it_is_fulfilled() -> None:
    answers = iter([0, None, "", "yes"])
    assert testing.eventually(lambda: next(answers)) == "yes"


def test_assertions_and_processes_that_are_not_there_mean_not_yet() -> None:
    errors: list[Exception] = [AssertionError("no"), NoProcess("x"), ServerExit("x", "y", "z")]

    def check() -> bool:
        if errors:
            raise errors.pop()
        return True

    assert testing.eventually(check) is True


def test_any_other_error_is_one() -> None:
    with pytest.raises(ZeroDivisionError):
        testing.eventually(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (lambda: 0, "it returned 0"),
        (lambda: None, r"it returned None \(a check of assertions returns True at its end\)"),
        (lambda: Agent.get("nobody", id), "it raised NoProcess"),
    ],
)
def test_a_check_that_is_never_fulfilled_says_how_it_failed_last(check: Any, says: str) -> None:
    with pytest.raises(AssertionError, match=f"fulfilled within 0.01 s, but at last {says}"):
        testing.eventually(check, timeout=0.01)


def test_an_exit_signal_to_the_test_itself_ends_the_wait() -> None:
    def check() -> bool:
        process.exit(process.current(), "boom")
        return process.alive("nobody")

    with testing.isolated():
        with pytest.raises(ServerExit, match="boom"):
            testing.eventually(check)


def test_coroutines_have_forms_of_their_own(tree: Pid) -> None:
    async def main() -> None:
        before = testing.crash("named")
        assert isinstance(await testing.aawait_down(before), Crash)
        after = await testing.aawait_restart("named")
        assert await testing.aeventually(lambda: GenServer.acall(after, "count")) == 1
        assert await testing.aeventually(lambda: after.alive) is True
        with pytest.raises(testing.NotInTime):
            await testing.aawait_down(after, timeout=0.01)
        with pytest.raises(testing.NotInTime):
            await testing.aeventually(lambda: False, timeout=0.01)
        for wait in (testing.await_down, testing.await_restart):
            with pytest.raises(BlockingInLoop, match=r"testing\.aawait"):
                wait(after)
        with pytest.raises(BlockingInLoop, match=r"testing\.aeventually"):
            testing.eventually(lambda: True)

    asyncio.run(main())
