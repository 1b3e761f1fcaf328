from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout.control.limits import SocketLimits
from resprout.control.listener import Listener
from resprout.control.requests import carry_out, is_quick
from resprout.control.sockets import bound
from resprout.control.system import RunningSystem
from resprout.supervision import Application

TREE = """
name: shop
max_restarts: 100
children:
  - {throttle: kafka, num_slots: 2}
  - {registry: users}
  - supervisor: services
    max_restarts: 100
    children:
      - {worker: echo, start: "resprout_control_work:Echo", replicas: 3, name: "echo-{index}"}
      - {worker: crasher, start: "resprout_control_work:Crasher", name: crasher}
  - {dynamic_supervisor: pool}
"""

WORK = '''
"""Workers for the trees of these tests."""

import logging
import threading

from resprout.actors import GenServer, NoReply, Ok, Reply, process


class Echo(GenServer):
    def init(self, arg):
        return Ok({"number": 1})

    def handle_call(self, message, from_, state):
        if message == "hang":
            with process_gate:
                return Reply("hung", state)
        if message == "odd":
            return Reply(object(), state)
        return Reply(message, state)

    def handle_cast(self, message, state):
        logging.getLogger("work").warning("cast %r", message)
        return NoReply({"cast": message})

    def handle_info(self, message, state):
        logging.getLogger("work").warning("info %r", message)
        return NoReply({"info": message})


process_gate = threading.Lock()


class Crasher(GenServer):
    def init(self, arg):
        return Ok("a state")

    def handle_call(self, message, from_, state):
        raise ValueError("the disk is on fire")

    def handle_info(self, message, state):
        raise ValueError("the disk is on fire")


class Far(GenServer):
    def handle_cast(self, message, state):
        logging.getLogger("far").info("not at this level")
        try:
            raise ValueError(message)
        except ValueError:
            logging.getLogger("far").exception("of %s", message)
        return NoReply(state)
'''


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shop")
    (made / "tree.yaml").write_text(TREE)
    (made / "resprout_control_work.py").write_text(WORK)
    return made


@pytest.fixture
def application(folder: Path) -> Iterator[Application]:
    """A tree that runs, without a socket."""
    made = Application.load(folder / "tree.yaml", socket=False)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def system(application: Application) -> Iterator[RunningSystem]:
    """The same, seen from outside."""
    made = RunningSystem(application)
    made.attach()
    yield made
    made.detach()


class Raw:
    """A client that may send anything."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20.0)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> Any:
        """The next answer; None at the end."""
        line = self.lines.readline()
        return json.loads(line) if line else None

    def ask(self, do: str, **args: Any) -> Any:
        self.send(json.dumps({"v": 1, "id": 7, "do": do, "with": args}).encode() + b"\n")
        return self.line()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@pytest.fixture
def listening(
    system: RunningSystem, tmp_path: Path
) -> Iterator[Callable[..., tuple[Callable[[], Raw], Listener]]]:
    """Gives a system a socket with limits of one's own; clients are closed at the end."""
    open_: list[Any] = []
    listeners: list[Listener] = []

    def listen(limits: SocketLimits | None = None, **options: Any) -> tuple[Callable[[], Raw], Listener]:
        path = tmp_path / "s"
        made = Listener(
            lambda: system,
            lambda request: carry_out(system, request),
            is_quick,
            bound(path),
            path,
            limits or SocketLimits(rate=1e6),
            **options,
        )
        made.start()
        listeners.append(made)

        def client() -> Raw:
            open_.append(Raw(path))
            return open_[-1]

        return client, made

    yield listen
    for each in open_:
        each.close()
    for listener in listeners:
        listener.end()
        listener.join()
