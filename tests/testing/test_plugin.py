"""The pytest plugin, in suites of their own: each test here runs pytest in another interpreter."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SERVER = """
import asyncio, threading, time, unittest
import pytest
from resprout import *

class Counter(GenServer):
    def init(self, arg):
        return Ok(arg)
    def handle_call(self, message, from_, state):
        return Reply(state, state + 1)

class Noting(Counter):
    trap_exit = True
    def init(self, arg):
        self.notes = arg
        return Ok(0)
    def terminate(self, reason, state):
        self.notes.append("child")
"""
INI = """
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""

Suite = Callable[..., pytest.RunResult]


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    """Run a suite of one module in an interpreter of its own."""

    def run(tests: str, *options: str, ini: str = "") -> pytest.RunResult:
        pytester.makeini(INI + ini)
        pytester.makepyfile(test_it=SERVER + tests)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=60)

    return run


def test_a_leaky_test_is_named_and_harms_none_of_the_next_six(suite: Suite) -> None:
    done = suite(
        """
        def test_leaky(resprout):
            Counter.start(0, name="counter")
            throttle.new("slots", 1)
            throttle.acquire("slots")
            Registry.start_link(keys="unique", name="keys")
            Registry.register("keys", "mine")
            telemetry.attach("handler", (), lambda *_: None)
            process.register(process.current(), "main")
            process.trap_exit(True)
            process.send("main", "mail")
            process.send_after("counter", "late", 0.01)

        def test_leaky_in_another_way(resprout):
            pid = Counter.start_link(0)
            process.exit(pid, "boom")
            threading.Thread(target=process.receive, name="forgotten", daemon=True).start()

        def test_names(resprout):
            assert resprout.start_supervised(Counter.child_spec(0, name="counter")).call("count") == 0
            assert process.whereis("main") is None

        def test_locks(resprout):
            throttle.new("slots", 1)
            assert throttle.attempt("slots") is not None
            throttle.stop_lock("slots")

        def test_registries(resprout):
            resprout.start_supervised(Registry.child_spec(keys="unique", name="keys"))
            assert Registry.lookup("keys", "mine") == []

        def test_mail_and_flags(resprout):
            assert process.trap_exit(False) is False
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)

        def test_telemetry(resprout):
            telemetry.attach("handler", (), lambda *_: None)

        def test_signals(resprout):
            process.current()
        """.replace("\n        ", "\n")
    )
    done.assert_outcomes(passed=8, errors=2)
    done.stdout.fnmatch_lines_random(
        [
            "*- Counter <* counter>*",
            "*- lock 'slots'*",
            "*- RegistryServer <* keys>*",
            "*- *thread <* forgotten>*",
        ]
    )
    # The names are in the summary, too.
    done.stdout.fnmatch_lines(["ERROR test_it.py::test_leaky - *left behind: Counter <*"])
    done.stdout.fnmatch_lines(["ERROR test_it.py::test_leaky_in_another_way *"])


def test_a_suite_that_does_not_use_it_is_left_alone(suite: Suite) -> None:
    done = suite(
        """
def test_start():
    Counter.start(0, name="counter")

def test_it_is_still_there():
    assert process.alive("counter")
    GenServer.stop("counter")
"""
    )
    done.assert_outcomes(passed=2)


def test_the_tests_of_the_guide_pass(suite: Suite) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    suite("\n\n".join(blocks)).assert_outcomes(passed=7)


def test_importing_resprout_imports_no_pytest() -> None:
    program = "import sys, resprout.testing; print('pytest' in sys.modules, '_pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_children_end_before_the_other_fixtures_of_the_test(suite: Suite) -> None:
    done = suite(
        """
notes = []

@pytest.fixture
def database(resprout):
    yield notes
    notes.append("database")

@pytest.fixture
def another():
    yield
    notes.append("another")

def test_it(another, database, resprout):
    resprout.start_supervised((Noting, notes))

def test_the_order():
    assert notes == ["child", "database", "another"]
"""
    )
    done.assert_outcomes(passed=2)


