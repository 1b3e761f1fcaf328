"""Links, monitors, exit signals: Erlang Reference Manual, "Processes"."""

from __future__ import annotations

import itertools
import sys
import threading
from typing import Any

import pytest

from resprout.actors import (
    Bounded,
    CallTimeout,
    Crash,
    Down,
    Exited,
    GenServer,
    NoProcess,
    NoReply,
    Ok,
    Pid,
    Reply,
    ResproutError,
    ServerExit,
    Shutdown,
    Stop,
    process,
)

from ...scripted import Keeps, Obeys
from ...waiting import down_of

WATCHDOG = 20.0


class Quick(Obeys):
    blocking = False


class Traps(Keeps):
    """Traps exits and keeps what it gets."""

    blocking = False
    trap_exit = True


def linked(kind: Any, to: Any) -> Pid:
    """A server that has linked itself to another process."""
    pid: Pid = kind.start()
    pid.call(lambda server: process.link(to))
    return pid


# -- exit signals --------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", ["shutdown", "fault", Shutdown(1), ("a", 1), 42, None, Crash(ValueError(1))]
)
def test_an_exit_signal_ends_a_process_that_does_not_trap(way, kill, reason):
    pid = way(Obeys).start()
    assert kill(pid, reason) == reason


def test_a_normal_exit_signal_is_ignored_by_others(way):
    pid = way(Obeys).start()
    process.exit(pid, "normal")
    assert pid.call("alive") == "alive"
    pid.stop()


def test_a_process_may_send_itself_a_normal_exit_signal(way, reason_of):
    pid = way(Obeys).start()
    pid.cast(lambda server: process.exit(server.pid, "normal"))
    assert reason_of(pid) == "normal"


@pytest.mark.parametrize("reason", ["normal", "shutdown", "fault", Shutdown(1)])
def test_an_exit_signal_is_a_message_for_a_process_that_traps(way, kill, reason):
    pid = way(Traps).start()
    process.exit(pid, reason)
    assert pid.call("seen") == [Exited(process.current(), reason)]
    kill(pid)


def test_kill_cannot_be_trapped_and_others_see_killed(way, kill):
    pid, watcher = way(Traps).start(), Traps.start()
    watcher.call(lambda server: process.link(pid))
    assert kill(pid, "kill") == "killed"
    assert watcher.call("seen") == [Exited(pid, "killed")]
    kill(watcher)


def test_killed_as_a_reason_can_be_trapped(way, kill):
    pid = way(Traps).start()
    process.exit(pid, "killed")
    assert pid.call("seen") == [Exited(process.current(), "killed")]
    kill(pid)


def test_dying_of_the_reason_kill_kills_nobody_who_traps(way, kill, crashes):
    """exit(kill) is not exit(pid, kill): over a link the reason is only a value."""
    first, second, third = Quick.start(), Traps.start(), Quick.start()
    for each in (second, third):
        each.call(lambda server: process.link(first))
    ref = process.monitor(third)
    first.cast(lambda server: process.exit("kill"))
    assert down_of(ref).reason == "kill"
    assert second.call("seen") == [Exited(first, "kill")]
    kill(second)


def test_an_exit_signal_does_not_wait_behind_messages(gate, kill):
    held = gate()
    seen: list[object] = []
    pid = Obeys.start()
    pid.cast(lambda server: held())
    held.await_arrival()
    for n in range(5):
        pid.cast(lambda server, n=n: seen.append(n))
    assert kill(pid, "now") == "now"
    held.open()
    assert seen == []


def test_exit_to_the_dead_and_to_unknown_names_is_no_error(way, kill):
    pid = way(Obeys).start()
    kill(pid)
    process.exit(pid, "again")
    assert pid.exit_reason == "killed"
    process.exit("exits.nobody", "kill")


def test_trap_exit_can_be_switched(way, kill):
    pid = Obeys.start()
    assert pid.call(lambda server: process.trap_exit(True)) is False
    process.exit(pid, "ignored")
    assert pid.call(lambda server: process.trap_exit(False)) is True
    assert kill(pid, "heard") == "heard"


