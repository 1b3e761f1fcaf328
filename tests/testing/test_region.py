"""What `testing.isolated()` begins with, ends, forgets and tells."""

from __future__ import annotations

import asyncio
import logging
import threading
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout import (
    Agent,
    AlreadyStarted,
    Application,
    BlockingInLoop,
    CallTimeout,
    ChildSpec,
    DynamicSupervisor,
    GenServer,
    LockNotFound,
    NotFound,
    Ok,
    Pid,
    Registry,
    ServerExit,
    Supervisor,
    UnknownRegistry,
    process,
    telemetry,
    testing,
    throttle,
)

from .counting import Counter


class Noting(Counter):
    """Notes its end."""

    trap_exit = True
    ends: list[object]

    def init(self, arg: Any) -> Any:
        self.ends, self.label = arg
        return Ok(0)

    def terminate(self, reason: object, state: object) -> None:
        self.ends.append(self.label)


def counter(name: str) -> ChildSpec:
    return Counter.child_spec(0, id=name, name=name)


def leaks_of(block: Callable[[testing.Region], object], **options: Any) -> tuple[str, ...]:
    """What a region tells that was left behind in it."""
    with pytest.raises(testing.LeakError) as caught:
        with testing.isolated(**options) as region:
            block(region)
    return caught.value.leaks


@pytest.fixture
def outside() -> Iterator[Pid]:
    """A process from before the region."""
    pid = Counter.start(0, name="outside")
    yield pid
    GenServer.stop(pid)


# What it starts with, and what goes on outside


def test_the_thread_is_another_process_inside_and_the_former_one_afterwards() -> None:
    before = process.current()
    process.trap_exit(True)
    process.send(before, "mail")
    with testing.isolated():
        inside = process.current()
        assert inside is not before
        assert process.trap_exit(True) is False
        with pytest.raises(CallTimeout):
            process.receive(timeout=0)
        process.send(inside, "left unread")
    assert process.current() is before
    assert process.trap_exit(False) is True
    assert process.receive(timeout=0) == "mail"
    assert not inside.alive


def test_what_was_there_before_goes_on_with_all_that_it_starts(outside: Pid) -> None:
    supervisor = DynamicSupervisor.start_link(name="pool")
    with testing.isolated():
        child = DynamicSupervisor.start_child(supervisor, counter("inside a tree of before"))
        assert child is not None
        process.link(outside)
    assert child.alive
    assert outside.alive
    DynamicSupervisor.stop(supervisor)


def test_a_region_inside_another_ends_only_what_is_its_own() -> None:
    with testing.isolated() as outer:
        first = outer.start_supervised(counter("first"))
        with testing.isolated() as inner:
            second = inner.start_supervised(counter("second"))
            assert testing.start_supervised(counter("third")) is not None
        assert first is not None
        assert first.alive
        assert second is not None
        assert not second.alive
        assert process.whereis("third") is None


# What it stops


def test_children_are_stopped_in_the_reverse_order_of_their_starts() -> None:
    ends: list[object] = []
    with testing.isolated() as region:
        for label in ("one", "two", "three"):
            region.start_supervised(Noting.child_spec((ends, label), id=label))
    assert ends == ["three", "two", "one"]


def test_what_was_not_stopped_is_stopped_the_newest_tree_first_and_each_in_order() -> None:
    ends: list[object] = []

    def block(region: testing.Region) -> None:
        region.start_supervised(Noting.child_spec((ends, "supervised"), id=0))
        Noting.start((ends, "oldest"))
        specs = [Noting.child_spec((ends, label), id=label) for label in ("a", "b")]
        Supervisor.start_link(specs, strategy="one_for_one")
        Noting.start_link((ends, "newest"))

    leaks = leaks_of(block)
    assert ends == ["supervised", "newest", "b", "a", "oldest"]
    assert len(leaks) == 3


