"""Another OS process with an engine: does what it is told on its standard input, a line of JSON each.

Code that is an expression is answered with its value, in JSON if that can be, else printed. `later` starts it
in a thread, and `result` waits for it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import resprout
from resprout import Registry, cluster, process, throttle

results: dict[int, list[Any]] = {}
threads: dict[int, threading.Thread] = {}
world: dict[str, Any] = {
    "resprout": resprout,
    "Registry": Registry,
    "cluster": cluster,
    "throttle": throttle,
    "process": process,
    "threading": threading,
    "time": time,
    "grants": [],
}


def perform(code: str) -> Any:
    try:
        return eval(compile(code, "<peer>", "eval"), world)
    except SyntaxError:
        exec(compile(code, "<peer>", "exec"), world)
        return None


def answer(work: Callable[[], Any]) -> list[Any]:
    try:
        value = work()
    except BaseException as error:
        return ["error", type(error).__name__, str(error)]
    try:
        json.dumps(value)
    except TypeError:
        value = str(value)
    return ["value", value]


def later(number: int, code: str) -> None:
    def run() -> None:
        results[number] = answer(lambda: perform(code))

    threads[number] = threading.Thread(target=run, daemon=True)
    threads[number].start()


def main() -> None:
    for line in sys.stdin:
        kind, *values = json.loads(line)
        if kind == "do":
            told = answer(lambda: perform(values[0]))  # noqa: B023  # at once
        elif kind == "later":
            later(*values)
            told = ["value", None]
        else:
            threads[values[0]].join(values[1])
            told = results.get(values[0], ["error", "TimeoutError", "it is not over"])
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


main()
