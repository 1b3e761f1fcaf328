"""Applications: a tree file that runs, in this very interpreter, with real signals."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from resprout.actors import (
    AlreadyStarted,
    BlockingInLoop,
    CallTimeout,
    Crash,
    Down,
    Shutdown,
    StartError,
    process,
)
from resprout.supervision import quiesce, tree
from resprout.supervision.supervisors.snapshot import starting_under
from resprout.supervision.supervisors.supervisor import Supervisor
from resprout.supervision.trees.application import Application
from resprout.supervision.trees.mistakes import InvalidTree

from ...waiting import down_of

pytestmark = pytest.mark.usefixtures("hangups_are_not_ignored")

MODULE = '''
import os
import signal
import threading
from queue import SimpleQueue

from resprout.actors import GenServer, NoReply, Ok, Stop, process

told = SimpleQueue()      # what happened, for the test to see
gate = threading.Event()  # what it lets happen
jobs = []


class Worker(GenServer):
    trap_exit = True

    def init(self, arg):
        self.id = (arg or {}).get("id", "?")
        self.arg = arg or {}
        told.put(("started", self.id))
        if "do" in self.arg:
            process.send(self.pid, self.arg["do"])
        return Ok(None)

    def handle_info(self, message, state):
        match message:
            case "crash":
                raise ValueError("boom")
            case "end":
                return Stop("normal", state)
            case "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
            case "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            case "hang up":
                os.kill(os.getpid(), signal.SIGHUP)
            case "show":
                os.kill(os.getpid(), signal.SIGQUIT)
                os.kill(os.getpid(), signal.SIGHUP)
        return NoReply(state)

    def terminate(self, reason, state):
        told.put(("stopped", self.id))
        if self.arg.get("stubborn"):
            # Until somebody kills it, at which its next wait does not return.
            while True:
                os.kill(os.getpid(), signal.SIGINT)
                try:
                    process.receive(matching=lambda message: False, timeout=0.02)
                except TimeoutError:
                    pass


class Refuses(GenServer):
    def init(self, arg):
        return Stop("no luck")


class Slow(GenServer):
    """Is interrupted while it starts."""

    def init(self, arg):
        os.kill(os.getpid(), signal.SIGTERM)
        told.put(("started", "slow"))
        return Ok(None)

    def terminate(self, reason, state):
        told.put(("stopped", "slow"))


class Gated(GenServer):
    """Starts when the test lets it."""

    def init(self, arg):
        told.put(("starting", "gated"))
        gate.wait()
        return Ok(None)


class Hangs(GenServer):
    """Is interrupted again and again while it starts, and never comes up."""

    def init(self, arg):
        while not gate.wait(0.02):
            os.kill(os.getpid(), signal.SIGINT)
        return Ok(None)


class Job:
    def __init__(self, goal):
        self.goal = goal
        jobs.append(self)


class BadJob:
    def __init__(self):
        raise OSError("no disk")


def work(done):
    told.put(("worked", done, process.current().name))


async def awork(done):
    told.put(("worked", done, process.current().name))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "appmod.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    module = sys.modules.pop("appmod", None)
    if module is not None:
        module.gate.set()


@pytest.fixture
def load(folder: Path) -> Iterator[Callable[..., Application]]:
    loaded: list[Application] = []

    def load(text: str, **settings: str) -> Application:
        (folder / "tree.yaml").write_text(text)
        loaded.append(Application.load(folder / "tree.yaml", settings))
        return loaded[-1]

    yield load
    for application in loaded:
        application.stop(timeout=10)


def told() -> list[object]:
    """Everything that was told so far."""
    queue: SimpleQueue[object] = sys.modules["appmod"].told
    return [queue.get() for _ in range(queue.qsize())]


def worker(id: str, **more: object) -> str:
    args = {"id": id, **{key: more.pop(key) for key in ("do", "stubborn") if key in more}}
    options = "".join(f", {key}: {value}" for key, value in more.items())
    return f"- {{worker: {id}, start: 'appmod:Worker', args: {args}{options}}}\n"


TWO = "name: two\nchildren:\n" + worker("a", name="a") + worker("b")


class TestStartAndStop:
    def test_children_start_in_order_and_stop_in_reverse_order(self, load) -> None:
        application = load(TWO)
        assert application.root is None
        root = application.start()
        assert (application.name, application.root) == ("two", root)
        assert [child.id for child in Supervisor.which_children(root)] == ["a", "b"]
        application.stop()
        assert told() == [("started", "a"), ("started", "b"), ("stopped", "b"), ("stopped", "a")]
        assert not root.alive
        assert process.whereis("a") is None
        assert application.wait(timeout=0) == "shutdown"

    def test_stop_again_does_nothing_and_stop_before_the_start_neither(self, load) -> None:
        application = load(TWO)
        application.stop()
        application.start()
        application.stop("normal")
        application.stop()
        assert application.wait() == "normal"

    def test_it_may_be_started_again_after_its_end_but_not_before(self, load) -> None:
        application = load(TWO)
        first = application.start()
        with pytest.raises(AlreadyStarted) as raised:
            application.start()
        assert raised.value.pid is first
        application.stop()
        assert application.start() is not first

    def test_the_end_of_the_one_who_started_it_does_not_end_it(self, load) -> None:
        application = load(TWO)
        _, ref = process.spawn_monitor(application.start)
        assert down_of(ref).reason == "normal"
        assert application.root.alive

    def test_its_end_does_not_touch_the_one_who_started_it(self, load) -> None:
        application = load("children:\n" + worker("a", name="a", restart="permanent") + "max_restarts: 0\n")
        me = process.current()
        application.start()
        process.send("a", "crash")
        assert application.wait(timeout=5) == "shutdown"
        assert process.current() is me

    def test_a_stop_during_the_start_waits_for_it_and_then_stops(self, load) -> None:
        application = load("children:\n- {worker: g, start: 'appmod:Gated'}\n")
        module = sys.modules["appmod"]
        starting, start_ref = process.spawn_monitor(application.start)
        assert module.told.get(timeout=5) == ("starting", "gated")
        stopping, stop_ref = process.spawn_monitor(application.stop)
        module.gate.set()
        downs = [process.receive(lambda message: isinstance(message, Down), 5) for _ in range(2)]
        assert {down.ref: down.reason for down in downs} == {start_ref: "normal", stop_ref: "normal"}
        assert [pid.alive for pid in (starting, stopping, application.root)] == [False] * 3

    def test_of_two_starts_at_once_one_is_refused(self, load) -> None:
        application = load("children:\n- {worker: g, start: 'appmod:Gated'}\n")
        module = sys.modules["appmod"]
        process.spawn(application.start)
        assert module.told.get(timeout=5) == ("starting", "gated")
        answers: SimpleQueue[object] = SimpleQueue()

        def start() -> None:
            try:
                application.start()
            except AlreadyStarted as error:
                answers.put(error.pid)

        process.spawn(start)
        module.gate.set()
        assert answers.get(timeout=5) is application.root

    def test_wait_gives_up_after_its_timeout(self, load) -> None:
        application = load(TWO)
        with pytest.raises(RuntimeError, match="was not started"):
            application.wait()
        application.start()
        with pytest.raises(CallTimeout):
            application.wait(timeout=0.01)

    def test_a_failed_start_stops_what_had_started(self, load) -> None:
        application = load("children:\n" + worker("a") + "- {worker: b, start: 'appmod:Refuses'}\n")
        with pytest.raises(StartError) as raised:
            application.start()
        assert isinstance(raised.value.reason, Shutdown)
        assert (raised.value.reason.detail.id, raised.value.reason.detail.reason) == ("b", "no luck")
        assert told() == [("started", "a"), ("stopped", "a")]
        assert application.root is None

    def test_nothing_is_started_of_an_invalid_tree(self, load) -> None:
        with pytest.raises(InvalidTree):
            load(TWO + "- {worker: c, start: 'appmod:Wroker'}\n")
        assert told() == []

    def test_the_master_of_a_killed_root_tells_its_end(self, load) -> None:
        application = load(TWO)
        process.exit(application.start(), "kill")
        assert application.wait(timeout=5) == "killed"

    def test_it_must_not_block_an_event_loop(self, load) -> None:
        application = load(TWO)

        async def blocks() -> None:
            for blocking, instead in {
                application.start: "application.astart()",
                application.run: "asyncio.to_thread(application.run)",
                application.stop: "application.astop()",
            }.items():
                with pytest.raises(BlockingInLoop, match=re.escape(f"use `await {instead}`")):
                    blocking()

        asyncio.run(blocks())


class TestJob:
    def test_it_is_made_once_and_before_the_tree_starts(self, load) -> None:
        application = load("job: {start: 'appmod:Job', args: {goal: 3}}\nchildren: []\n")
        jobs = sys.modules["appmod"].jobs
        assert jobs == []
        application.start()
        assert jobs == [application.job]
        assert application.job.goal == 3

    def test_without_one_there_is_none(self, load) -> None:
        assert load("children: []").job is None

    def test_one_that_fails_is_a_failed_start(self, load, caplog: pytest.LogCaptureFixture) -> None:
        application = load("name: x\njob: {start: 'appmod:BadJob'}\nchildren:\n" + worker("a"))
        with pytest.raises(OSError, match="no disk"):
            application.start()
        assert application.run() == 1
        assert "application x did not start: OSError: no disk" in caplog.text
        assert told() == []


class TestRun:
    @pytest.mark.parametrize("do", ["terminate", "interrupt", "hang up"])
    def test_a_signal_stops_the_tree_in_reverse_order(self, load, do: str) -> None:
        before = [signal.getsignal(number) for number in signal.valid_signals()]
        application = load("children:\n" + worker("a") + worker("b", do=do) + worker("c"))
        assert application.run() == 0
        assert told()[3:] == [("stopped", "c"), ("stopped", "b"), ("stopped", "a")]
        assert [signal.getsignal(number) for number in signal.valid_signals()] == before

    def test_a_hangup_that_is_ignored_stays_ignored(self, load) -> None:
        application = load("children:\n" + worker("a", do="hang up") + worker("b", name="b"))
        events: SimpleQueue[object] = sys.modules["appmod"].told

        def then_terminate() -> None:
            assert [events.get(timeout=5), events.get(timeout=5)] == [("started", "a"), ("started", "b")]
            process.send("b", "terminate")

        thread = threading.Thread(target=then_terminate)
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            thread.start()
            assert application.run() == 0
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGHUP, before)
            thread.join()

    def test_sigquit_shows_what_everybody_does_and_the_tree_goes_on(
        self, load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown: list[object] = []
        monkeypatch.setattr("resprout.supervision.trees.application.dump_processes", shown.append)
        before = signal.getsignal(signal.SIGQUIT)
        assert load("children:\n" + worker("a") + worker("b", do="show")).run() == 0
        assert len(shown) == 1
        assert told()[2:] == [("stopped", "b"), ("stopped", "a")]
        assert signal.getsignal(signal.SIGQUIT) is before

    def test_a_signal_during_the_start_is_obeyed_after_it(self, load) -> None:
        application = load("children:\n- {worker: s, start: 'appmod:Slow'}\n" + worker("b"))
        assert application.run() == 0
        assert told() == [("started", "slow"), ("started", "b"), ("stopped", "b")]

    @pytest.mark.parametrize(
        "child",
        [
            worker("b", do="terminate", stubborn=True, shutdown="infinity"),
            "- {worker: h, start: 'appmod:Hangs'}\n",
        ],
    )
    def test_a_second_signal_stops_at_once(self, load, child: str) -> None:
        before = signal.getsignal(signal.SIGINT)
        assert load("children:\n" + child).run() == 128 + signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is before

    def test_the_end_of_a_significant_child_is_the_end_in_order(self, load) -> None:
        child = worker("b", do="end", significant="true", restart="transient")
        assert load("auto_shutdown: any_significant\nchildren:\n" + worker("a") + child).run() == 0
        assert told()[-1] == ("stopped", "a")

    def test_a_root_that_gives_up_is_a_failure_that_names_the_child(self, load, caplog) -> None:
        application = load("name: x\nmax_restarts: 2\nchildren:\n" + worker("a") + worker("b", do="crash"))
        assert application.run() == 1
        [report] = [r.getMessage() for r in caplog.records if r.name == "resprout.application"]
        assert "application x ended: supervisor" in report
        assert "more than 2 restarts in 5.0 s, last of 'b': ValueError: boom" in report

    def test_so_is_a_supervisor_below_that_gave_up_and_ended_the_tree_by_that(self, load, caplog) -> None:
        below = (
            "- supervisor: s\n  significant: true\n  restart: transient\n  max_restarts: 0\n  children:\n  "
        )
        application = load("auto_shutdown: any_significant\nchildren:\n" + below + worker("b", do="crash"))
        assert application.run() == 1
        assert "last of 'b'" in caplog.text

    def test_a_supervisor_that_gave_up_and_was_restarted_is_no_failure(self, load, caplog) -> None:
        application = load(
            "auto_shutdown: any_significant\nchildren:\n- supervisor: s\n  max_restarts: 0\n  children:\n  "
            + worker("b", name="b")
            + worker("end", name="end", significant="true", restart="transient")
        )
        statuses: SimpleQueue[int] = SimpleQueue()
        thread = threading.Thread(target=lambda: statuses.put(application.run()))
        thread.start()
        events: SimpleQueue[object] = sys.modules["appmod"].told
        assert [events.get(timeout=5), events.get(timeout=5)] == [("started", "b"), ("started", "end")]
        process.send("b", "crash")
        assert [events.get(timeout=5), events.get(timeout=5)] == [("stopped", "b"), ("started", "b")]
        process.send("end", "end")
        assert statuses.get(timeout=5) == 0
        thread.join()
        assert "application" not in [record.name.rpartition(".")[2] for record in caplog.records]

    def test_a_root_that_is_killed_is_a_failure(self, load, caplog) -> None:
        application = load("name: x\nchildren:\n" + worker("a"))
        statuses: SimpleQueue[int] = SimpleQueue()
        running: SimpleQueue[str] = SimpleQueue()
        logger = logging.getLogger("resprout.application")
        listening = logging.Handler()
        listening.emit = lambda record: running.put(record.getMessage())  # type: ignore[method-assign]
        caplog.set_level(logging.INFO, logger.name)
        logger.addHandler(listening)
        try:
            thread = threading.Thread(target=lambda: statuses.put(application.run()))
            thread.start()
            assert running.get(timeout=5) == "application x runs"
            process.exit(application.root, "kill")
            assert statuses.get(timeout=5) == 1
            thread.join()
        finally:
            logger.removeHandler(listening)
        assert "its root supervisor ended with 'killed'" in caplog.text

    def test_a_failed_start_is_told_with_the_child(self, load, caplog) -> None:
        application = load("name: x\nchildren:\n- {worker: b, start: 'appmod:Refuses'}\n")
        assert application.run() == 1
        place = application.tree.place(["b"])
        assert place.endswith("tree.yaml:3:3")
        assert f"application x did not start: {place}: child 'b': 'no luck'\n" in caplog.text
        assert isinstance(application.start_error, StartError)

    def test_one_that_runs_cannot_be_run(self, load) -> None:
        application = load(TWO)
        root = application.start()
        with pytest.raises(AlreadyStarted):
            application.run()
        assert root.alive


class TestWhatIsBeingStarted:
    def test_the_innermost_child_is_told_while_its_supervisors_wait_for_it(self, load) -> None:
        below = "- {supervisor: s, children: [{worker: g, start: 'appmod:Gated'}]}\n"
        application = load("children:\n" + worker("a") + below)
        assert (application.begun, application.starting()) == (False, [])
        module = sys.modules["appmod"]
        thread = threading.Thread(target=application.start)
        thread.start()
        assert module.told.get(timeout=5) == ("started", "a")
        assert module.told.get(timeout=5) == ("starting", "gated")
        [child] = application.starting()
        assert (child.path, child.start) == (("s", "g"), module.Gated.start_link)
        assert application.begun
        module.gate.set()
        thread.join()
        assert application.starting() == []

    def test_a_restart_is_over_when_the_child_is_there(self, load) -> None:
        application = load("children:\n" + worker("a", name="a"))
        root = application.start()
        process.send("a", "crash")
        quiesce()
        assert starting_under(root.parent) == []
        assert [node.restarts for node in tree(root).children] == [1]


class TestFunctions:
    @pytest.mark.parametrize("function", ["work", "awork"])
    def test_a_function_is_run_as_a_named_process(self, load, function: str) -> None:
        child = (
            f"- {{worker: w, run: 'appmod:{function}', args: {{done: 7}}, name: wn, restart: transient}}\n"
        )
        application = load("children:\n" + child)
        root = application.start()
        assert sys.modules["appmod"].told.get(timeout=5) == ("worked", 7, "wn")
        [child_info] = Supervisor.which_children(root)
        assert child_info.id == "w"

    def test_a_function_whose_name_is_taken_does_not_start(self, load) -> None:
        child = "- {worker: w, run: 'appmod:work', args: {done: 7}, name: wn}\n"
        application = load("children:\n" + child)
        process.register(process.current(), "wn")
        try:
            with pytest.raises(StartError) as raised:
                application.start()
        finally:
            process.unregister("wn")
        assert isinstance(raised.value.reason, Shutdown)
        assert isinstance(raised.value.reason.detail.reason, Crash)
        assert told() == []