def test_what_does_not_stop_in_time_is_killed_and_keeps_nobody_else() -> None:
    stays = threading.Event()

    class Stuck(Counter):
        trap_exit = True

        def terminate(self, reason: object, state: object) -> None:
            stays.wait(10)

    def block(region: testing.Region) -> None:
        Stuck.start_link(0, name="stuck")
        Counter.start_link(0, name="other")
        # The end of the region comes to its stragglers only then.
        threading.Timer(0.2, stays.set).start()

    leaks = leaks_of(block, timeout=0.1)
    assert [leak.split()[2] for leak in leaks] == ["stuck>,", "other>,"]
    assert process.whereis("stuck") is None
    assert process.whereis("other") is None


def test_names_locks_registries_and_telemetry_handlers_of_the_block_are_gone(outside: Pid) -> None:
    process.unregister("outside")

    def block(region: testing.Region) -> None:
        process.register(process.current(), "me")
        process.register(outside, "borrowed")
        throttle.new("slots", 1)
        throttle.acquire("slots")
        Registry.start_link(keys="unique", name="keys")
        telemetry.attach("handler", (), lambda *_: None)

    leaks = leaks_of(block)
    assert [leak.split(",")[0].split(" <")[0] for leak in leaks] == ["lock 'slots'", "RegistryServer"]
    assert "held by" in leaks[0]
    assert [process.whereis(name) for name in ("me", "borrowed", "slots", "keys")] == [None] * 4
    with pytest.raises(LockNotFound):
        throttle.lock_state("slots")
    with pytest.raises(UnknownRegistry):
        Registry.count("keys")
    assert telemetry.detach("handler") is False


def test_what_the_thread_held_of_a_lock_from_before_is_given_back() -> None:
    throttle.new("before", 1)
    with testing.isolated():
        throttle.acquire("before")
    assert throttle.lock_state("before").running == 0
    grant = throttle.attempt("before")
    assert grant is not None
    grant.release()
    throttle.stop_lock("before")


def test_a_registry_that_was_killed_leaves_no_table() -> None:
    with testing.isolated():
        pid = Registry.start_link(keys="unique", name="keys")
        process.unlink(pid)
        process.exit(pid, "kill")
        testing.await_down(pid)
        assert "keys" in Registry.registries()
    assert "keys" not in Registry.registries()


def test_a_timer_to_a_name_does_not_go_off_after_the_block(outside: Pid) -> None:
    with testing.isolated() as region:
        clock = region.clock()
        region.start_supervised(counter("server"))
        late = process.send_after("server", "late", 60.0)
        kept = process.send_after(outside, "of a process from before", 60.0)
        assert clock.now() > 0
    assert process.cancel_timer(late) is None
    assert process.cancel_timer(kept) == pytest.approx(60.0, abs=5.0)


# What it tells


def test_a_block_that_leaves_nothing_raises_nothing() -> None:
    with testing.isolated() as region:
        region.start_supervised(counter("counter"))
        pid = Counter.start(0)
        GenServer.stop(pid)
        throttle.new("slots", 1)
        throttle.stop_lock("slots")
        process.spawn(lambda: None)


def test_a_leak_is_named_with_who_started_it_and_what_is_below_it() -> None:
    leaks = leaks_of(
        lambda region: Supervisor.start_link([counter("child")], strategy="one_for_one", name="tree")
    )
    assert len(leaks) == 1
    assert leaks[0].startswith("Supervisor <0.")
    assert " tree>, started by <0." in leaks[0]
    assert leaks[0].endswith(" child>")


def test_a_thread_that_goes_on_is_named_and_belongs_to_no_later_region() -> None:
    go = threading.Event()
    said = threading.Event()

    def body() -> None:
        process.current()
        said.set()
        go.wait(10)
        try:
            process.current()
        except ServerExit:
            process.current()
        said.set()
        go.wait(10)

    thread = threading.Thread(target=body, name="forgotten")

    def block(region: testing.Region) -> None:
        thread.start()
        assert said.wait(10)
        said.clear()

    leaks = leaks_of(block)
    assert [leak.split()[0] for leak in leaks] == ["thread"]
    assert "forgotten" in leaks[0]
    with testing.isolated():
        go.set()
        thread.join(10)