def test_signals_of_one_sender_arrive_in_order(kill):
    pid, sender = Traps.start(), Quick.start()

    def send(server: Any) -> None:
        for n in range(50):
            process.send(pid, n)
            process.exit(pid, n)

    sender.call(send)
    assert pid.call("seen") == [each for n in range(50) for each in (n, Exited(sender, n))]
    kill(pid)
    kill(sender)


# -- links ----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["shutdown", "fault", Shutdown(1)])
def test_the_exit_of_one_ends_the_other(way, reason, kill, reason_of):
    first = way(Obeys).start()
    second = linked(Quick, first)
    kill(first, reason)
    assert reason_of(second) == reason


def test_links_work_both_ways(kill, reason_of):
    first = Quick.start()
    second = linked(Quick, first)
    kill(second, "fault")
    assert reason_of(first) == "fault"


def test_a_normal_exit_does_not_end_the_linked(way, kill):
    first = way(Obeys).start()
    second = linked(Quick, first)
    GenServer.stop(first)
    assert second.call("alive") == "alive"
    assert process.info(second).links == ()
    kill(second)


def test_a_trapping_process_hears_of_every_exit_of_its_linked(way, kill, crashes):
    watcher = Traps.start()
    ends: list[object] = []
    for reason in ("normal", "shutdown", "fault"):
        pid = way(Obeys).start()
        watcher.call(lambda server, pid=pid: process.link(pid))
        GenServer.stop(pid, reason)
        ends.append(Exited(pid, reason))
    assert watcher.call("seen") == ends
    kill(watcher)


def test_a_crash_is_the_reason_that_the_linked_see(way, crashes, reason_of):
    def fail(server: Any) -> Any:
        raise ValueError("boom")

    first = way(Obeys).start()
    second = linked(Quick, first)
    first.cast(fail)
    assert reason_of(second) == Crash(ValueError("boom"))


def test_links_are_not_counted(kill):
    first, second = Quick.start(), Traps.start()
    for _ in range(3):
        second.call(lambda server: process.link(first))
    assert process.info(first).links == (second,)
    second.call(lambda server: process.unlink(first))
    assert process.info(first).links == ()
    kill(first)
    assert second.call("seen") == []
    kill(second)


def test_linking_to_oneself_does_nothing(kill):
    pid = Quick.start()
    pid.call(lambda server: process.link(server.pid))
    assert process.info(pid).links == ()
    kill(pid)


@pytest.mark.parametrize("kind", [Quick, Traps])
def test_linking_to_the_dead_raises_and_can_be_rescued(kind, kill):
    dead, other = Quick.start(), kind.start()
    kill(dead)

    def try_it(server: Any) -> object:
        process.trap_exit(False)
        try:
            process.link(dead)
        except NoProcess as error:
            return error.pid, error.reason
        return "linked"

    assert other.call(try_it) == (dead, "noproc")
    assert process.info(other).links == ()
    with pytest.raises(NoProcess):
        process.link(dead)
    assert process.current().alive
    kill(other)


def test_linking_to_the_dead_is_a_message_for_one_that_traps_exits(kill):
    dead, trapping = Quick.start(), Traps.start()
    kill(dead)
    trapping.call(lambda server: process.link(dead))
    assert trapping.call("seen") == [Exited(dead, "noproc")]
    kill(trapping)


def test_linking_to_an_unknown_name_is_an_error():
    with pytest.raises(ResproutError, match=r"exits\.nobody"):
        process.link("exits.nobody")


def test_an_unlinked_process_hears_nothing(kill):
    first, second = Quick.start(), Traps.start()
    second.call(lambda server: process.link(first))
    second.call(lambda server: process.unlink(first))
    kill(first)
    assert second.call("seen") == []
    kill(second)


