"""Supervisors of what lives on an event loop that is closed: they do not try for ever."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout.actors import (
    GenServer,
    NoReply,
    Ok,
    Pid,
    Ref,
    Reply,
    Shutdown,
    StartError,
    Task,
    process,
    telemetry,
)
from resprout.supervision import (
    Application,
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    GaveUp,
    PartitionSupervisor,
    Supervisor,
    TaskSupervisor,
)

from ...waiting import down_of

CLOSED = Shutdown("loop closed")
TOLD = "did not start again: Shutdown(detail='loop closed')"


class Server(GenServer):
    async def init(self, arg: Any) -> Ok:
        return Ok(arg)

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
        return Reply(message, state)


class Threaded(GenServer):
    """Has a thread itself, and something that lives on the loop."""

    def init(self, arg: Any) -> Ok:
        return Ok(Server.start_link())


async def waits() -> None:
    await asyncio.Event().wait()


def specs(start: Any, backoff: Backoff | None) -> list[ChildSpec]:
    return [ChildSpec(str(number), start, backoff=backoff) for number in range(3)]


async def static(restarts: int, backoff: Backoff | None) -> Pid:
    children = specs((Server.start_link, ()), backoff)
    return await Supervisor.astart_link(children, strategy="one_for_one", max_restarts=restarts)


async def all_for_one(restarts: int, backoff: Backoff | None) -> Pid:
    children = specs((Server.start_link, ()), backoff)
    return await Supervisor.astart_link(children, strategy="one_for_all", max_restarts=restarts)


async def of_threads(restarts: int, backoff: Backoff | None) -> Pid:
    children = specs((Threaded.start_link, ()), backoff)
    return await Supervisor.astart_link(children, strategy="one_for_one", max_restarts=restarts)


async def of_workers(restarts: int, backoff: Backoff | None) -> Pid:
    children = specs((process.spawn_link, (waits,)), backoff)
    return await Supervisor.astart_link(children, strategy="one_for_one", max_restarts=restarts)


async def dynamic(restarts: int, backoff: Backoff | None) -> Pid:
    supervisor: Pid = await DynamicSupervisor.astart_link(max_restarts=restarts)
    for child in specs((Server.start_link, ()), backoff):
        await DynamicSupervisor.astart_child(supervisor, child)
    return supervisor


async def partitions(restarts: int, backoff: Backoff | None) -> Pid:
    [child, *_] = specs((Server.start_link, ()), backoff)
    return await PartitionSupervisor.astart_link(
        child_spec=child, name="parts", partitions=3, max_restarts=restarts
    )


async def tasks(restarts: int, backoff: Backoff | None) -> Pid:
    supervisor = await TaskSupervisor.astart_link(max_restarts=restarts)
    for _ in range(3):
        await TaskSupervisor.astart_child(supervisor, waits, restart="permanent")
    return supervisor


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("backoff", [None, Backoff(initial=0.001)], ids=["at once", "backoff"])
@pytest.mark.parametrize("restarts", [3, 10**6])
@pytest.mark.parametrize(
    "start",
    [static, all_for_one, of_threads, of_workers, dynamic, partitions, tasks],
    ids=lambda it: it.__name__,
)
def test_a_supervisor_whose_children_have_no_loop_any_more_gives_up(
    loop: asyncio.AbstractEventLoop,
    start: Callable[[int, Backoff | None], Any],
    restarts: int,
    backoff: Backoff | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> Pid:
        supervisor: Pid = await start(restarts, backoff)
        process.unlink(supervisor)
        return supervisor

    supervisor = loop.run_until_complete(main())
    ref = process.monitor(supervisor)
    with caplog.at_level(logging.WARNING, "resprout.supervision"):
        loop.close()
        assert down_of(ref).reason == CLOSED
    texts = [record.getMessage() for record in caplog.records if record.name == "resprout.supervision"]
    assert len(texts) == 2
    assert "did not start again: " in texts[0]
    assert (TOLD in texts[0]) is (start is not of_threads)
    assert "a start on an event loop that is closed, last of child " in texts[1]


@pytest.mark.parametrize("on_a_loop", [False, True], ids=["none", "another"])
def test_a_loop_on_which_no_child_lives_may_be_replaced(
    loop: asyncio.AbstractEventLoop, on_a_loop: bool
) -> None:
    """A child that was refused since a loop of its own had just been closed is tried again."""
    starts: list[None] = []
    told = threading.Event()

    class Uses(GenServer):
        def init(self, arg: Any) -> Ok:
            starts.append(None)
            if len(starts) == 2:
                raise StartError(CLOSED)
            if len(starts) == 3:
                told.set()
            return Ok(arg)

    children = [ChildSpec("uses", (Uses.start_link, ()))]
    supervisor = (
        loop.run_until_complete(started(children))
        if on_a_loop
        else Supervisor.start_link(children, strategy="one_for_one")
    )
    process.unlink(supervisor)
    [info] = Supervisor.which_children(supervisor)
    process.exit(info.pid, "kill")
    assert told.wait(20.0)
    assert supervisor.alive
    Supervisor.stop(supervisor)


async def started(children: list[ChildSpec]) -> Pid:
    supervisor: Pid = await Supervisor.astart_link(children, strategy="one_for_one")
    process.unlink(supervisor)
    return supervisor


@pytest.mark.parametrize("restarts", [3, 10**6])
def test_so_does_each_supervisor_above_it(
    loop: asyncio.AbstractEventLoop, restarts: int, caplog: pytest.LogCaptureFixture
) -> None:
    def below(*children: Any) -> dict[str, Any]:
        options = {"strategy": "one_for_one", "max_restarts": restarts}
        return {"id": "below", "start": (Supervisor.start_link, (list(children),), options)}

    async def main() -> Pid:
        tree = [below(below(*specs((Server.start_link, ()), None)))]
        supervisor: Pid = await Supervisor.astart_link(tree, strategy="one_for_one", max_restarts=restarts)
        process.unlink(supervisor)
        return supervisor

    supervisor = loop.run_until_complete(main())
    ref = process.monitor(supervisor)
    loop.close()
    assert down_of(ref).reason == CLOSED
    assert caplog.text.count("; it stops everything and exits") == 3


def test_a_loop_that_ends_in_order_has_a_tree_stopped_in_order_with_that_reason() -> None:
    ended: list[tuple[str, object]] = []

    class Tidy(Server):
        trap_exit = True

        async def init(self, arg: str) -> Ok:
            self.id = arg
            return Ok(arg)

        async def terminate(self, reason: object, state: Any) -> None:
            await asyncio.sleep(0)
            ended.append((self.id, reason))

    class Dies(Tidy):
        """Does not trap exits, so that its terminate does not run, as in OTP."""

        trap_exit = False

    class Thread(GenServer):
        trap_exit = True

        def terminate(self, reason: object, state: Any) -> None:
            ended.append(("thread", reason))

    async def main() -> list[Ref]:
        below = [ChildSpec("below", (Tidy.start_link, ("below",)))]
        children = [
            ChildSpec("first", (Tidy.start_link, ("first",))),
            ChildSpec("dies", (Dies.start_link, ("dies",))),
            ChildSpec("many", (DynamicSupervisor.start_link, (), {}), type="supervisor"),
            ChildSpec("thread", (Thread.start_link, ())),
            ChildSpec("inner", (Supervisor.start_link, (below,), {"strategy": "one_for_one"})),
        ]
        top: Pid = await Supervisor.astart_link(children, strategy="one_for_one", max_restarts=10**6)
        infos = await Supervisor.awhich_children(top)
        many, inner = infos[2].pid, infos[4].pid
        process.unlink(top)
        one = await DynamicSupervisor.astart_child(many, (Tidy, "one of many"))
        [deep] = await Supervisor.awhich_children(inner)
        return await asyncio.to_thread(watch, [top, one, deep.pid, *(info.pid for info in infos)])

    def watch(pids: list[Pid]) -> list[Ref]:
        return watching.call(lambda: [process.monitor(pid) for pid in pids])

    class Watching(GenServer):
        def init(self, arg: Any) -> Ok:
            return Ok([])

        def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
            return Reply(message(), state)

        def handle_info(self, message: Any, state: list[Any]) -> NoReply:
            me.send(message)
            return NoReply(state)

    me, watching = process.current(), Watching.start()
    refs = asyncio.run(main())
    assert {down_of(ref).reason for ref in refs} == {CLOSED}
    assert len(refs) == 8
    order = ["below", "thread", "one of many", "first"]
    assert ended == [(id, CLOSED) for id in order]
    watching.stop()


def test_a_child_with_a_budget_of_its_own_stays_down_if_that_is_what_it_wants(
    loop: asyncio.AbstractEventLoop,
) -> None:
    told: list[GaveUp] = []

    async def main() -> Pid:
        child = ChildSpec(
            "child", (Server.start_link, ()), max_restarts=10**6, max_seconds=5.0, on_exhausted="give_up"
        )
        supervisor: Pid = await Supervisor.astart_link([child], strategy="one_for_one")
        process.unlink(supervisor)
        return supervisor

    supervisor = loop.run_until_complete(main())
    name = ("resprout", "supervisor", "gave_up")
    me = process.current()

    def tell(event: Any, measurements: Any, metadata: Any) -> None:
        told.append(metadata["event"])
        me.send("told")

    telemetry.attach("test", name, tell)
    try:
        loop.close()
        process.receive(lambda message: message == "told", timeout=20.0)
    finally:
        telemetry.detach("test")
    assert told == [GaveUp(supervisor, "child", CLOSED, 10**6, 5.0, "child", in_vain=True)]
    assert told[0].cause == "a start on an event loop that is closed"
    [info] = Supervisor.which_children(supervisor)
    assert info.pid is None
    Supervisor.stop(supervisor)


@pytest.mark.parametrize("backoff", ["", ", backoff: {initial: 0.001, maximum: 0.002}"])
@pytest.mark.parametrize("restarts", [3, 10**6])
@pytest.mark.parametrize("child", ["start: 'MODULE:Server'", "run: 'MODULE:waits'"])
def test_an_application_in_a_loop_ends_when_that_is_closed(
    loop: asyncio.AbstractEventLoop, tmp_path: Path, child: str, restarts: int, backoff: str
) -> None:
    path = tmp_path / "tree.yaml"
    child = child.replace("MODULE", __name__)
    text = f"name: app\nmax_restarts: {restarts}\nchildren:\n  - {{worker: one, {child}{backoff}}}\n"
    path.write_text(text, encoding="utf-8")
    application = Application.load(path, socket=False)
    loop.run_until_complete(application.astart())
    loop.close()
    assert application.wait(20.0) == CLOSED


def test_what_starts_on_a_loop_that_is_closed_is_an_error_that_says_so(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Later(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
            with pytest.raises(StartError) as caught:
                message()
            return Reply(caught.value.reason, state)

    later = loop.run_until_complete(Later.astart())
    loop.close()
    for start in (Server.start, lambda: process.spawn(waits), lambda: Task.async_(waits)):
        assert later.call(start) == CLOSED
    later.stop()
