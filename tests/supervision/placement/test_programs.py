"""Whole programs with placed children: the end of the parent, its fork, Ctrl-C, a main without a guard."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

from ...programs import PYTHON, resprout
from ...waiting import WATCHDOG, until
from .conftest import at_work

HERE = Path(__file__).parent

PARENT = """
from resprout.actors import ChildSpec, GenServer, process
from resprout.supervision import Supervisor
from placed_servers import Echo, Traps
import os, pathlib, sys, threading

def start(kind=Echo, arg=None, **fields):
    spec = ChildSpec("it", (kind.start_link, (arg,), {"name": "it"}), placement="process", **fields)
    return Supervisor.start_link([spec])
"""


class Program:
    """A program that prints lines and reads some, in a session of its own."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(HERE)},
            start_new_session=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=WATCHDOG)
        return self.process.returncode, out, err


def program(tmp_path: Path, source: str, head: str = PARENT) -> Program:
    file = tmp_path / "program.py"
    file.write_text(head + textwrap.dedent(source))
    return Program([*PYTHON, "-W", "ignore:This process:DeprecationWarning", str(file)], tmp_path)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    source = """
    if __name__ == "__main__":
        start(Traps, pathlib.Path("end"))
        print(GenServer.call("it", ("os",)), flush=True)
        threading.Event().wait()
    """
    parent = program(tmp_path, source)
    victim = int(parent.line())
    parent.process.kill()
    until(lambda: not at_work(victim))
    assert (tmp_path / "end").read_text() == "'shutdown'"
    parent.ended()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_child_that_waits_for_a_lock_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    source = """
    from placed_locks import Locker
    from resprout import throttle

    if __name__ == "__main__":
        throttle.new("db", 1)
        throttle.acquire("db")
        start(Locker)
        print(GenServer.call("it", ("os",)), flush=True)
        GenServer.cast("it", ("hold",  "db"))
        while not throttle.lock_state("db").waiting:
            pass
        print("waits", flush=True)
        threading.Event().wait()
    """
    parent = program(tmp_path, source)
    victim = int(parent.line())
    assert parent.line() == "waits"
    parent.process.kill()
    until(lambda: not at_work(victim))
    parent.ended()


def test_a_fork_of_the_parent_has_no_part_in_its_children(tmp_path: Path) -> None:
    source = """
    if __name__ == "__main__":
        supervisor = start()
        pid = process.whereis("it")
        assert pid.call(1) == 1
        child = os.fork()
        if not child:
            try:
                pid.call(1)
            except Exception as error:
                print(type(error).__name__, flush=True)
            start()
            print(GenServer.call("it", "of the fork"), flush=True)
            Supervisor.stop(process.whereis("it").parent)
            os._exit(0)
        print(os.waitpid(child, 0)[1], pid.call("of the parent"), flush=True)
    """
    code, out, err = program(tmp_path, source).ended()
    assert (code, out.splitlines(), err) == (0, ["StalePid", "of the fork", "0 of the parent"], "")


def test_a_main_without_a_guard_is_recognised(tmp_path: Path) -> None:
    source = """
    from resprout.actors import GenServer, ChildSpec
    from resprout.supervision import Supervisor

    class Mine(GenServer):
        pass

    Supervisor.start_link([ChildSpec("it", Mine.start_link, placement="process")])
    """
    code, _, err = program(tmp_path, source, head="").ended()
    assert code == 1
    assert 'if __name__ == "__main__":' in err
    assert "MainNotGuarded" in err


def test_a_main_with_a_guard_is_imported_where_the_class_is_and_its_tree_stops_at_the_end(
    tmp_path: Path,
) -> None:
    source = """
    class Mine(Traps):
        pass

    if __name__ == "__main__":
        start(Mine, pathlib.Path("end"))
        print(GenServer.call("it", Mine) is Mine)
        tree = Supervisor.start_link([ChildSpec("other", Echo.start_link, placement="process")])
        (other,) = Supervisor.which_children(tree)
        try:
            # This child had no reason to import the program.
            GenServer.call(other.pid, Mine)
        except TypeError as error:
            print(error)
    """
    code, out, err = program(tmp_path, source).ended()
    assert (code, err) == (0, "")
    same, told = out.splitlines()
    assert same == "True"
    assert "classes of messages live in modules, not in __main__" in told
    assert (tmp_path / "end").read_text() == "'shutdown'"


def test_ctrl_c_of_the_group_of_resprout_run_stops_it_in_order(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text(
        "children:\n"
        "  - {worker: work, run: 'placed_servers:works', args: {path: work}, placement: process}\n"
        "  - {worker: echo, start: 'placed_servers:writes', args: {path: end}, placement: process}\n"
    )
    running = Program(resprout("run", "--plain", "tree.yaml"), tmp_path)
    until(lambda: (tmp_path / "work").exists() and (tmp_path / "work").read_text())
    until(lambda: (tmp_path / "end").exists())
    os.killpg(running.process.pid, signal.SIGINT)
    code, _, err = running.ended()
    assert code == 0, err
    assert (tmp_path / "end").read_text() == "'shutdown'"
    assert "Traceback" not in err
