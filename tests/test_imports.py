"""What `import resprout` loads, and what the first use of a name does, wherever it comes."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import shutil
import subprocess
from pathlib import Path

import pytest

import resprout

from .programs import PYTHON

ROOT = Path(__file__).resolve().parent.parent
STANDS_ON = {"asyncio", "attr", "attrs", "cattrs", "pykka", "yaml", "logging", "inspect", "typing_extensions"}
EXTRAS = {"rich", "pytest", "_pytest", "uvicorn", "sqlalchemy", "opentelemetry", "prometheus_client"}
EXTRAS |= {"confluent_kafka"}
OURS = {"__main__", "cli", "pytest_plugin", "connectors", "control", "observer"}


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PYTHON, *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def modules_loaded_by(program: str) -> set[str]:
    """What `python -X importtime` lists for a program beyond what it lists for an empty one."""

    def listed(program: str) -> set[str]:
        rows = run(program, "-X", "importtime").stderr.splitlines()
        return {row.rpartition("|")[2].strip() for row in rows if row.startswith("import time:")}

    return listed(program) - listed("pass")


def packages_of(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_a_plain_import_loads_the_face_alone() -> None:
    loaded = modules_loaded_by("import resprout")
    assert {name for name in loaded if name.partition(".")[0] == "resprout"} == {"resprout"}
    assert packages_of(loaded) & (STANDS_ON | EXTRAS) == set()
    assert len(loaded) < 30, sorted(loaded)  # of the standard library: typing, and what that needs


@pytest.mark.parametrize(
    "room", ["actors", "registry", "supervision", "throttle", "stages", "kafka", "testing"]
)
def test_a_room_loads_nothing_that_only_tree_files_need(room: str) -> None:
    loaded = modules_loaded_by(f"import resprout.{room}")
    assert packages_of(loaded) & {"yaml", "cattrs", "importlib_metadata", *EXTRAS} == set()
    assert (
        loaded
        & {"resprout.supervision.trees.kinds", "resprout.supervision.trees.tree_file", "resprout.observer"}
        == set()
    )


def test_the_plugin_of_pytest_loads_the_face_alone() -> None:
    loaded = modules_loaded_by("import pytest, resprout.pytest_plugin")
    assert {name for name in loaded if name.startswith("resprout")} == {"resprout", "resprout.pytest_plugin"}


def test_application_brings_what_reads_tree_files() -> None:
    assert {"yaml", "cattrs"} <= packages_of(modules_loaded_by("import resprout; resprout.Application"))


def test_the_face_has_one_list_of_its_names() -> None:
    imports = next(
        node.body for node in ast.parse(Path(resprout.__file__).read_text()).body if isinstance(node, ast.If)
    )
    seen_by_checkers = {
        alias.name: node.module or alias.name
        for node in imports
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen_by_checkers == resprout._ROOM_OF  # type: ignore[attr-defined]
    assert set(seen_by_checkers) == set(resprout.__all__)


@pytest.mark.parametrize("module", ["resprout", "resprout.supervision"])
def test_every_name_is_listed_before_it_is_loaded(module: str) -> None:
    program = f"import {module} as m; print(set(m.__all__) <= set(dir(m)), 'TYPE_CHECKING' in dir(m))"
    assert run(program).stdout.split() == ["True", "False"]


def test_a_name_is_loaded_once_and_is_an_ordinary_attribute_then() -> None:
    program = "import resprout; first = resprout.GenServer; print(vars(resprout)['GenServer'] is first)"
    assert run(program).stdout.split() == ["True"]


def test_a_star_import_binds_every_name() -> None:
    program = "from resprout import *; import resprout as r; print(set(r.__all__) - set(globals()))"
    assert run(program).stdout.split() == ["set()"]


@pytest.mark.parametrize("module", ["resprout", "resprout.supervision"])
def test_a_misspelt_name_is_an_attribute_error_and_an_import_error(module: str) -> None:
    room = importlib.import_module(module)
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Supervizor'"):
        getattr(room, "Supervizor")  # noqa: B009  # as a user would write it, were it no useless statement
    with pytest.raises(ImportError, match="cannot import name 'Supervizor'"):
        exec(f"from {module} import Supervizor")


USE = """
class Echo(resprout.GenServer):
    def handle_call(self, message, from_, state):
        return resprout.Reply(message, state)