def test_after_unlink_no_exit_signal_comes_even_when_the_other_is_dying(at_every_line):
    """Erlang's promise for unlink: once it has returned, the link has no effect on the caller any more."""
    process.trap_exit(True)

    def a_round() -> Any:
        pid = Quick.start_link()

        def unlink() -> None:
            process.unlink(pid)
            _exited(pid)  # may have been in the mailbox already

        def check() -> None:
            assert not pid.alive
            assert not _exited(pid), "an exit signal came after unlink had returned"

        return lambda: process.exit(pid, "fault"), unlink, check

    at_every_line(a_round)


def _exited(pid: Pid) -> bool:
    try:
        process.receive(lambda message: isinstance(message, Exited) and message.pid is pid, timeout=0)
    except CallTimeout:
        return False
    return True


def test_a_chain_of_links_ends_without_recursion(kill, reason_of):
    chain = [Quick.start()]
    for _ in range(9_999):
        chain.append(linked(Quick, chain[-1]))
    kill(chain[5_000], "fault")
    reason_of(chain[0])
    reason_of(chain[-1])
    assert {pid.exit_reason for pid in chain} == {"fault"}


def test_a_chain_of_links_between_pooled_servers_ends_without_recursion(kill, reason_of):
    chain = [Obeys.start()]
    for _ in range(1_999):
        chain.append(linked(Obeys, chain[-1]))
    kill(chain[0], "fault")
    reason_of(chain[-1])
    assert {pid.exit_reason for pid in chain} == {"fault"}


def test_a_star_of_links_ends_and_tells_everybody_once(kill, reason_of):
    centre = Quick.start()
    watchers = [Traps.start() for _ in range(500)]
    for each in watchers:
        each.call(lambda server: process.link(centre))
    kill(centre, "fault")
    for each in watchers:
        assert each.call("seen") == [Exited(centre, "fault")]
        kill(each)


def test_two_linked_processes_that_die_at_once_do_not_trouble_each_other(shaken):
    for _ in range(60):
        first = Quick.start()
        second = linked(Quick, first)
        with shaken():
            killers = [threading.Thread(target=process.exit, args=(pid, "kill")) for pid in (first, second)]
            for each in killers:
                each.start()
        for each in killers:
            each.join(WATCHDOG)
        for pid in (first, second):
            assert not pid.alive
            assert pid.exit_reason == "killed"


# -- monitors ----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["normal", "shutdown", "fault", Shutdown(1)])
def test_a_monitor_tells_the_reason_once(way, reason, crashes, await_down):
    pid = way(Obeys).start()
    ref = process.monitor(pid)
    GenServer.stop(pid, reason)
    assert await_down(ref) == Down(ref, pid, reason)
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)


def test_each_monitor_of_one_process_tells(way, kill, await_down):
    pid = way(Obeys).start()
    refs = [process.monitor(pid) for _ in range(5)]
    assert len(set(refs)) == 5
    process.exit(pid, "kill")
    assert [await_down(ref).ref for ref in refs] == refs


def test_monitoring_the_dead_tells_noproc_at_once(way, kill):
    pid = way(Obeys).start()
    kill(pid)
    ref = process.monitor(pid)
    assert process.receive(timeout=0) == Down(ref, pid, "noproc")


def test_monitoring_an_unknown_name_tells_noproc_at_once():
    ref = process.monitor("exits.nobody")
    down = process.receive(timeout=0)
    assert down.ref is ref
    assert down.reason == "noproc"


def test_a_name_is_monitored_as_the_process_that_has_it_now(way, kill, await_down):
    pid = way(Obeys).start(name="exits.named")
    ref = process.monitor("exits.named")
    process.exit(pid, "kill")
    assert await_down(ref) == Down(ref, pid, "killed")


def test_a_monitor_is_one_way(kill):
    pid, watcher = Quick.start(), Quick.start()
    watcher.call(lambda server: process.monitor(pid))
    kill(watcher)
    assert pid.call("alive") == "alive"
    assert process.info(pid).monitored_by == ()
    kill(pid)


def test_demonitor_stops_a_monitor(way, kill):
    pid = way(Obeys).start()
    ref = process.monitor(pid)
    process.demonitor(ref)
    kill(pid)
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)


