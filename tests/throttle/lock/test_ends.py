"""What ends a lock, and what does not: only stop_lock, and the final stop of the tree that declares it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import AlreadyStarted, Backoff, ChildSpec, GenServer, Ok, Supervisor, sys, throttle
from resprout.actors import LockNotFound, Pid, process
from resprout.supervision import DynamicSupervisor
from resprout.throttle.lock.combiner import _Answer
from resprout.throttle.lock.table import cores
from resprout.throttle.lock.tree import LOCKS, ROOT

from ...waiting import down_of

InThread = Callable[..., "Future[Any]"]
SOON = 20.0


@pytest.fixture
def held(line: Any, in_thread: InThread) -> Iterator[Callable[[str], Future[Any]]]:
    """Hold a lock here, with a waiter in line; returns the waiter's future: whether they were next."""
    names: list[str] = []

    def hold(name: str) -> Future[Any]:
        mine = throttle.acquire(name)
        names.append(name)

        def wait() -> bool:
            with throttle.slot(name) as grant:
                return grant.token == mine.token + 1

        waiter = in_thread(wait)
        line(name).until_waiting(1)
        return waiter

    yield hold
    for name in names:
        if name in throttle.locks():
            throttle.stop_lock(name)


def await_down(pid: Pid, end: Callable[[], object]) -> None:
    ref = process.monitor(pid)
    end()
    down_of(ref)


def pid_of(name: str) -> Pid:
    pid = cores[name].process
    assert pid is not None
    return pid


# -- a stopped lock stays stopped ----------------------------------------------


@pytest.mark.parametrize("again", [True, False])
def test_a_lock_that_is_stopped_while_it_is_about_to_be_restarted_stays_stopped(again: bool) -> None:
    for number in range(50):
        name = f"stopped {number}"
        process.exit(throttle.new(name, 1), "kill")
        throttle.stop_lock(name)
        # The supervisor answers when it has dealt with the death.
        DynamicSupervisor.count_children(LOCKS)
        assert name not in throttle.locks()
        assert process.whereis(name) is None
        if again:
            throttle.new(name, 2)
            DynamicSupervisor.count_children(LOCKS)
            assert throttle.lock_info(name).num_slots == 2
            throttle.stop_lock(name)


@pytest.mark.parametrize("backoff", [None, Backoff(initial=30.0, maximum=30.0)])
def test_a_lock_of_a_tree_that_is_stopped_while_it_is_about_to_be_restarted_leaves_the_tree(
    backoff: Backoff | None,
) -> None:
    name = "leaves its tree"
    spec = throttle.child_spec(name, 1, backoff=backoff)
    tree = Supervisor.start_link([spec], strategy="one_for_one", max_restarts=10)
    process.exit(pid_of(name), "kill")
    throttle.stop_lock(name)
    assert Supervisor.which_children(tree) == []
    assert name not in throttle.locks()
    # It may be started anew, and counts as declared then.
    assert Supervisor.start_child(tree, spec) is not None
    assert throttle.lock_state(name).running == 0
    Supervisor.stop(tree)
    assert name not in throttle.locks()


def test_a_stopped_lock_comes_back_with_a_supervisor_that_is_started_again_and_declares_it() -> None:
    name = "declared"
    inner = ChildSpec(
        "inner",
        (Supervisor.start_link, ([throttle.child_spec(name, 1)],), {"strategy": "one_for_one"}),
        type="supervisor",
    )
    tree = Supervisor.start_link([inner], strategy="one_for_one")
    throttle.stop_lock(name)
    (child,) = Supervisor.which_children(tree)
    assert isinstance(child.pid, Pid)
    await_down(child.pid, lambda: process.exit(child.pid, "kill"))  # type: ignore[arg-type]  # a Pid
    Supervisor.which_children(tree)
    assert throttle.lock_info(name).num_slots == 1
    Supervisor.stop(tree)


# -- ends that are not crashes ---------------------------------------------------


ENDS: dict[str, Callable[[str], object]] = {
    "killed": lambda name: process.exit(pid_of(name), "kill"),
    "told to shut down": lambda name: process.exit(pid_of(name), "shutdown"),
    "stopped": lambda name: GenServer.stop(name),
    "stopped in Pykka's way": lambda name: pid_of(name).stop(),
}


@pytest.mark.parametrize("how", ENDS)
def test_an_end_of_the_lock_process_however_orderly_is_not_the_end_of_the_lock(
    held: Callable[[str], Future[Any]], how: str
) -> None:
    name = f"a lock that is {how}"
    throttle.new(name, 1)
    waiter = held(name)
    before = pid_of(name)
    await_down(before, lambda: ENDS[how](name))
    throttle.release(name)
    assert waiter.result(SOON)
    assert pid_of(name) is not before