def test_what_other_fixtures_of_the_test_start_is_inside_and_what_wider_ones_start_is_not(
    suite: Suite,
) -> None:
    done = suite(
        """
@pytest.fixture(scope="module", autouse=True)
def tree():
    pid = Supervisor.start_link([Counter], strategy="one_for_one", name="tree")
    yield pid
    Supervisor.stop(pid)

@pytest.fixture
def server():
    pid = Counter.start_link(0, name="server")
    process.send(process.current(), "to the test")
    yield pid
    GenServer.stop(pid)

@pytest.mark.parametrize("number", range(3))
def test_it(server, number, tree, resprout):
    [child] = Supervisor.which_children(tree)
    resprout.crash(child.pid)
    assert resprout.await_restart(child.pid).alive
    assert process.receive(timeout=0) == "to the test"
    process.link(tree)
"""
    )
    done.assert_outcomes(passed=3)


def test_crash_reports_are_in_the_sections_of_the_test_they_belong_to(suite: Suite) -> None:
    done = suite(
        """
def crash(resprout, number):
    pid = resprout.start_supervised((Counter, number))
    resprout.crash(pid, ValueError(f"number {number}"))
    assert len(resprout.crashes) <= 1

@pytest.mark.parametrize("number", [1, 2])
def test_it(resprout, number):
    crash(resprout, number)
    raise AssertionError("so that its sections are shown")
"""
    )
    done.assert_outcomes(failed=2)
    text = done.stdout.str()
    one, two = text.split("test_it[2]", 1)
    two = two.split("short test summary")[0]
    assert ("number 1" in one, "number 2" in one) == (True, False)
    assert ("number 1" in two, "number 2" in two) == (False, True)
    done.stdout.fnmatch_lines(["*resprout crashes*", "Counter <* ended: ValueError: number 1"])


def test_the_marker_and_the_ini_file_say_how_strict_it_is(suite: Suite) -> None:
    tests = """
def test_lenient(resprout):
    Counter.start(0, name="counter")

@pytest.mark.resprout(leaks="error")
def test_strict(resprout):
    Counter.start(0, name="counter")
"""
    suite(tests, "--strict-markers", ini="resprout_leaks = ignore\n").assert_outcomes(passed=2, errors=1)


def test_with_pytest_asyncio(suite: Suite) -> None:
    done = suite(
        """
@pytest.mark.asyncio
async def test_restart(resprout):
    pid = resprout.start_supervised(Counter.child_spec(0, name="counter"))
    assert await GenServer.acall("counter", "count") == 0
    resprout.crash("counter")
    assert await resprout.aawait_restart("counter") is not pid
    process.send(process.current(), "mail")

@pytest.mark.asyncio
async def test_leaky(resprout):
    await Counter.astart_link(0, name="left")

@pytest.mark.asyncio
async def test_clean(resprout):
    assert process.whereis("left") is None
    with pytest.raises(CallTimeout):
        await process.areceive(timeout=0)
    with resprout.clock() as clock:
        process.send_after(process.current(), "tick", 60.0)
        await clock.aadvance(60.0)
        assert await process.areceive(timeout=5.0) == "tick"
    async def stay():
        process.current()
        await asyncio.Event().wait()
    # The loop of the test is closed with it.
    asyncio.create_task(stay())
    await asyncio.sleep(0)

@pytest.fixture
async def server():
    pid = await Counter.astart_link(0, name="server")
    yield pid
    await GenServer.astop(pid)

@pytest.mark.asyncio
async def test_fixture(server, resprout):
    assert await GenServer.acall("server", "count") == 0
""",
        "--asyncio-mode=auto",
    )
    done.assert_outcomes(passed=4, errors=1)
    done.stdout.fnmatch_lines(["*- Counter <* left>*", "ERROR test_it.py::test_leaky *"])


def test_with_pytest_asyncio_in_one_loop_for_all_tests(suite: Suite) -> None:
    done = suite(
        """
pytestmark = pytest.mark.asyncio(loop_scope="module")
tasks = []

async def test_leaky(resprout):
    async def stay():
        process.register(process.current(), "stays")
        await asyncio.Event().wait()
    tasks.append(asyncio.create_task(stay(), name="forgotten"))
    await asyncio.sleep(0)

async def test_clean(resprout):
    assert process.whereis("stays") is None
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
"""
    )
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["*- task <* stays>*", "ERROR test_it.py::test_leaky *"])