def test_demonitor_with_flush_removes_the_message_too(way, kill):
    pid = way(Obeys).start()
    ref, other = process.monitor(pid), process.monitor(pid)
    kill(pid)
    process.demonitor(ref, flush=True)
    process.demonitor(ref, flush=True)
    assert process.receive(timeout=0) == Down(other, pid, "killed")
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)


def test_after_a_flush_no_down_comes_even_when_the_process_is_dying(at_every_line):
    def a_round() -> Any:
        pid = Quick.start()
        ref = process.monitor(pid)

        def check() -> None:
            assert not pid.alive
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)

        return lambda: process.exit(pid, "kill"), lambda: process.demonitor(ref, flush=True), check

    at_every_line(a_round)


def test_a_monitor_set_at_any_moment_of_a_death_fires_once(at_every_line, await_down):
    def a_round() -> Any:
        pid = Quick.start()
        refs: list[Any] = []

        def check() -> None:
            assert await_down(refs[0]).reason in ("killed", "noproc")
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)

        return lambda: process.exit(pid, "kill"), lambda: refs.append(process.monitor(pid)), check

    at_every_line(a_round)


def test_a_link_made_at_any_moment_of_a_death_is_answered_once(at_every_line):
    process.trap_exit(True)

    def a_round() -> Any:
        pid = Quick.start()

        def check() -> None:
            exited = process.receive(timeout=WATCHDOG)
            assert exited in (Exited(pid, "killed"), Exited(pid, "noproc"))
            assert process.info(process.current()).links == ()
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)

        return lambda: process.exit(pid, "kill"), lambda: process.link(pid), check

    at_every_line(a_round)


@pytest.mark.parametrize(
    ("tie", "notice"),
    [
        pytest.param(process.monitor, Down, id="a monitor being set"),
        pytest.param(process.link, Exited, id="a link being made"),
    ],
)
def test_a_death_at_any_moment_of_a_tie_to_it_is_told_once(tie, notice, at_every_line):
    def a_round() -> Any:
        pid, watcher = Quick.start(), Traps.start()

        def check() -> None:
            [seen] = watcher.call("seen")
            assert type(seen) is notice
            assert seen.pid is pid
            assert seen.reason in ("killed", "noproc")
            assert process.info(watcher).links == ()
            process.exit(watcher, "kill")

        return lambda: watcher.call(lambda server: tie(pid)), lambda: process.exit(pid, "kill"), check

    at_every_line(a_round)


def test_every_monitor_fires_exactly_once_whatever_races_with_the_death(shaken):
    for _ in range(60):
        pid = Quick.start()
        downs: list[int] = []

        def watch(pid: Pid = pid, downs: list[int] = downs) -> None:
            refs = [process.monitor(pid) for _ in range(5)]
            heard = [process.receive(timeout=WATCHDOG).ref for _ in refs]
            downs.append(len(set(heard) & set(refs)))
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)

        with shaken():
            watching = [threading.Thread(target=watch) for _ in range(3)]
            for each in watching:
                each.start()
            process.exit(pid, "kill")
        for each in watching:
            each.join(WATCHDOG)
        assert downs == [5, 5, 5]


def test_messages_of_a_process_arrive_before_its_death(kill):
    pid, watcher = Quick.start(), Traps.start()

    def watch(server: Any) -> Any:
        process.link(pid)
        return process.monitor(pid)

    ref = watcher.call(watch)

    def say_goodbye(server: Any) -> Any:
        process.send(watcher, "goodbye")
        return Stop("normal", None)

    pid.cast(say_goodbye)
    seen = watcher.call("seen")
    assert seen[0] == "goodbye"
    assert set(map(type, seen[1:])) == {Down, Exited}
    assert Down(ref, pid, "normal") in seen
    kill(watcher)


