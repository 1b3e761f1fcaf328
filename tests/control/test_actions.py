"""What is done to a running system from outside."""

from __future__ import annotations

import json
import threading
from enum import Enum
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import GenServer, Ok, Pid, Reply, Task, process, sys
from resprout.control.errors import Refusal
from resprout.control.places import find
from resprout.control.system import RunningSystem
from resprout.supervision import ChildSpec, DynamicSupervisor, Supervisor, TaskSupervisor
from resprout.supervision.trees.secrets import Secret

from ..waiting import until


def pid_of(system: RunningSystem, word: str) -> Pid | None:
    return find(system.application.root, word).pid


def spec(start: Any = lambda: process.spawn_link(process.receive)) -> ChildSpec:
    return ChildSpec("job", (start,))


def test_a_child_is_stopped_and_started_again(system: RunningSystem) -> None:
    before = process.whereis("echo-1")
    told = system.restart("services/echo-1")
    after = process.whereis("echo-1")
    assert after is not before
    assert (told["path"], told["pid"], told["state"]) == ("services/echo-1", str(after), "running")


def test_a_supervisor_is_restarted_with_all_below_it(system: RunningSystem) -> None:
    before = [process.whereis(f"echo-{number}") for number in range(3)]
    system.restart("services")
    after = [process.whereis(f"echo-{number}") for number in range(3)]
    assert all(new is not None and new is not old for new, old in zip(after, before, strict=True))


def test_a_dynamic_child_is_restarted_with_a_new_number(system: RunningSystem) -> None:
    DynamicSupervisor.start_child("pool", spec())
    told = system.restart("pool/job")
    assert told["path"] == "pool/job #2"
    assert told["pid"] == str(pid_of(system, "pool/job #2"))


def test_a_temporary_child_that_could_not_be_started_again_is_not_stopped(system: RunningSystem) -> None:
    temporary = ChildSpec("once", (lambda: process.spawn_link(process.receive),), restart="temporary")
    pid = Supervisor.start_child(pid_of(system, "services"), temporary)
    with pytest.raises(
        Refusal, match=r"services/once is temporary: .*; `terminate` ends it, and "
    ) as refused:
        system.restart("services/once")
    assert refused.value.kind == "temporary"
    assert pid_of(system, "services/once") is pid
    system.terminate("services/once")
    with pytest.raises(Refusal, match="there is no process 'services/once'"):
        system.start("services/once")


def test_a_task_goes_on_when_it_is_to_be_restarted(system: RunningSystem) -> None:
    gate = threading.Event()
    supervisor = TaskSupervisor.start_link()
    task = TaskSupervisor.async_(supervisor, gate.wait)
    with pytest.raises(Refusal, match=r"is temporary: .*; `terminate` ends it"):
        system.restart(f"0.{task.pid.id}")
    gate.set()
    assert Task.await_(task) is True
    TaskSupervisor.stop(supervisor)


def test_a_temporary_dynamic_child_goes_on_as_well(system: RunningSystem) -> None:
    temporary = ChildSpec("once", (lambda _: process.spawn_link(process.receive), (1,)), restart="temporary")
    pid = DynamicSupervisor.start_child("pool", temporary)
    with pytest.raises(Refusal, match=r"pool/once #1 is temporary: .*; `terminate` ends it"):
        system.restart("pool/once")
    assert pid_of(system, "pool/once") is pid


def test_a_dynamic_child_that_does_not_start_again_is_told_to_be_gone(system: RunningSystem) -> None:
    starts = [process.receive]
    DynamicSupervisor.start_child("pool", spec(lambda: process.spawn_link(starts.pop())))
    with pytest.raises(Refusal, match=r"starting pool/job #1 failed: .*; it was stopped, and its sup"):
        system.restart("pool/job")
    assert [row["path"] for row in system.ps(under="pool")["rows"]] == ["pool"]


def test_a_child_that_is_terminated_stays_down_until_it_is_started(system: RunningSystem) -> None:
    assert system.terminate("services/echo-1") == {"path": "services/echo-1", "state": "down"}
    assert process.whereis("echo-1") is None
    with pytest.raises(Refusal, match="services/echo-1 is down already"):
        system.terminate("services/echo-1")
    assert system.start("services/echo-1")["pid"] == str(process.whereis("echo-1"))
    with pytest.raises(Refusal, match="services/echo-1 runs already; `restart` stops it first"):
        system.start("services/echo-1")


def test_a_child_that_is_down_is_restarted_as_well(system: RunningSystem) -> None:
    system.terminate("services/echo-1")
    system.restart("services/echo-1")
    assert process.whereis("echo-1") is not None


def test_the_root_and_strangers_are_nobodys_children(system: RunningSystem) -> None:
    with pytest.raises(Refusal, match="/ is the root of the tree; `stop` ends the whole system"):
        system.restart("/")
    stranger = process.spawn(process.receive)
    with pytest.raises(Refusal, match="is no child of a supervisor"):
        system.terminate(f"0.{stranger.id}")
    process.exit(stranger, "kill")