def test_with_the_plugin_of_anyio(suite: Suite) -> None:
    done = suite(
        """
import anyio
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="module", autouse=True)
async def of_the_runner():
    # From here on all tests run in one task, which is a process.
    pid = process.current()
    yield pid
    assert process.current() is pid

async def test_leaky(resprout):
    await Counter.astart_link(0, name="left")
    process.register(process.current(), "tester")
    process.send("tester", "mail")
    process.trap_exit(True)

async def test_clean(resprout, of_the_runner):
    assert process.current() is not of_the_runner
    assert process.whereis("left") is None
    assert process.whereis("tester") is None
    assert process.trap_exit(False) is False
    with pytest.raises(CallTimeout):
        await process.areceive(timeout=0)
    async with anyio.create_task_group() as group:
        pid = await resprout.astart_supervised(Counter.child_spec(0, name="counter"))
        group.start_soon(GenServer.acall, "counter", "count")
    resprout.crash(pid)
    assert await resprout.aawait_restart("counter")
"""
    )
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["*- Counter <* left>*", "ERROR test_it.py::test_leaky *"])


def test_with_xdist(suite: Suite) -> None:
    done = suite(
        """
@pytest.mark.parametrize("number", range(12))
def test_it(resprout, number):
    if number == 3:
        Counter.start(0, name="left")
    assert resprout.start_supervised(Counter.child_spec(number, name="counter")).call("count") == number
""",
        "-n",
        "2",
    )
    done.assert_outcomes(passed=12, errors=1)
    done.stdout.fnmatch_lines(["*- Counter <* left>*", "ERROR test_it.py::test_it*3*"])


def test_with_unittest(suite: Suite) -> None:
    done = suite(
        """
@pytest.mark.usefixtures("resprout")
class ByFixture(unittest.TestCase):
    def setUp(self):
        testing.start_supervised(Counter.child_spec(0, name="counter"))

    def test_clean(self):
        assert GenServer.call("counter", "count") == 0

    def test_leaky(self):
        Counter.start(0, name="left")

    def test_names(self):
        assert process.whereis("left") is None

class ByHand(unittest.TestCase):
    @testing.isolated()
    def test_decorated(self):
        testing.start_supervised(Counter.child_spec(0, name="counter"))

    @testing.isolated()
    def test_decorated_and_leaky(self):
        Counter.start(0, name="left")

class InALoop(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.region = testing.isolated()
        await self.region.__aenter__()
        self.addAsyncCleanup(self.region.__aexit__, None, None, None)

    async def test_it(self):
        testing.start_supervised(Counter.child_spec(0, name="counter"))
        assert await GenServer.acall("counter", "count") == 0
        testing.crash("counter")
        await testing.aawait_restart("counter")
        process.send(process.current(), "mail")

    async def test_leaky(self):
        await Counter.astart_link(0, name="left")

    async def test_names(self):
        assert process.whereis("left") is None
        with pytest.raises(CallTimeout):
            await process.areceive(timeout=0)
"""
    )
    done.assert_outcomes(passed=6, failed=2, errors=1)
    done.stdout.fnmatch_lines_random(["FAILED *test_decorated_and_leaky*", "FAILED *InALoop::test_leaky*"])


@pytest.mark.skipif(sys.version_info < (3, 11), reason="enterContext came with Python 3.11")
def test_with_enter_context_of_unittest(suite: Suite) -> None:
    done = suite(
        """
class Case(unittest.TestCase):
    def setUp(self):
        self.resprout = self.enterContext(testing.isolated())

    def test_clean(self):
        self.resprout.start_supervised(Counter.child_spec(0, name="counter"))

    def test_leaky(self):
        Counter.start(0, name="left")

    def test_names(self):
        assert process.whereis("left") is None
"""
    )
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["FAILED *test_leaky*"])


def test_a_thread_that_goes_on_harms_no_later_test(suite: Suite) -> None:
    done = suite(
        """
stop = threading.Event()

def test_leaky(resprout):
    ready = threading.Event()
    def body():
        process.register(process.current(), "worker")
        ready.set()
        stop.wait(10)
        for _ in range(2):
            try:
                # A new process of an old thread.
                Counter.start_link(0, name="from an old thread")
            except ServerExit:
                pass
        GenServer.stop("from an old thread")
    threading.Thread(target=body, name="forgotten").start()
    ready.wait()

def test_clean(resprout):
    assert process.whereis("worker") is None
    stop.set()
    [each.join() for each in threading.enumerate() if each.name == "forgotten"]
"""
    )
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["*- thread <* worker>*"])