def test_code_of_a_killed_process_that_goes_on_is_named() -> None:
    stays = threading.Event()
    began = threading.Event()

    def body() -> None:
        began.set()
        stays.wait(20)

    def block(region: testing.Region) -> None:
        pid = process.spawn(body)
        assert began.wait(10)
        process.exit(pid, "kill")

    leaks = leaks_of(block)
    stays.set()
    assert len(leaks) == 1
    assert "which is dead ('killed'), goes on" in leaks[0]


def test_an_exit_signal_that_the_thread_has_not_met_is_told_and_hits_nobody_later() -> None:
    def block(region: testing.Region) -> None:
        pid = Counter.start_link(0)
        region.crash(pid, ValueError("boom"))
        process_gone(pid)

    leaks = leaks_of(block)
    assert len(leaks) == 1
    assert "ValueError('boom')" in leaks[0]
    process.current()


def process_gone(pid: Pid) -> None:
    """Wait for an end without a call that would meet an exit signal."""
    done = threading.Event()

    def wait() -> None:
        testing.await_down(pid)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert done.is_set()


def test_an_error_of_the_block_is_what_is_raised() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        with testing.isolated():
            Counter.start(0, name="left")
            raise ZeroDivisionError
    assert process.whereis("left") is None
    assert "left" in "".join(getattr(caught.value, "__notes__", ["left"]))


def test_leaks_may_be_ignored_and_are_stopped_all_the_same() -> None:
    with testing.isolated(leaks="ignore"):
        Counter.start(0, name="left")
    assert process.whereis("left") is None


def test_crash_reports_are_the_regions_own(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "resprout"):
        with testing.isolated() as region:
            pid = region.start_supervised(counter("counter"))
            region.crash("counter")
            region.await_restart("counter")
            assert [report.pid for report in region.crashes] == [pid]
        with testing.isolated() as region:
            assert region.crashes == ()


def test_every_region_logs_its_own_crashes_however_many_there_were_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        with testing.isolated() as region:
            caplog.clear()
            for number in range(20):
                region.start_supervised(Counter.child_spec(0, id=number, restart="temporary"))
                region.crash(Supervisor.which_children(region.supervisor)[-1].pid)
            region.eventually(lambda: len(region.crashes) == 20)
        assert sum("InjectedCrash" in record.getMessage() for record in caplog.records) == 20


# start_supervised


def test_a_supervised_child_is_restarted_and_the_thread_lives_on() -> None:
    with testing.isolated() as region:
        first = region.start_supervised(counter("counter"))
        assert region.crash("counter") is first
        second = region.await_restart("counter")
        assert second is not first
        assert process.alive(process.current())


def test_two_children_of_one_id_are_refused() -> None:
    with testing.isolated() as region:
        region.start_supervised(Counter)
        with pytest.raises(AlreadyStarted):
            region.start_supervised(Counter)


def test_a_supervised_child_may_be_stopped_before_the_end_by_id_or_pid() -> None:
    with testing.isolated() as region:
        for _ in range(2):
            region.start_supervised(counter("counter"))
            testing.stop_supervised("counter")
            pid = region.start_supervised(Counter)
            region.stop_supervised(pid)
            assert pid is not None
            assert not pid.alive
        with pytest.raises(NotFound):
            region.stop_supervised("counter")


def test_start_supervised_outside_of_any_region_says_where_it_belongs() -> None:
    with pytest.raises(RuntimeError, match="isolated"):
        testing.start_supervised(Counter)


# Its forms


def test_as_a_decorator_each_call_has_a_region_of_its_own() -> None:
    pids = []

    @testing.isolated()
    def block(count: int) -> int:
        pids.append(testing.start_supervised(counter("counter")))
        return count

    assert [block(1), block(2)] == [1, 2]
    assert [pid.alive for pid in pids if pid is not None] == [False, False]


def test_coroutines_have_regions_of_their_own() -> None:
    @testing.isolated()
    async def block() -> Pid:
        pid = await innermost().astart_supervised(counter("counter"))
        assert pid is not None
        assert await GenServer.acall(pid, "count") == 0
        testing.crash("counter")
        again = await testing.aawait_restart("counter")
        process.send(process.current(), "left unread")
        return again

    async def main() -> None:
        before = process.current()
        again = await block()
        assert not again.alive
        assert process.current() is before
        with pytest.raises(CallTimeout):
            await process.areceive(timeout=0)

    asyncio.run(main())