def test_a_start_that_fails_is_told_and_the_child_stays_down(system: RunningSystem) -> None:
    taken = throttle.new("taken", 1)
    system.terminate("services/echo-1")
    process.register(process.current(), "echo-1")
    with pytest.raises(Refusal, match="starting services/echo-1 failed: AlreadyStarted"):
        system.restart("services/echo-1")
    assert system.ps(state="down")["rows"][0]["path"] == "services/echo-1"
    process.unregister("echo-1")
    throttle.stop_lock("taken")
    assert not taken.alive


def test_a_process_that_is_suspended_answers_when_it_goes_on(system: RunningSystem) -> None:
    system.suspend("echo-1")
    answer = GenServer.send_request("echo-1", "later")
    assert sys.get_status("echo-1").status == "suspended"
    assert not answer.done()
    assert system.info("echo-1")["mailbox"] == 1
    system.resume("echo-1")
    assert answer.result(5.0) == "later"


@pytest.mark.parametrize("message", [None, 1, "text", [1, [2]], {"a": [1]}])
def test_a_call_gets_a_reply_as_json(message: Any, system: RunningSystem) -> None:
    told = system.call("echo-1", message)
    assert (told["json"], told["value"]) == (True, message)


def test_arrays_are_given_as_tuples_on_demand(system: RunningSystem) -> None:
    assert system.call("echo-1", [1, [2], {"a": [3]}], tuples=True)["text"] == "(1, (2,), {'a': (3,)})"


def test_a_reply_that_json_does_not_know_is_told_as_text(system: RunningSystem) -> None:
    told = system.call("echo-1", "odd")
    assert (told["json"], told["value"]) == (False, None)
    assert told["text"].startswith("<object object at ")


@pytest.mark.parametrize("where", [lambda secret: secret, lambda secret: {"args": [secret, secret]}])
def test_a_secret_in_a_reply_is_not_told(where: Any, system: RunningSystem) -> None:
    class Keeper(GenServer):
        def init(self, arg: Any) -> Any:
            return Ok(where(Secret("hunter2-hunter2")))

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(state, state)

    keeper = Keeper.start(name="keeper")
    told = system.call("keeper", "tell")
    assert (told["json"], told["value"], told["text"]) == (True, where("(secret)"), repr(where(Secret("x"))))
    assert "hunter2" not in json.dumps(told)
    GenServer.stop(keeper)


def test_a_member_of_an_enumeration_in_a_reply_is_its_text(system: RunningSystem) -> None:
    class Colour(str, Enum):
        RED = "red"

    class Painter(GenServer):
        def init(self, arg: Any) -> Any:
            return Ok(None)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply([Colour.RED], state)

    painter = Painter.start(name="painter")
    assert system.call("painter", "colour")["value"] == ["red"]
    GenServer.stop(painter)


def test_a_call_that_crashes_the_server_is_refused_with_the_error(system: RunningSystem) -> None:
    with pytest.raises(
        Refusal, match=r"the call of services/crasher failed: ServerExit: .*the disk is on fire"
    ):
        system.call("crasher", "go")


def test_messages_are_sent_and_cast(system: RunningSystem) -> None:
    system.send("echo-1", {"a": 1})
    assert sys.get_state("echo-1") == {"info": {"a": 1}}
    system.send("echo-1", [1], cast=True)
    assert sys.get_state("echo-1") == {"cast": [1]}


def test_a_lock_is_resized_and_paused(system: RunningSystem) -> None:
    assert system.resize("kafka", 5) == {"name": "kafka", "num_slots": 5}
    assert throttle.lock_info("kafka").num_slots == 5
    assert system.pause("kafka") == {"name": "kafka", "paused": True}
    assert throttle.attempt("kafka") is None
    assert system.pause("kafka", off=True) == {"name": "kafka", "paused": False}
    with pytest.raises(Refusal, match="there is no lock 'kafak'; did you mean 'kafka'"):
        system.resize("kafak", 2)


def test_a_lock_shows_who_holds_it_and_who_waits(system: RunningSystem) -> None:
    def hold() -> None:
        with throttle.slot("kafka", weight=2):
            process.receive()

    holder = process.spawn(hold)
    until(lambda: throttle.lock_state("kafka").running)
    waiter = process.spawn(lambda: throttle.acquire("kafka", priority=3))
    until(lambda: throttle.lock_state("kafka").waiting)
    (told,) = system.locks("kafka")
    assert (told["used"], told["running"], told["waiting"]) == (2, 1, 1)
    assert [(each["pid"], each["weight"], each["path"]) for each in told["holders"]] == [
        (str(holder), 2, None)
    ]
    assert [(each["pid"], each["priority"]) for each in told["waiters"]] == [(str(waiter), 3)]
    assert 0 <= told["waiters"][0]["seconds"] <= told["holders"][0]["seconds"] < 60
    for each in (waiter, holder):
        process.exit(each, "kill")


def test_the_end_of_the_system_is_begun_and_not_waited_for(system: RunningSystem) -> None:
    assert system.stop() == {"name": "shop", "stopping": True}
    assert system.application.wait(10.0) == "shutdown"
    assert system.status()["state"] == "ended"
    assert system.ps()["rows"] == []
