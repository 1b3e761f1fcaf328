from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from resprout.actors import GenServer, Ok
from resprout.supervision import ChildSpec, Supervisor

class Worker(GenServer):
    trap_exit = True
    def init(self, name):
        return Ok(name)
    def terminate(self, reason, name):
        print(name, reason, flush=True)

for tree in ("first", "second"):
    children = [ChildSpec(id, (Worker.start_link, (f"{tree} {id}",))) for id in "ab"]
    Supervisor.start_link(children)
print("the end", flush=True)
"""


def test_trees_are_stopped_in_reverse_order_when_the_interpreter_exits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == [
        "the end",
        "second b shutdown",
        "second a shutdown",
        "first b shutdown",
        "first a shutdown",
    ], done.stderr
    assert done.returncode == 0
