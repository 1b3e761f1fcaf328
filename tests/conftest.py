"""What every test is held to: it leaves no process, thread or straggler of its own behind, and it ends."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .interrupting import Interrupter
from .programs import PYTHON

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in the background of a shell script; but tests, and programs that they start, are interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "free-threading" in sys.version:
    # What programs that tests start write is compared; that resprout warns there has a test of its own.
    # (Not in the very words of the option -W that some give them: Python drops the second of two equal ones.)
    os.environ["PYTHONWARNINGS"] = "ignore:resprout is experimental:RuntimeWarning"

WATCHDOG = 100.0
"""Seconds after which a test's threads are shown; pytest-timeout ends it a little later."""
PATIENCE = 5.0
"""Seconds that what a test has stopped may take to be gone."""
RUNTIME_THREADS = ("resprout-kernel", "resprout-closer", "pytest_timeout")
"""Threads that serve all tests."""
SLOW = (
    "conformance/",
    "examples/test_orders_compare",
    "examples/test_orders_run",
    "examples/test_job_queue_run",
    "examples/test_pods_run",
    "examples/test_user_sync_run",
    "examples/test_async_orders_run",
    "monitoring/test_deploy",
    "registry/test_fight",
    "registry/test_model",
    "supervision/trees/test_application.py",
    "supervision/trees/test_asgi",
    "supervision/trees/test_tree_file_mutations",
    "testing/test_plugin",
    "throttle/lock/test_survival",
    "throttle/lock/test_linearizable",
    "test_async_table",
    "test_benchmarks",
    "test_cli",
    "test_docs",
    "test_package",
)
"""Files whose tests take seconds: the other Pythons run without them (-m "not slow")."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--uvloop", action="store_true", help="have every event loop be one of uvloop's")
    parser.addoption(
        "--beside",
        action="store_true",
        help="run what asyncio.run is given in a thread, beside loops of other threads that are busy",
    )
    parser.addoption(
        "--postgres", action="store_true", help="run the tests that start a PostgreSQL server, too"
    )
    parser.addoption("--redis", action="store_true", help="run the tests that start a Redis server, too")
    parser.addoption("--browser", action="store_true", help="run the tests that start Chromium, too")
    parser.addoption("--screenshots", action="store_true", help="with --browser, make the pictures of docs/")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--uvloop"):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    if config.getoption("--beside"):
        from . import beside

        config.pluginmanager.register(beside)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow, in one place; and skip what looks into asyncio's own loop where there is none."""
    for item in items:
        if config.getoption("--uvloop") and item.get_closest_marker("asyncio_loop"):
            item.add_marker(pytest.mark.skip(reason="of asyncio's own loop"))
        if config.getoption("--beside") and item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.skip(reason="of the only loop"))
        if item.get_closest_marker("postgres") and not config.getoption("--postgres"):
            item.add_marker(pytest.mark.skip(reason="needs a PostgreSQL server (--postgres)"))
        if item.get_closest_marker("redis") and not config.getoption("--redis"):
            item.add_marker(pytest.mark.skip(reason="needs a Redis server (--redis)"))
        if item.get_closest_marker("browser") and not config.getoption("--browser"):
            item.add_marker(pytest.mark.skip(reason="needs Chromium (--browser)"))
        if any(f"tests/{part}" in item.nodeid for part in SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def interrupted() -> Interrupter:
    """Interrupt a step at the nth place at which the runtime's code looks for signals."""
    return Interrupter()


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a process, a thread, a straggler, a name or a pool thread of its own behind."""
    # What other fixtures of wider scope have started is not the test's.
    threads = set(threading.enumerate())
    known = _processes() if "resprout.actors" in sys.modules else None
    faulthandler.dump_traceback_later(WATCHDOG, exit=False)
    yield
    try:
        if "resprout.actors" in sys.modules:
            _check_processes(known or set())
        _check_threads(threads)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _processes() -> set[object]:
    from resprout.actors import process

    _fresh_start()
    return set(process.processes())


def _fresh_start() -> None:
    """Give the main thread a process that is alive, traps nothing and has no mail."""
    from resprout.actors import CallTimeout, ProcessExit, process

    while True:
        try:
            process.trap_exit(False)
            while True:
                process.receive(timeout=0)
        except CallTimeout:
            return
        except ProcessExit:
            continue  # the test's last exit signal to this thread, seen only now


def _check_processes(known: set[object]) -> None:
    from resprout.actors import Pid, process

    def left_over() -> list[Pid]:
        me = process.current()
        return [
            pid for pid in process.processes() if pid not in known and pid is not me and not _of_throttle(pid)
        ]

    def straggling() -> list[object]:
        return [each for each in process.stragglers() if each.pid not in known]

    _fresh_start()
    if not (_gone(left_over) and _gone(straggling)):
        rest, late = left_over(), straggling()
        for pid in rest:
            process.exit(pid, "kill")  # so that one test's fault is not the next one's
        pytest.fail(f"left behind: processes {rest}, stragglers {late}")


def _of_throttle(pid: object) -> bool:
    """The throttle's own tree starts on first use and stays until the interpreter ends."""
    kind = type(getattr(pid, "actor", None))
    while pid is not None:
        name = str(getattr(pid, "name", None) or "")
        if kind.__module__.startswith("resprout.throttle") or name.startswith("resprout.throttle"):
            return True
        pid = getattr(pid, "parent", None)
        kind = type(getattr(pid, "actor", None))
    return False


def _check_threads(before: set[threading.Thread]) -> None:
    def left_over() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread not in before and not thread.name.startswith(RUNTIME_THREADS)
        ]

    if not left_over():
        return
    if "resprout.actors" in sys.modules:
        from resprout.actors.runtime.kernel import kernel
        from resprout.actors.runtime.loop import close_loop

        close_loop()

        def trimmed() -> list[str]:
            kernel.pool.trim()
            return left_over()

        assert _gone(trimmed), f"left behind: threads {left_over()}"
    else:
        assert _gone(left_over), f"left behind: threads {left_over()}"


