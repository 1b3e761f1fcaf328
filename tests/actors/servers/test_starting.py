"""Starting: names, links, failures, timeouts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from resprout.actors import (
    IGNORE,
    Agent,
    AlreadyRegistered,
    AlreadyStarted,
    CallTimeout,
    Exited,
    GenServer,
    NoReply,
    Ok,
    Pid,
    Reply,
    ResproutError,
    StartError,
    Stop,
    process,
)

WATCHDOG = 20.0


class Server(GenServer):
    """init is a function that start gets."""

    def init(self, arg: Any) -> Any:
        return arg(self) if callable(arg) else Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return message(self, from_, state) if callable(message) else Reply(state, state)

    def handle_info(self, message: Any, state: Any) -> Any:
        return NoReply(message)


def test_start_returns_when_init_is_through(way):
    seen: list[object] = []
    pid = way(Server).start(lambda server: seen.append(process.current()) or Ok())
    assert seen == [pid]
    assert pid.alive
    pid.stop()


def test_the_pid_is_known_inside_init(way):
    seen: list[object] = []
    pid = way(Server).start(lambda server: seen.append(server.pid) or Ok())
    assert seen == [pid]
    pid.stop()


def test_the_name_is_known_inside_init(way):
    seen: list[object] = []
    pid = way(Server).start(
        lambda server: seen.append(process.whereis("start.named")) or Ok(), name="start.named"
    )
    assert seen == [pid]
    assert pid.name == "start.named"
    assert "start.named" in str(pid)
    assert "start.named" in process.registered()
    pid.stop()
    assert "start.named" not in process.registered()


def test_a_name_that_is_taken_is_already_started_and_init_does_not_run(way):
    first = way(Server).start(name="start.taken")
    ran: list[object] = []
    for start in (way(Server).start, way(Server).start_link):
        with pytest.raises(AlreadyStarted) as caught:
            start(lambda server: ran.append(1) or Ok(), name="start.taken")
        assert caught.value.pid is first
        assert isinstance(caught.value, StartError)
    assert ran == []
    assert process.whereis("start.taken") is first
    first.stop()


def test_a_name_is_free_as_soon_as_its_process_is_dead(way, gate):
    """Even though the handler of the dead one goes on."""
    held = gate()

    def wait(server: Any, from_: Any, state: Any) -> Any:
        held()
        return Reply(0, state)

    first = Server.start(name="start.reused")
    GenServer.send_request(first, wait)
    held.await_arrival()
    process.exit(first, "kill")
    second = way(Server).start(name="start.reused")
    assert process.whereis("start.reused") is second
    held.open()
    second.stop()


@pytest.mark.parametrize("outcome", [lambda server: IGNORE, lambda server: Stop("no"), lambda server: 1 / 0])
def test_a_start_that_comes_to_nothing_leaves_nothing(way, outcome, crashes):
    """No name, no process, no exit signal besides the error."""
    process.trap_exit(True)
    before = set(process.processes())
    for start in (way(Server).start, way(Server).start_link):
        try:
            assert start(outcome, name="start.nothing") is None
        except StartError:
            pass
        assert process.whereis("start.nothing") is None
    assert [pid for pid in process.processes() if pid not in before] == []
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)
    assert process.info(process.current()).links == ()


def test_an_ignored_or_refused_start_is_silent(way, caplog):
    way(Server).start(lambda server: IGNORE)
    with pytest.raises(StartError):
        way(Server).start(lambda server: Stop("normal"))
    assert caplog.records == []


def test_start_links_to_nobody_and_start_link_to_the_starter(way):
    me = process.current()
    alone, linked = way(Server).start(), way(Server).start_link()
    assert process.info(alone).links == ()
    assert process.info(alone).parent is None
    assert process.info(linked).links == (me,)
    assert process.info(linked).parent is me
    process.unlink(linked)
    alone.stop()
    linked.stop()


def test_the_link_is_there_before_init_runs(way):
    links: list[object] = []
    pid = way(Server).start_link(lambda server: links.append(process.info(server.pid).links) or Ok())
    assert links == [(process.current(),)]
    process.unlink(pid)
    pid.stop()


@pytest.fixture
def slow(gate):
    """An init that stands at a gate: (the gate, the function, the processes that have begun with it)."""
    held = gate()
    begun: list[Pid] = []

    def init(server: Any) -> Ok:
        begun.append(server.pid)
        held()
        return Ok()

    yield held, init, begun
    held.open()


@pytest.mark.parametrize("start", [Server.start, Server.start_link], ids=["start", "start_link"])
def test_a_start_that_takes_too_long_is_killed(start, slow):
    _, init, begun = slow
    with pytest.raises(StartError) as caught:
        start(init, name="start.slow", timeout=0.02)
    assert caught.value.reason == "timeout"
    [pid] = begun
    assert not pid.alive
    assert pid.exit_reason == "killed"
    assert process.whereis("start.slow") is None


def test_a_server_that_is_killed_during_init_is_a_start_error(slow):
    held, init, begun = slow
    errors: list[StartError] = []

    def start() -> None:
        try:
            Server.start(init)
        except StartError as error:
            errors.append(error)

    starting = threading.Thread(target=start)
    starting.start()
    held.await_arrival()
    process.exit(begun[0], "kill")
    starting.join(WATCHDOG)
    assert errors[0].reason == "killed"


def test_messages_sent_during_init_come_after_it(way):
    pid = way(Server).start(lambda server: process.send(server.pid, "early") or Ok("first"))
    assert pid.call("state") == "early"
    pid.stop()


def test_servers_start_servers_in_their_init(way):
    def nested(depth: int) -> Any:
        if not depth:
            return lambda server: Ok("innermost")
        return lambda server: Ok(Server.start(nested(depth - 1)))

    class Quick(Server):
        blocking = False

    pid = Quick.start(lambda server: Ok(Quick.start_link("inner")))
    inner = pid.call("state")
    assert inner.call("state") == "inner"
    assert process.info(inner).parent is pid
    pid.stop()
    inner.stop()
    outer = Server.start(nested(5))
    chain = [outer]
    while isinstance(state := chain[-1].call("state"), Pid):
        chain.append(state)
    assert len(chain) == 6
    for each in chain:
        each.stop()


def test_two_starters_of_one_name_get_one_winner(way, shaken):
    for _ in range(60):
        pids: list[Pid] = []
        refused: list[Pid] = []
        together = threading.Barrier(3)

        def start(
            pids: list[Pid] = pids, refused: list[Pid] = refused, together: threading.Barrier = together
        ) -> None:
            together.wait(WATCHDOG)
            try:
                pids.append(way(Server).start(name="start.contended"))
            except AlreadyStarted as error:
                refused.append(error.pid)

        with shaken():
            starting = [threading.Thread(target=start) for _ in range(3)]
            for each in starting:
                each.start()
        for each in starting:
            each.join(WATCHDOG)
        assert len(pids) == 1
        assert refused == pids * 2
        pids[0].stop()


# -- names ------------------------------------------------------------------------


def test_register_and_unregister_names(way):
    pid = way(Server).start()
    process.register(pid, "start.given")
    assert process.whereis("start.given") is pid
    assert GenServer.call("start.given", "state") is None
    process.unregister("start.given")
    assert process.whereis("start.given") is None
    with pytest.raises(ResproutError):
        process.unregister("start.given")
    pid.stop()


def test_a_name_belongs_to_one_process_and_a_process_has_one_name(way):
    first, second = way(Server).start(), way(Server).start()
    process.register(first, "start.mine")
    with pytest.raises(AlreadyRegistered) as caught:
        process.register(second, "start.mine")
    assert caught.value.pid is first
    with pytest.raises(ValueError, match=r"start\.mine"):
        process.register(first, "start.another")
    assert process.whereis("start.another") is None
    first.stop()
    process.register(second, "start.mine")
    second.stop()
    with pytest.raises(ResproutError):
        process.register(second, "start.dead")


def test_threads_can_have_names():
    process.register(process.current(), "start.thread")
    process.send("start.thread", "hello")
    assert process.receive(timeout=WATCHDOG) == "hello"
    process.unregister("start.thread")


class Directory:
    """A name kept elsewhere."""

    def __init__(self) -> None:
        self.pid: Pid | None = None
        self.left: list[Pid] = []

    def register_name(self, pid: Pid) -> None:
        if self.pid is not None and self.pid.alive:
            raise AlreadyRegistered(self.pid)
        self.pid = pid

    def unregister_name(self, pid: Pid) -> None:
        self.left.append(pid)
        if self.pid is pid:
            self.pid = None

    def whereis_name(self) -> Pid | None:
        return self.pid


def test_a_name_may_be_kept_elsewhere(way):
    name = Directory()
    pid = way(Server).start("state", name=name)
    assert name.pid is pid
    assert GenServer.call(name, "any") == "state"
    assert process.whereis(name) is pid
    with pytest.raises(AlreadyStarted) as caught:
        way(Server).start(name=name)
    assert caught.value.pid is pid
    pid.stop()
    assert name.pid is None
    assert name.left == [pid] or set(name.left) >= {pid}


def test_child_spec_describes_how_a_supervisor_starts_it():
    spec = Server.child_spec("arg", name="start.child", restart="transient")
    assert spec.id == "Server"
    assert spec.restart == "transient"
    function, args, options = spec.start
    pid = function(*args, **options)
    assert process.whereis("start.child") is pid
    assert pid.call("state") == "arg"
    process.unlink(pid)
    pid.stop()


def test_a_starter_that_traps_hears_of_a_linked_server_that_ends_later(way):
    process.trap_exit(True)
    pid = way(Server).start_link()
    pid.stop()
    assert process.receive(timeout=WATCHDOG) == Exited(pid, "normal")


@pytest.mark.parametrize("name", [42, b"bytes", ("a", "tuple"), object()], ids=repr)
def test_what_is_no_name_is_a_type_error_at_the_caller_and_nothing_starts(way, name):
    before = process.processes()
    cls = way(Server)
    for start in (cls.start, cls.start_link):
        with pytest.raises(TypeError, match="expected name to be a str or a Via"):
            start(name=name)
    for astart in (cls.astart, cls.astart_link):
        with pytest.raises(TypeError, match="expected name to be a str or a Via"):
            asyncio.run(astart(name=name))
    for start in (Agent.start, Agent.start_link):
        with pytest.raises(TypeError, match="expected name to be a str or a Via"):
            start(dict, name=name)
    assert set(process.processes()) - set(before) <= {process.current()}


def test_a_name_that_refuses_everybody_says_why_to_the_starter_and_is_no_crash(way, crashes):
    class Refuses:
        def register_name(self, pid: Pid) -> None:
            raise LookupError("there are no names here")

        def unregister_name(self, pid: Pid) -> None: ...

        def whereis_name(self) -> None: ...

    before = set(process.processes())
    for start in (way(Server).start, way(Server).start_link):
        with pytest.raises(LookupError, match="no names here"):
            start(name=Refuses())
    assert set(process.processes()) - before <= {process.current()}
    assert crashes() == []