def innermost() -> testing.Region:
    return testing.region._innermost()  # type: ignore[attr-defined,no-any-return]


def test_a_task_that_goes_on_is_named() -> None:
    async def stay() -> None:
        process.current()
        await asyncio.Event().wait()

    async def main() -> tuple[str, ...]:
        with pytest.raises(testing.LeakError) as caught:
            async with testing.isolated():
                task = asyncio.create_task(stay(), name="forgotten")
                await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        return caught.value.leaks

    leaks = asyncio.run(main())
    assert [leak.split()[0] for leak in leaks] == ["task"]
    assert "forgotten" in leaks[0]


def test_with_in_an_event_loop_names_the_async_form() -> None:
    async def main() -> None:
        with pytest.raises(BlockingInLoop, match="async with isolated"):
            with testing.isolated():
                raise AssertionError("not reached")

    asyncio.run(main())


def test_unittest_enters_it_as_any_context_manager() -> None:
    names: list[object] = []

    class Case(unittest.TestCase):
        def setUp(self) -> None:
            region = testing.isolated()
            self.region = region.__enter__()
            self.addCleanup(region.__exit__, None, None, None)

        def test_clean(self) -> None:
            self.region.start_supervised(counter("counter"))

        def test_leaky(self) -> None:
            names.append(Counter.start(0, name="counter"))

        def test_z_clean(self) -> None:
            assert process.whereis("counter") is None

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert result.testsRun == 3
    assert [test.id().rpartition(".")[2] for test, _ in result.failures + result.errors] == ["test_leaky"]


@pytest.mark.parametrize("options", [{"leaks": "no"}, {"timeout": -1}, {"timeout": "1"}])
def test_odd_options_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        testing.isolated(**options)


def test_a_block_is_opened_once() -> None:
    block = testing.isolated()
    with block:
        with pytest.raises(RuntimeError, match="a new isolated"):
            block.__enter__()
    with pytest.raises(RuntimeError, match="has ended"):
        block.__exit__(None, None, None)


def test_agents_and_other_kinds_are_given_to_it_as_to_any_supervisor() -> None:
    with testing.isolated() as region:
        pid = region.start_supervised(Agent.child_spec(lambda: 1, id="agent"))
        assert Agent.get(pid, lambda state: state) == 1
        region.start_supervised(Registry.child_spec(keys="unique", name="keys"))
        region.start_supervised(throttle.child_spec("slots", 1))
        assert throttle.locks() == ["slots"]
    assert throttle.locks() == []
    assert "keys" not in Registry.registries()


def test_an_application_that_was_not_stopped_is_stopped_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = tmp_path / "tree.yaml"
    tree.write_text(
        "name: app\nstrategy: one_for_one\nchildren:\n  - {registry: users, keys: unique}\n"
        "  - {throttle: syncs, num_slots: 2}\n",
        encoding="utf-8",
    )

    def block(region: testing.Region) -> None:
        Application.load(tree).start()

    with caplog.at_level(logging.INFO, "resprout"):
        leaks = leaks_of(block)
    assert [leak.split()[0] for leak in leaks] == ["ApplicationMaster", "lock"]
    assert caplog.records == []
    assert [process.whereis(name) for name in ("app", "users", "syncs")] == [None] * 3
    assert ("syncs" in throttle.locks(), "users" in Registry.registries()) == (False, False)


def test_a_process_may_have_a_region_too_and_stays_who_it_is() -> None:
    seen: list[object] = []

    def body() -> None:
        me = process.current()
        with testing.isolated() as region:
            child = region.start_supervised(counter("inner"))
            seen.append(process.current() is me)
        seen.extend([child is not None and child.alive, process.current() is me])

    testing.await_down(process.spawn(body))
    assert seen == [True, False, True]


def test_threads_may_have_regions_one_after_another() -> None:
    seen: list[object] = []

    def body() -> None:
        for _ in range(2):
            with testing.isolated() as region:
                seen.append(region.start_supervised(counter("inner")))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert [pid.alive for pid in seen if isinstance(pid, Pid)] == [False, False]
