"""The ends of an interpreter: a fork's child starts with nothing, and an exit never hangs."""

from __future__ import annotations

import ast
import os
import textwrap
import time
from pathlib import Path

import pytest

import resprout.actors

PRELUDE = """
import atexit, os, sys, threading, time, warnings
from resprout.actors import GenServer, NoReply, Reply, StalePid, at_exit, process

class Server(GenServer):
    trap_exit = True
    def handle_call(self, message, from_, state):
        return Reply(message(self) if callable(message) else message, state)
    def handle_cast(self, message, state):
        message(self)
        return NoReply(state)
    def terminate(self, reason, state):
        print("terminate", state, reason, flush=True)

class Quick(Server):
    blocking = False

class OnLoop(GenServer):
    async def handle_call(self, message, from_, state):
        return Reply(message, state)
    async def handle_cast(self, message, state):
        import asyncio
        await asyncio.sleep(1000)
    async def terminate(self, reason, state):
        print("terminate", state, reason, flush=True)
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture
def program(script, forked_source):
    def run(source: str) -> list[str]:
        begin = time.monotonic()
        done = script(PRELUDE + forked_source + textwrap.dedent(source))
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", done.stderr
        assert time.monotonic() - begin < 15
        return done.stdout.split("\n")[:-1]

    return run


# -- exit ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "",
        "process.current()",
        "pids = [kind.start() for kind in (Server, Quick, OnLoop) for _ in range(20)]",
        "pid = Server.start(); pid.cast(lambda server: time.sleep(1000))",
        "pid = Server.start(); pid.cast(lambda server: process.receive())",
        "pid = OnLoop.start(); pid.cast('sleep')",
        "process.spawn(process.receive); process.spawn(time.sleep, 1000)",
        "process.send_interval(process.current(), 'tick', 0.001); process.receive()",
        "process.send_after(process.current(), 'never', 1000)",
        "pid = Quick.start_link(); process.monitor(pid)",
        "import asyncio; pid = OnLoop.start(); print(asyncio.run(GenServer.acall(pid, 1)))",
        "threading.Thread(target=process.receive, daemon=True).start()",
        "import pykka; ref = type('F', (pykka.ThreadingActor,), {}).start(); process.link(ref); ref.stop()",
    ],
)
def test_the_interpreter_exits_promptly_and_silently_with(source, program):
    program(source)


def test_an_exit_by_an_error_is_prompt_too(script):
    done = script(PRELUDE + "pid = Server.start(); pid.cast(lambda server: time.sleep(1000)); sys.exit(3)")
    assert done.returncode == 3
    assert done.stderr == ""


def test_trees_are_stopped_in_reverse_order(program):
    assert program(
        """
        for state in ("first", "second", "third"):
            at_exit(Server.start(state))
        """
    ) == ["terminate third shutdown", "terminate second shutdown", "terminate first shutdown"]


def test_trees_of_all_kinds_are_stopped(program):
    assert program(
        """
        for kind in (Server, Quick, OnLoop):
            at_exit(kind.start(kind.__name__))
        """
    ) == ["terminate OnLoop shutdown", "terminate Quick shutdown", "terminate Server shutdown"]


def test_a_tree_that_has_ended_before_is_left_alone(program):
    assert program(
        """
        pids = [Server.start(n) for n in range(2)]
        for pid in pids:
            at_exit(pid)
        GenServer.stop(pids[0])
        print("end of the program", flush=True)
        """
    ) == ["terminate 0 normal", "end of the program", "terminate 1 shutdown"]


def test_terminate_may_call_others_at_exit(program):
    """No thread can be started any more, so whoever waits has to help."""
    assert program(
        """
        class Asks(Server):
            def terminate(self, reason, state):
                print("asked", [other.call("answer", timeout=5) for other in state], flush=True)

        others = [Server.start("other") for _ in range(5)] + [Quick.start("quick")]
        at_exit(Asks.start(others))
        from resprout.actors.runtime.kernel import kernel
        kernel.pool.trim()
        """
    ) == ["asked ['answer', 'answer', 'answer', 'answer', 'answer', 'answer']"]


def test_user_exit_handlers_registered_earlier_may_use_the_runtime(program):
    assert program(
        """
        pid, quick = Server.start(1), Quick.start(2)
        atexit.register(lambda: print(pid.call("pooled"), quick.call("quick"), flush=True))
        """
    ) == ["pooled quick"]


def test_an_exit_while_other_threads_are_calling_is_prompt(program):
    program(
        """
        pids = [kind.start() for kind in (Server, Quick, OnLoop)]
        def call():
            while True:
                for pid in pids:
                    pid.call(1)
        for _ in range(4):
            threading.Thread(target=call, daemon=True).start()
        process.sleep(0.1)
        """
    )


def test_a_program_that_never_starts_a_process_starts_no_thread(program):
    assert program("print(threading.active_count())") == ["1"]


# -- fork ------------------------------------------------------------------------------------


@needs_fork
def test_a_forks_child_has_an_empty_runtime(program):
    assert program("""
            pids = [kind.start(name=kind.__name__) for kind in (Server, Quick, OnLoop)]
            me = process.current()
            process.register(me, "main")
            def child():
                empty = process.processes() == []
                print([pid.alive for pid in pids], process.registered(), empty, process.stragglers())
                print(process.current() is not me)
            forked(child)
            print([pid.alive for pid in pids], sorted(process.registered()))
            """) == [
        "[False, False, False] [] True []",
        "True",
        "[True, True, True] ['OnLoop', 'Quick', 'Server', 'main']",
    ]


@needs_fork
def test_a_forks_child_can_begin_anew(program):
    assert program("""
            before = [kind.start() for kind in (Server, Quick, OnLoop)]
            for pid in before:
                pid.call(1)
            def child():
                print([kind.start(name="again").call("hello", timeout=5) for kind in (Server,)],
                      [kind.start().call("hello", timeout=5) for kind in (Quick, OnLoop)])
                process.send_after(process.current(), "timer", 0)
                print(process.receive(timeout=5))
                thread = threading.Thread(target=process.current); thread.start(); thread.join()
            forked(child)
            print([pid.call("parent goes on", timeout=5) for pid in before])
            """) == [
        "['hello'] ['hello', 'hello']",
        "timer",
        "['parent goes on', 'parent goes on', 'parent goes on']",
    ]


@needs_fork
def test_a_pid_from_before_the_fork_says_so(program):
    lines = program("""
            pids = [kind.start() for kind in (Server, Quick, OnLoop)]
            def child():
                for pid in pids:
                    uses = (pid.call, pid.cast, pid.send, pid.ask, pid.tell, process.monitor, process.link)
                    for use in uses:
                        try:
                            use(pid) if use in (process.monitor, process.link) else use(1)
                        except StalePid as error:
                            assert "fork" in str(error), error
                        else:
                            print(use, "said nothing")
            forked(child)
            """)
    assert lines == []


@needs_fork
def test_a_fork_in_the_middle_of_everything_leaves_the_child_usable(program):
    """Other threads hold every lock that there is when the fork happens."""
    assert program("""
            stop = threading.Event()
            shared = [kind.start(name=kind.__name__) for kind in (Server, Quick, OnLoop)]
            def busy():
                while not stop.is_set():
                    pid = Quick.start_link(); ref = process.monitor(pid); process.unlink(pid)
                    process.exit(pid, "kill"); process.receive(timeout=5)
                    for each in shared: each.call(1)
                    process.send_after(process.current(), "x", 0); process.receive(timeout=5)
            threads = [threading.Thread(target=busy) for _ in range(4)]
            for each in threads: each.start()
            def child():
                pids = [kind.start(name=kind.__name__) for kind in (Server, Quick, OnLoop)]
                assert [pid.call("x", timeout=5) for pid in pids] == ["x"] * 3
            for _ in range(20):
                forked(child)
            stop.set()
            for each in threads: each.join()
            print("done")
            """) == ["done"]


@needs_fork
def test_a_forks_child_stops_only_its_own_trees(program):
    assert program("""
            at_exit(Server.start("parent"))
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                at_exit(Server.start("child"))
                sys.exit(0)
            os.waitpid(pid, 0)
            """) == ["terminate child shutdown", "terminate parent shutdown"]


@needs_fork
def test_a_process_that_forks_inside_a_callback_is_the_childs_thread(program):
    program("""
            def child():
                process.send(process.current(), "mail")
                assert process.receive(timeout=5) == "mail"
                assert Server.start().call("x", timeout=5) == "x"
            Server.start().call(lambda server: forked(child))
            Quick.start().call(lambda server: forked(child))
            """)


@needs_fork
def test_every_lock_that_another_thread_held_is_free_in_a_forks_child(program):
    """Found by walking all modules, so a new one cannot be forgotten."""
    found = program("""
            import _thread, importlib, pkgutil, signal
            import resprout
            from resprout import throttle
            from resprout.actors import telemetry
            from resprout.supervision.trees.listener import Listener

            for room in ("actors", "registry", "supervision", "throttle", "observer"):
                package = importlib.import_module("resprout." + room)
                for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
                    importlib.import_module(module.name)
            LOCKS = (type(_thread.allocate_lock()), type(threading.RLock()))

            def attributes(thing):
                slots = [slot for kind in type(thing).__mro__ for slot in vars(kind).get("__slots__", ())]
                names = [*getattr(thing, "__dict__", ()), *([slots] if isinstance(slots, str) else slots)]
                return {name: getattr(thing, name) for name in names if hasattr(thing, name)}

            def walk(path, thing, depth):
                if isinstance(thing, (*LOCKS, threading.Condition, threading.Event, threading.Semaphore)):
                    yield path
                elif depth and type(thing).__module__.startswith("resprout.") and not isinstance(thing, type):
                    for name, value in attributes(thing).items():
                        yield from walk((*path, name), value, depth - 1)

            def resolve(path):
                thing = sys.modules[path[0]]
                for name in path[1:]:
                    thing = getattr(thing, name)
                return thing

            listener = Listener("127.0.0.1", 0)
            paths = [
                each
                for name, module in sorted(sys.modules.items())
                if name.split(".")[0] == "resprout"
                for key, value in sorted(vars(module).items())
                for each in walk((name, key), value, 3)
                if not isinstance(value, type(sys))
            ]
            paths += [each for each in walk(("__main__", "listener"), listener, 1)]

            # The kernel's bell is no lock that somebody holds for a while: it is taken while nobody rings.
            taken_at_rest = {path for path in paths if not isinstance(resolve(path), LOCKS[1:])
                             and resolve(path).locked()}
            print(sorted(".".join(path[:2]) for path in paths))
            process.current()
            held = threading.Event()
            def hold():
                for path in paths:
                    resolve(path).acquire(blocking=False)
                held.set()
                threading.Event().wait()  # for ever
            threading.Thread(target=hold, daemon=True).start()
            assert held.wait(10)
            before = {path: resolve(path) for path in paths}

            def child():
                signal.alarm(20)
                for path in paths:
                    there = resolve(path)
                    if path in taken_at_rest:
                        assert there is not before[path], path
                    else:
                        assert there.acquire(blocking=False), path
                        there.release()
                telemetry.attach("child", ("resprout",), lambda *_: None)
                assert telemetry.detach("child")
                assert Server.start().call(1, timeout=5) == 1
                assert OnLoop.start().call(1, timeout=5) == 1
                throttle.new("child", 1)
                assert throttle.execute("child", len, "four").result(5) == 4
                listener.open().close()
                print("used")
            forked(child)
            os._exit(0)
            """)
    assert found[-1] == "used"
    for known in (
        "resprout.actors.reports.telemetry._changes",
        "resprout.actors.runtime.loop._lock",
        "resprout.actors.reports.crash_reports._books",
        "resprout.actors.runtime.kernel.kernel",
        "__main__.listener",
    ):
        assert known in found[0]


@needs_fork
def test_a_fork_while_another_thread_attaches_lets_the_child_attach(program):
    assert program("""
            import signal
            from resprout.actors import telemetry
            inside, go_on = threading.Event(), threading.Event()
            class Slow:
                '''An id that keeps whoever compares it inside attach.'''
                def __eq__(self, other):
                    inside.set()
                    assert go_on.wait(10)
                    return self is other
                __hash__ = object.__hash__
            telemetry.attach(Slow(), ("a",), print)
            attaching = threading.Thread(target=telemetry.attach, args=("b", ("b",), print))
            attaching.start()
            assert inside.wait(10)
            def child():
                signal.alarm(10)
                go_on.set()
                telemetry.attach("c", ("c",), print)
                print("attached")
            forked(child)
            go_on.set()
            attaching.join()
            """) == ["attached"]


def test_locks_are_made_where_a_fork_finds_them():
    """Or where a fork makes them anew with their owner."""
    rooms = Path(resprout.actors.__file__).parent.parent
    makers = ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore")
    wrong = [
        f"{path.relative_to(rooms)}:{node.lineno}"
        for room in ("actors", "registry", "supervision", "throttle", "observer", "testing")
        for path in (rooms / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in makers
        and isinstance(node.value, ast.Name)
        and node.value.id == "threading"
    ]
    allowed = ("actors/primitives/fork_locks.py", "actors/runtime/kernel.py", "throttle/lock/tree.py")
    assert [each for each in wrong if not each.startswith(allowed)] == []
