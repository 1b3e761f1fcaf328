"""The BEAM: each function runs one operation of `beam.exs` in an `elixir` of its own, so many times."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable

SCRIPT = pathlib.Path(__file__).with_suffix(".exs")


def _operation(name: str) -> Callable[[int], float]:
    def run(times: int) -> float:
        done = subprocess.run(
            ["elixir", str(SCRIPT), name, str(times)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=300,
            check=True,
        )
        return next(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("took "))

    return run


call = _operation("call")
start_stop = _operation("start_stop")
lock = _operation("lock")
lookup = _operation("lookup")
register = _operation("register")
dispatch = _operation("dispatch")
owner_death = _operation("owner_death")
crash = _operation("crash")