@pytest.mark.parametrize("who", [LOCKS, ROOT])
@pytest.mark.parametrize("reason", ["kill", "shutdown"])
def test_the_end_of_the_librarys_own_supervisors_ends_no_lock(
    held: Callable[[str], Future[Any]], who: str, reason: str
) -> None:
    name = f"outlives {who} that is ended by {reason}"
    throttle.new(name, 1)
    throttle.resize(name, 2)
    throttle.resize(name, 1)
    waiter = held(name)
    pid = process.whereis(who)
    assert pid is not None
    await_down(pid, lambda: process.exit(pid, reason) if reason == "kill" else GenServer.stop(pid, reason))
    throttle.release(name)
    assert waiter.result(SOON)
    assert throttle.execute(name, lambda: "works").result(SOON) == "works"


def test_locks_work_after_any_number_of_ends_of_their_supervisors_at_any_moment(lock: Any) -> None:
    name = lock(1)
    for number in range(60):
        for who in (ROOT, LOCKS)[: 1 + number % 2]:
            pid = process.whereis(who)
            if pid is not None:
                process.exit(pid, "kill")
        if number % 3 == 0:
            assert throttle.run(name, int, number) == number
    assert throttle.execute(name, lambda: "works").result(SOON) == "works"
    # Nothing is left of those before.
    assert len([child for child in Supervisor.which_children(ROOT) if child.pid is not None]) == 2
    pids = [child.pid for child in DynamicSupervisor.which_children(LOCKS)]
    assert len(pids) == len(set(throttle.locks()))


def nested(name: str, **options: Any) -> tuple[Pid, Pid]:
    """A supervisor with a supervisor of a lock; returns both."""
    inner = ChildSpec(
        "inner",
        (Supervisor.start_link, ([throttle.child_spec(name, 1)],), {"strategy": "one_for_one"}),
        type="supervisor",
        **options,
    )
    outer = Supervisor.start_link([inner], strategy="one_for_one", max_restarts=10)
    (child,) = Supervisor.which_children(outer)
    assert isinstance(child.pid, Pid)
    return outer, child.pid


@pytest.mark.parametrize("reason", ["kill", "boom", "shutdown"])
def test_waiters_wait_on_while_a_supervisor_above_is_restarted(
    held: Callable[[str], Future[Any]], reason: str
) -> None:
    name = f"nested {reason}"
    outer, inner = nested(name)
    waiter = held(name)
    await_down(
        inner, lambda: process.exit(inner, "kill") if reason == "kill" else GenServer.stop(inner, reason)
    )
    throttle.release(name)
    assert waiter.result(SOON)
    Supervisor.stop(outer)
    assert name not in throttle.locks()


def over(outer: Pid, inner: Pid, how: str) -> None:
    match how:
        case "the whole tree stops":
            Supervisor.stop(outer)
        case "the whole tree is killed":
            await_down(outer, lambda: (process.unlink(outer), process.exit(outer, "kill")))
        case "its part is terminated":
            Supervisor.terminate_child(outer, "inner")
        case "its part ends, and is not started again":
            await_down(inner, lambda: GenServer.stop(inner, "shutdown"))
            Supervisor.which_children(outer)


@pytest.mark.parametrize(
    ("how", "restart"),
    [
        ("the whole tree stops", "permanent"),
        ("the whole tree is killed", "permanent"),
        ("its part is terminated", "permanent"),
        ("its part ends, and is not started again", "transient"),
        ("its part ends, and is not started again", "temporary"),
    ],
)
def test_waiters_are_told_when_nobody_will_start_the_lock_again(
    held: Callable[[str], Future[Any]], how: str, restart: str
) -> None:
    name = f"{how} ({restart})"
    outer, inner = nested(name, restart=restart)
    waiter = held(name)
    over(outer, inner, how)
    with pytest.raises(LockNotFound):
        waiter.result(SOON)
    assert name not in throttle.locks()
    throttle.release(name)
    if outer.alive:
        Supervisor.stop(outer)


class Waiting(GenServer):
    """Traps exits, and waits for a slot in its own handler: what must not hold up the stop of a tree."""

    trap_exit = True

    def init(self, arg: Any) -> Ok:
        return Ok(arg)

    def handle_cast(self, name: Any, told: Any) -> Any:
        try:
            throttle.acquire(name)
        except LockNotFound as error:
            told.set_result(error)
        raise AssertionError