def _gone(left_over: Callable[[], list[object] | list[str]]) -> bool:
    """Look until nothing is left over: what a death sets off ends a moment after it is told."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while left_over():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.001)
    return True


@pytest.fixture
def hasty() -> Iterator[None]:
    """Have the interpreter switch threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def end() -> Callable[..., object]:
    """Send an exit signal and wait until its target is dead; the reason that a monitor gets."""
    from .waiting import await_end

    return await_end


@pytest.fixture
def supervised() -> Iterator[Callable[..., Any]]:
    """Start a supervisor of one's own with some children, which any number of restarts does not end."""
    from resprout.actors import Pid, process
    from resprout.supervision import Supervisor

    started: list[Pid] = []
    before = process.trap_exit(True)

    def start(*children: Any, max_restarts: int = 10**9, **options: Any) -> Pid:
        options = {"strategy": "one_for_one", "max_seconds": 1.0, **options}
        pid = Supervisor.start_link(list(children), max_restarts=max_restarts, **options)
        assert pid is not None
        started.append(pid)
        return pid

    yield start
    for pid in started:
        if pid.alive:
            Supervisor.stop(pid)
    process.trap_exit(bool(before))


@pytest.fixture
def hangups_are_not_ignored() -> Iterator[None]:
    """Whoever runs the tests may have them ignored (nohup), which programs that they start would inherit."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


FORKED = """
# Python 3.12 and later warn of every fork of a process with threads, and the runtime has some.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def forked(child):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            child()
        except BaseException as error:
            print("child failed:", repr(error), flush=True)
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
"""

FORKING = f"""
from resprout import *
import asyncio, os, sys, threading, time, warnings
{FORKED}
def said(fn, *args, **kwargs):
    try:
        return fn(*args, **kwargs)
    except Exception as error:
        return f"{{type(error).__name__}}: {{error}}"
"""


@pytest.fixture
def forked_source() -> str:
    """The source of a function that calls another one in a forked child, and waits for that."""
    return FORKED


@pytest.fixture
def forking() -> Callable[[str], list[str]]:
    """Run a program that forks, in an interpreter of its own; the lines that it and its children print."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")

    def run(source: str) -> list[str]:
        done = subprocess.run(
            [*PYTHON, "-c", FORKING + textwrap.dedent(source)],
            capture_output=True,
            text=True,
            timeout=30.0,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout.splitlines()

    return run