def test_the_dead_have_no_names_links_or_monitors_when_others_are_told(way, kill, gate):
    """Whoever hears of a death finds the name free and the process gone."""
    found: list[object] = []

    class Heir(GenServer):
        blocking = False

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(process.monitor(message), state)

        def handle_info(self, message: Any, state: Any) -> Any:
            found.append((process.whereis("exits.legacy"), message.pid.alive, process.alive(message.pid)))
            return NoReply(None)

    heir = Heir.start()
    pid = way(Obeys).start(name="exits.legacy")
    heir.call(pid)
    kill(pid)
    heir.call(heir)
    assert found == [(None, False, False)]
    kill(heir)


# -- the rest of process --------------------------------------------------------------------


def test_info_shows_a_process(kill):
    me = process.current()
    pid, other = Quick.start_link(name="exits.shown"), Quick.start()
    pid.call(lambda server: process.monitor(other))
    ref = process.monitor(pid)
    info = process.info(pid)
    assert (info.pid, info.name, info.parent, info.trap_exit) == (pid, "exits.shown", me, False)
    assert (info.links, info.monitors, info.monitored_by) == ((me,), (other,), (me,))
    assert info.message_queue_len == 0
    process.unlink(pid)
    process.demonitor(ref)
    kill(pid)
    kill(other)
    assert process.info(pid) is None


def test_info_counts_waiting_messages(gate, kill):
    held = gate()
    pid = Obeys.start()
    pid.cast(lambda server: held())
    held.await_arrival()
    for n in range(3):
        pid.send(n)
    assert process.info(pid).message_queue_len == 3
    assert process.info(pid).status == "running"
    kill(pid)
    held.open()


def test_pids_are_ordered_by_age_hashable_and_printable(kill):
    first, second = Quick.start(), Quick.start(name="exits.printed")
    assert first < second
    assert sorted([second, first]) == [first, second]
    assert {first: 1}[first] == 1
    assert str(second) == repr(second) == f"<0.{second.id} exits.printed>"
    assert str(first).startswith(f"<0.{first.id}")
    for each in (first, second):
        kill(each)
        assert str(each).startswith(f"<0.{each.id}")


def test_a_pid_cannot_be_pickled_but_copied():
    import copy
    import pickle

    me = process.current()
    assert copy.copy(me) is copy.deepcopy([me])[0] is me
    with pytest.raises(TypeError, match="interpreter"):
        pickle.dumps(me)


def test_an_injected_exception_crashes_a_server_between_two_messages(way, crashes, reason_of):
    pid = way(Obeys).start()
    process.inject(pid, LookupError("chaos"))
    assert reason_of(pid) == Crash(LookupError("chaos"))
    with pytest.raises(NoProcess):
        GenServer.send_request(pid, 1).result(WATCHDOG)


# -- what one sender sends, in its order ---------------------------------------------------------


class Halt:
    """Halts a thread before the nth line that it comes to in some functions.

    Args:
        number: n, from 1.
        functions: their names; when the first one that is on the stack returns before that, it was missed.
    """

    def __init__(self, number: int, *functions: str) -> None:
        self.number = number
        self.functions = functions
        self.missed = False
        self.arrived, self.go_on = threading.Event(), threading.Event()

    def begin(self) -> None:
        """From here on, in this thread."""
        frame = sys._getframe()
        while frame is not None:
            if frame.f_code.co_name in self.functions:
                frame.f_trace = self.trace
            frame = frame.f_back
        sys.settrace(self.trace)

    def again(self, number: int) -> None:
        """Have it go on, and halt once more."""
        self.number = number
        self.arrived.clear()
        go_on, self.go_on = self.go_on, threading.Event()
        go_on.set()

    def trace(self, frame: Any, event: str, arg: Any) -> Any:
        name = frame.f_code.co_name
        if self.arrived.is_set():
            sys.settrace(None)
            return None
        if name not in self.functions:
            return None
        if event == "line":
            self.number -= 1
            if not self.number:
                self.arrived.set()
                assert self.go_on.wait(WATCHDOG)
        elif event == "return" and name != "take_plain":
            self.missed = True
            self.arrived.set()
        return self.trace