def test_a_child_that_waits_for_a_lock_of_its_tree_does_not_hold_up_the_trees_stop(line: Any) -> None:
    name = "stops at once"
    told: Future[LockNotFound] = Future()
    tree = Supervisor.start_link(
        [
            ChildSpec("waiting", (Waiting.start_link, (told,), {"name": "waiting"}), shutdown=SOON * 2),
            throttle.child_spec(name, 1),
        ],
        strategy="one_for_one",
    )
    throttle.acquire(name)
    GenServer.cast("waiting", name)
    line(name).until_waiting(1)
    Supervisor.stop(tree, timeout=SOON)
    assert isinstance(told.result(SOON), LockNotFound)
    throttle.release(name)


# -- a name that somebody takes ---------------------------------------------------


def test_a_name_that_is_taken_before_the_restart_harms_that_lock_alone_and_is_given_back(
    held: Callable[[str], Future[Any]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = throttle.new("beside the theft", 1)
    name = "stolen"
    pid = throttle.new(name, 1)
    waiter = held(name)
    stolen, give_back = threading.Event(), threading.Event()

    def steal() -> None:
        process.register(process.current(), name)
        stolen.set()
        assert give_back.wait(SOON)

    # Between the death, of which this hears, and the restart, which waits until this has happened.
    class Thief:
        def owner_died(self, dead: Pid, reason: object) -> None:
            process.spawn(steal)
            assert stolen.wait(SOON)

        def owner_left(self, dead: Pid) -> None:
            """Nothing."""

    pid.attach(Thief())
    with caplog.at_level(logging.ERROR, "resprout.throttle"):
        await_down(pid, lambda: process.exit(pid, "kill"))
        DynamicSupervisor.count_children(LOCKS)
    assert "the name of lock 'stolen' was taken by" in caplog.text
    thief = process.whereis(name)
    assert thief is not None
    assert thief is not pid_of(name)
    throttle.release(name)
    assert waiter.result(SOON)
    assert other.alive
    await_down(thief, give_back.set)
    # The lock process hears of that as this one does; a call makes sure that it has dealt with it.
    with pytest.raises(TypeError):
        pid_of(name).call("anything")
    assert process.whereis(name) is pid_of(name)
    throttle.stop_lock("beside the theft")


def test_a_lock_that_is_about_to_be_restarted_is_not_started_beside_that(in_thread: InThread) -> None:
    name = "about to come back"
    hosts = DynamicSupervisor.start_link()
    first = DynamicSupervisor.start_child(hosts, throttle.child_spec(name, 1))
    throttle.acquire(name)
    # Asked for before its supervisor hears of the death, and so carried out before the restart.
    sys.suspend(hosts)
    second = in_thread(DynamicSupervisor.start_child, hosts, throttle.child_spec(name, 2))
    while process.info(hosts).message_queue_len < 1:
        process.sleep(0)
    await_down(first, lambda: process.exit(first, "kill"))
    sys.resume(hosts)
    with pytest.raises(AlreadyStarted) as refused:
        second.result(SOON)
    assert refused.value.pid is first
    (child,) = DynamicSupervisor.which_children(hosts)
    assert child.pid is pid_of(name)
    assert (throttle.lock_info(name).num_slots, throttle.lock_state(name).running) == (1, 1)
    DynamicSupervisor.stop(hosts)
    throttle.release(name)


def test_a_lock_whose_supervisor_waits_before_the_restart_is_not_started_under_another() -> None:
    name = "waited for"
    spec = throttle.child_spec(name, 1, backoff=Backoff(initial=60.0))
    first, second = Supervisor.start_link([spec]), DynamicSupervisor.start_link()
    killed = pid_of(name)
    await_down(killed, lambda: process.exit(killed, "kill"))
    with pytest.raises(AlreadyStarted):
        DynamicSupervisor.start_child(second, throttle.child_spec(name, 1))
    # That supervisor has ended: nobody brings it back any more.
    Supervisor.stop(first)
    assert DynamicSupervisor.start_child(second, throttle.child_spec(name, 1)) is pid_of(name)
    DynamicSupervisor.stop(second)


def test_the_name_is_free_when_stop_lock_returns_whoever_was_at_the_ledger(
    lock: Callable[..., str], in_thread: InThread
) -> None:
    name = lock(1)
    core = cores[name]
    inside, go_on = threading.Event(), threading.Event()
    stepping = in_thread(core.combiner.submit, lambda: inside.set() or go_on.wait(SOON))
    assert inside.wait(SOON)
    stopping = in_thread(throttle.stop_lock, name)
    # It has looked at the lock, in vain, and has asked for the end, which waits for its answer.
    while not stopping.done() and sum(isinstance(step, _Answer) for step in core.combiner.requests) < 2:
        process.sleep(0)
    assert core.ended
    assert not stopping.done()
    go_on.set()
    stepping.result(SOON)
    stopping.result(SOON)
    assert name not in throttle.locks()
    throttle.new(name, 1)
    assert throttle.run(name, int) == 0