def use():
    pid = Echo.start()
    print(pid.call("heard"), resprout.process.current().alive)
    pid.stop()
"""


def test_the_first_use_may_come_in_a_thread() -> None:
    program = f"""
import resprout, threading
def first():
    exec({USE!r}, globals())
    use()
thread = threading.Thread(target=first)
thread.start()
thread.join()
use()
"""
    assert run(program).stdout.split() == ["heard", "True"] * 2


def test_first_uses_in_many_threads_at_once_load_each_room_once() -> None:
    program = """
import resprout, threading
gate, seen = threading.Barrier(12), []
def first(name):
    gate.wait()
    seen.append((name, id(getattr(resprout, name))))
names = ["GenServer", "Supervisor", "throttle", "Registry"]
threads = [threading.Thread(target=first, args=(name,)) for name in names * 3]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(seen), len(set(seen)))
"""
    assert run(program).stdout.split() == ["12", "4"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_the_first_use_may_come_in_a_forked_child_and_then_in_its_parent() -> None:
    program = f"""
import os, sys
import resprout
child = os.fork()
exec({USE!r}, globals())
if child == 0:
    use()
    sys.stdout.flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
use()
grandchild = os.fork()
if grandchild == 0:
    use()
    sys.stdout.flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
"""
    assert run(program).stdout.split() == ["heard", "True"] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signal.raise_signal on a Unix")
def test_the_first_use_may_come_in_a_signal_handler() -> None:
    program = f"""
import signal
import resprout
def handler(number, frame):
    exec({USE!r}, globals())
    use()
signal.signal(signal.SIGUSR1, handler)
signal.raise_signal(signal.SIGUSR1)
use()
"""
    assert run(program).stdout.split() == ["heard", "True"] * 2


def test_the_first_use_may_come_in_a_coroutine() -> None:
    program = f"""
import asyncio, resprout
async def main():
    exec({USE!r}, globals())
    pid = await Echo.astart()
    print(await resprout.GenServer.acall(pid, "heard"))
    await resprout.GenServer.astop(pid)
asyncio.run(main())
"""
    assert run(program).stdout.split() == ["heard"]


def test_what_runs_at_the_end_of_the_program_is_stopped_in_order_after_a_late_first_use() -> None:
    program = """
import resprout
class Ends(resprout.GenServer):
    trap_exit = True
    def terminate(self, reason, state):
        print("terminated with", reason)
resprout.Supervisor.start_link([Ends], strategy="one_for_one")
"""
    assert run(program).stdout.split("\n")[0] == "terminated with shutdown"


def test_nothing_but_what_is_ours_is_in_the_package() -> None:
    names = [module.name for module in pkgutil.iter_modules(resprout.__path__)]
    assert {*names} <= {*OURS, *resprout._ROOMS}  # type: ignore[attr-defined]


def test_a_clone_is_importable_beside_an_installed_wheel(tmp_path: Path) -> None:
    # The face of another place: what is imported must come from beside it, whole.
    clone = tmp_path / "clone"
    clone.mkdir()
    rooms = ("actors", "registry", "supervision", "throttle", "stages", "connectors", "testing")
    for room in ("resprout", *rooms):
        shutil.copytree(ROOT / room, clone / room, ignore=shutil.ignore_patterns("__pycache__"))
    program = """
import resprout, resprout.actors.processes.pid, resprout.supervision.trees.kinds
print(resprout.__file__, resprout.throttle.__file__, resprout.supervision.trees.kinds.__file__, sep="\\n")
"""
    done = subprocess.run(
        [*PYTHON, "-c", program],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [Path(line).parent.relative_to(clone).parts[0] for line in done.stdout.split()] == [
        "resprout",
        "throttle",
        "supervision",
    ]


@pytest.mark.parametrize("old", sorted(resprout._MOVED))  # type: ignore[attr-defined]
def test_a_module_that_was_documented_under_another_name_is_the_same_module(old: str) -> None:
    new = resprout._MOVED[old]  # type: ignore[attr-defined]
    program = f"""
import sys
import {old} as old
import {new} as new
from {old.rpartition(".")[0]} import {old.rpartition(".")[2]} as attribute
print(old is new, attribute is new, new.__name__, new.__spec__.name)
"""
    assert run(program).stdout.split() == ["True", "True", new, new]
