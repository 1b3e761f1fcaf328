"""What it costs to ask a running system, and what it costs that it can be asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resprout.actors import GenServer, Ok, Reply, process
from resprout.supervision import Application

from ..rows import Bar, Effort, Measure, Room, Row, Section
from ..timing import stopwatch, timed

CHILDREN = 10_000
CLIENT = """
import json, sys, time
from resprout.control import Client
asked, often = json.loads(sys.argv[3]), int(sys.argv[4])
found = {}
for do, args in asked:
    client = Client(sys.argv[1 if do != "echo" else 2])
    client.ask(do, args)
    took = []
    for _ in range(often):
        begin = time.perf_counter()
        client.ask(do, args)
        took.append(1e3 * (time.perf_counter() - begin))
        time.sleep(0.002)
    took.sort()
    found[do] = [took[len(took) // 2], took[min(len(took) - 1, int(0.99 * len(took)))]]
print(json.dumps(found))
"""
ASKED = ("info", "ps", "locks", "crashes", "status")
ECHO = "what a thread of that program echoes"


def requests(children: int) -> list[tuple[str, dict[str, object]]]:
    """What is asked of a tree of so many children."""
    middle: dict[str, object] = {"offset": children // 2, "limit": 100}
    return [
        (do, {"process": f"crowd/child-{children // 2}"} if do == "info" else middle if do == "ps" else {})
        for do in ASKED
    ]


class Child(GenServer):
    """One of many, on a thread of the pool."""

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message, state)


def tree_file(children: int) -> Path:
    """A tree of so many children, in a folder of its own."""
    folder = Path(tempfile.mkdtemp())
    worker = f'{{worker: child, start: "{__name__}:Child", replicas: {children}, name: "child-{{index}}"}}'
    (folder / "tree.yaml").write_text(
        "name: crowd\nchildren:\n  - {throttle: lock, num_slots: 2}\n"
        f"  - supervisor: crowd\n    children:\n      - {worker}\n"
    )
    return folder / "tree.yaml"


@contextmanager
def running(children: int, where: Path | bool) -> Iterator[Application]:
    """A tree of so many children that runs."""
    file = tree_file(children)
    application = Application.load(file, socket=where)
    application.start()
    try:
        yield application
    finally:
        application.stop()
        file.unlink()
        file.parent.rmdir()


@contextmanager
def busy(children: int, callers: int) -> Iterator[None]:
    """Threads that call one child after the other as fast as they can."""
    over = threading.Event()

    def call(first: int) -> None:
        number = first
        while not over.is_set():
            GenServer.call(f"child-{number % children}", number)
            number += 1

    threads = [threading.Thread(target=call, args=(1_000 * each,)) for each in range(callers)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join()


@contextmanager
def echoing(path: str) -> Iterator[None]:
    """A thread that answers each line at once: what the machine and the other threads leave of any answer."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()

    def answer() -> None:
        while True:
            peer, _ = listening.accept()
            with peer:
                while peer.recv(65_536):
                    peer.sendall(b'{"ok": true, "result": null}\n')
            if over.is_set():
                return

    over = threading.Event()
    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(path)
        thread.join()
        listening.close()
        os.unlink(path)


@contextmanager
def asked(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A client in a program of its own, while two threads call the children."""
    children = effort(CHILDREN, 100)
    path = Path(tempfile.gettempdir()) / f"resprout-benchmark-{os.getpid()}.sock"

    def ask() -> Mapping[str, float]:
        asked = [("echo", {}), *requests(children)]
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, str(path), f"{path}.echo", json.dumps(asked), str(effort(500, 3))],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout)
        return {
            f"{do} {what}": ms
            for do, both in found.items()
            for what, ms in zip(("p50", "p99"), both, strict=True)
        }

    with running(children, path), echoing(f"{path}.echo"), busy(children, 2):
        yield {"asked": ask}


@contextmanager
def closed(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """The same calls, in a tree with a socket that nobody asks and in one without."""
    times = effort(20_000, 10)
    path = Path(tempfile.gettempdir()) / f"resprout-benchmark-{os.getpid()}.sock"

    def calls(where: Path | bool) -> Callable[[], float]:
        def measure() -> float:
            with running(10, where):
                pid = process.whereis("child-3")
                assert pid is not None
                timed(lambda: pid.call(1), times // 10 + 1)
                return timed(lambda: pid.call(1), times)

        return measure

    def starts(where: Path | bool) -> Callable[[], float]:
        file = tree_file(10)
        application = Application.load(file, socket=where)

        def measure() -> float:
            elapsed = stopwatch("ms")
            for _ in range(effort(20, 1)):
                application.start()
                application.stop()
            return elapsed() / effort(20, 1)

        return measure

    yield {
        "calls, socket": calls(path),
        "no socket": calls(False),
        "starts, socket": starts(path),
        "starts, no socket": starts(False),
    }


ROOM = Room(
    "control",
    "docs/control.md",
    [
        Section(
            "asked",
            f"A client, in a program of its own, of a tree of {CHILDREN:,} children that two threads call.",
            asked,
            [
                Row(
                    f"{do}: the 99th of 100",
                    f"asked: {do} p99",
                    "asked: echo p99",
                    Bar(figure=5.0) if do != "status" else None,
                    "ms",
                    beside={f"asked: {do} p50": "ms", "asked: echo p50": "ms"},
                    label=ECHO,
                )
                for do in ASKED
            ],
            repeats=3,
        ),
        Section(
            "closed",
            "A tree of 10 children whose socket nobody asks.",
            closed,
            [
                Row("call and reply, with a socket", "calls, socket", "no socket", Bar(ratio=1.05)),
                Row("start and stop, with a socket", "starts, socket", "starts, no socket", unit="ms"),
            ],
            repeats=15,
            warm_up=1,
        ),
    ],
)