class Heard(GenServer):
    """Notes what it handles where it can be read after its death."""

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_cast(self, halt: Any, state: Any) -> Any:
        halt.begin()
        return NoReply(state)

    def handle_info(self, message: Any, state: Any) -> Any:
        state.append(message)
        return NoReply(state)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        state.append(message)
        return Reply(message, state)


class HeardBounded(Heard):
    mailbox = Bounded(100)


def send_after_exit(pid: Pid, halt: Halt, line: int) -> bool:
    """Send an exit signal and a message to a process that is halted; False when there is no such line in it.

    This thread is halted within sending the message, while the process ends.
    """
    assert halt.arrived.wait(WATCHDOG)
    process.exit(pid, "boom")
    sending = Halt(line, "deliver")

    def send() -> None:
        sending.begin()
        pid.send("after")
        sys.settrace(None)

    thread = threading.Thread(target=send)
    thread.start()
    assert sending.arrived.wait(WATCHDOG)
    halt.go_on.set()
    if not sending.missed:
        while not pid.left:
            threading.Event().wait(0.0001)
    sending.go_on.set()
    thread.join()
    return not sending.missed


def sweep(start: Any, *functions: str) -> int:
    """Have both halt at every line; how many pairs of lines there are."""
    pairs = 0
    for line in itertools.count(1):
        for other in itertools.count(1):
            heard: list[Any] = []
            halt = Halt(line, *functions)
            pid = start(halt, heard)
            found = send_after_exit(pid, halt, other)
            assert heard == [] or halt.missed, (line, other)
            if not found:
                break
            pairs += 1
        if halt.missed:
            return pairs
    raise AssertionError("never through")


@pytest.mark.parametrize("kind", [Heard, HeardBounded])
def test_a_server_handles_nothing_that_is_sent_after_an_exit_signal(way, kind):
    def start(halt: Halt, heard: list[Any]) -> Pid:
        pid: Pid = way(kind).start(heard)
        threading.Thread(target=pid.cast, args=(halt,)).start()
        return pid

    assert sweep(start, "turn", "_live") > 10


def test_a_process_receives_nothing_that_is_sent_after_an_exit_signal():
    def start(halt: Halt, heard: list[Any]) -> Pid:
        def body() -> None:
            halt.begin()
            try:
                heard.append(process.receive(timeout=0))
            except CallTimeout:
                process.receive()

        return process.spawn(body)

    assert sweep(start, "receive", "take_plain") > 10


def call_after_exit(pid: Pid, halt: Halt, more: int) -> None:
    """To a process that is halted, send an exit signal, and call it when it has come to another line."""
    signalled, go_on = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def send() -> None:
        process.exit(pid, "boom")
        signalled.set()
        assert go_on.wait(WATCHDOG)
        with pytest.raises((NoProcess, ServerExit)) as caught:
            pid.call("after")
        errors.append(caught.value)

    thread = threading.Thread(target=send)
    thread.start()
    assert signalled.wait(WATCHDOG)
    halt.again(more)
    assert halt.arrived.wait(WATCHDOG)
    go_on.set()
    while thread.is_alive() and not pid.mailbox_length():
        threading.Event().wait(0.0001)
    halt.go_on.set()
    thread.join()
    assert len(errors) == 1


@pytest.mark.parametrize("kind", [Heard, HeardBounded])
def test_a_call_after_an_exit_signal_is_not_answered(way, kind):
    pairs = 0
    for line, more in ((line, more) for line in itertools.count(1) for more in range(1, 12)):
        heard: list[Any] = []
        halt = Halt(line, "drain", "run", "_live")
        pid: Pid = way(kind).start(heard)
        threading.Thread(target=pid.cast, args=(halt,)).start()
        assert halt.arrived.wait(WATCHDOG)
        if halt.missed:
            process.exit(pid, "kill")
            break
        call_after_exit(pid, halt, more)
        assert heard == [], (line, more)
        pairs += 1
    assert pairs > 50
