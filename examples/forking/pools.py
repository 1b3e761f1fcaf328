"""Pools of processes, which may be forked or begin from nothing: `python pools.py fork`."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from resprout import throttle

throttle.new("reports", 2)  # a declaration: each process makes a lock of its own from it


def report(number: int) -> int:
    """Do something that at most two threads of a process may do at once."""
    with throttle.slot("reports"):
        return number * number


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    throttle.run("reports", print, "the parent has used its own")
    with context.Pool(3) as pool:
        print(pool.map(report, range(8)))
    with ProcessPoolExecutor(3, mp_context=context) as executor:
        print(list(executor.map(report, range(8))))
