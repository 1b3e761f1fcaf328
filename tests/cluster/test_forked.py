"""Locks with an engine in a forked child, which opens a session of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ..programs import PYTHON
from .kinds import KINDS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason=f"{sys.platform} has no fork")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


PROGRAM = """
import os
from resprout import cluster, throttle

cluster.Engine.start_link({url!r}, name="shared", ttl=3.0)
throttle.new("db", 1, engine="shared")
grant = throttle.acquire("db")
child = os.fork()
if child == 0:
    mine = throttle.acquire("db", timeout=20)
    assert mine.token > grant.token
    print(throttle.lock_state("db", everywhere=True))
    assert cluster.info("shared").node.endswith(str(os.getpid()))
    print("child", flush=True)
    os._exit(0)
while throttle.lock_state("db", everywhere=True).waiting != 1:
    pass
assert grant.held
grant.release()
print(os.waitpid(child, 0)[1])
with throttle.slot("db"):
    print("parent")
"""


def test_a_forked_child_waits_in_a_session_of_its_own_and_the_parents_goes_on(url: str) -> None:
    program = [*PYTHON, "-W", "ignore::DeprecationWarning", "-c", PROGRAM.format(url=url)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    said = "LockState(running=1, waiting=0, used=1)\nchild\n0\nparent\n"
    assert (done.stdout, done.returncode) == (said, 0), done.stderr
