"""The control socket on TCP: who has no token gets nothing, and nobody is kept from his own socket."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout.actors import process
from resprout.cli import main
from resprout.control.client import Client, NoSystem, address_of
from resprout.control.errors import Refusal
from resprout.control.limits import SocketLimits
from resprout.control.requests import REQUESTS
from resprout.control.sockets import bound, listed, token_beside, usable_folder
from resprout.control.system import RunningSystem
from resprout.control.tcp import TcpAddress, TcpDoor, opened, read_address
from resprout.supervision import Application

from ..programs import resprout as command
from ..waiting import until
from .test_listener import Listening, carriers, line, random_line, refused_once


class OverTcp:
    """A client that may send anything."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 20.0)
        self.lines = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> Any:
        """The next answer; None at the end."""
        try:
            line = self.lines.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


@pytest.fixture
def on_tcp(
    listening: Listening, tmp_path: Path
) -> Iterator[Callable[..., tuple[TcpDoor, Callable[..., OverTcp]]]]:
    """Has a system answer on TCP as well: its door, and what connects with a first line."""
    clients: list[OverTcp] = []

    def open_(limits: SocketLimits | None = None) -> tuple[TcpDoor, Callable[..., OverTcp]]:
        door = opened(0, tmp_path / "s")
        listening(limits, doors=[door])

        def connect(first: bytes | None = None) -> OverTcp:
            clients.append(OverTcp(door.port))
            clients[-1].send(token_of(door) + b"\n" if first is None else first)
            return clients[-1]

        return door, connect

    yield open_
    for each in clients:
        each.close()


def token_of(door: TcpDoor) -> bytes:
    assert door.path is not None
    return door.path.read_bytes().strip()


def test_who_knows_the_token_is_answered(on_tcp: Any) -> None:
    door, connect = on_tcp()
    asking = connect()
    asking.send(line(id=1, do="status"))
    assert asking.line()["result"]["name"] == "shop"
    with Client(TcpAddress(door.port, token_of(door).decode())) as client:
        assert client.ask("locks")[0]["name"] == "kafka"


def test_the_token_is_32_bytes_of_chance_in_a_file_of_its_user_alone(on_tcp: Any, tmp_path: Path) -> None:
    door, _ = on_tcp()
    token = token_of(door)
    assert re.fullmatch(rb"[A-Za-z0-9_-]{43}", token)
    assert stat.S_IMODE(door.path.stat().st_mode) == 0o600
    assert door.listening.getsockname()[0] == "127.0.0.1"
    other = opened(0, tmp_path / "other.sock")
    assert (other.path, token_of(other) == token) == (tmp_path / "other.token", False)
    other.listening.close()
    other.remove()
    assert not (tmp_path / "other.token").exists()
    assert token.decode() not in repr(TcpAddress(1, token.decode()))


@pytest.mark.parametrize(
    "first",
    [
        *(b"\n", b"x\n", line(do="ps"), b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"\xff\xfe\n"),
        lambda token: token[:-1] + b"\n" + token + b"\n",
        lambda token: token + b" \n",
        lambda token: b" " + token + b"\n",
        lambda token: token.lower().replace(b"_", b"-") + b"x\n",
    ],
)
def test_any_other_first_line_is_refused_and_the_end(
    first: Any, on_tcp: Any, caplog: pytest.LogCaptureFixture
) -> None:
    door, connect = on_tcp()
    for _ in range(2):
        asking = connect(first if isinstance(first, bytes) else first(token_of(door)))
        told = asking.line()["error"]
        wanted = "expected the token of this system on the first line; the file beside its socket has it"
        assert (told["kind"], told["message"]) == ("bad_token", wanted)
        assert asking.line() is None
    assert refused_once(caplog, "bad_token")
    assert token_of(door).decode() not in caplog.text


def test_who_says_nothing_is_sent_away_soon(on_tcp: Any) -> None:
    _, connect = on_tcp(SocketLimits(half_line=0.05))
    assert connect(b"").line()["error"]["kind"] == "half_line"


def test_a_first_line_without_an_end_is_refused_when_it_is_too_long(on_tcp: Any) -> None:
    _, connect = on_tcp(SocketLimits(line=1_000))
    assert connect(b"x" * 2_000).line()["error"]["kind"] == "too_long"


def test_strangers_take_no_place_of_those_who_know_the_token(listening: Listening, on_tcp: Any) -> None:
    _, connect = on_tcp(SocketLimits(clients=2))
    strangers = [connect(b"") for _ in range(2)]
    until(lambda: (connect(b"").line() or {"error": {"kind": ""}})["error"]["kind"] == "too_many_clients")
    strangers.pop().close()
    until(lambda: answered(connect()))
    assert len(strangers) == 1


def answered(asking: OverTcp) -> bool:
    asking.send(line(do="locks"))
    told = asking.line()
    asking.close()
    return bool(told and told["ok"])


def test_who_has_gone_during_a_call_keeps_no_place(on_tcp: Any) -> None:
    from resprout_control_work import process_gate  # type: ignore[import-not-found]  # the tree's

    _, connect = on_tcp(SocketLimits(clients=1))
    asking = connect()
    with process_gate:
        asking.send(line(do="call", **{"with": {"process": "echo-0", "message": "hang", "timeout": 3600}}))
        until(carriers)
        asking.close()
        until(lambda: answered(connect()))
        until(lambda: not carriers())


def test_ten_thousand_random_requests_are_answered_each(on_tcp: Any, system: RunningSystem) -> None:
    chance = random.Random(18)
    _, connect = on_tcp()
    asking = connect()
    safe = [name for name, kind in REQUESTS.items() if not kind.acts]
    for _ in range(100):
        batch = [random_line(chance, safe) for _ in range(100)]
        asking.send(b"".join(batch))
        for _ in batch:
            told = asking.line()
            assert set(told) == ({"v", "id", "ok", "result"} if told["ok"] else {"v", "id", "ok", "error"})
    assert system.application.root is not None
    assert system.application.root.alive


@pytest.mark.parametrize("text", ["4000", "127.0.0.1:4000", "localhost:4000"])
def test_an_address_is_a_port_of_this_host(text: str) -> None:
    assert read_address(text) == 4000


@pytest.mark.parametrize(
    "text", ["", "x", "0.0.0.0:4000", "example.com:4000", "[::1]:4000", "127.0.0.1", "70000", "-1", "4000\n"]
)
def test_no_other_host_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a port of 127\.0\.0\.1, and no other host, got: "):
        read_address(text)


# An application, and the commands


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of the test's own; the names that pytest gives are too long for sockets."""
    short = Path(f"/tmp/resprout-tcp-{os.getpid()}")
    short.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    monkeypatch.setenv("TMPDIR", str(short / "shared"))
    monkeypatch.delenv("RESPROUT_SOCKET", raising=False)
    yield short
    subprocess.run(["rm", "-r", str(short)], check=True)


def test_an_application_answers_on_tcp_from_its_start_to_its_end(folder: Path, runtime: Path) -> None:
    application = Application.load(folder / "tree.yaml", control_tcp=0)
    application.start()
    (there,) = listed()
    with Client(there.path) as client:
        where = client.ask("status")["tcp"]
    address = address_of(read_address(where), token_beside(there.path))
    with Client(address) as client:
        assert client.ask("status")["os_pid"] == os.getpid()
    application.stop()
    assert list(there.path.parent.iterdir()) == []
    with pytest.raises(NoSystem, match=f"no system listens at {where}"):
        Client(address)


def test_one_whose_port_is_taken_answers_at_its_socket_alone(
    folder: Path, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        application = Application.load(folder / "tree.yaml", control_tcp=port)
        application.start()
        (there,) = listed()
        with Client(there.path) as client:
            assert client.ask("status")["tcp"] is None
        application.stop()
    assert f"application shop does not answer on TCP: port {port}: Address already in use" in caplog.text


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"control_tcp": -1}, "expected control_tcp to be a port from 0 to 65535, got: -1"),
        ({"control_tcp": "127.0.0.1:1"}, "expected control_tcp to be a port from 0 to 65535, got: '127"),
        ({"control_tcp": True}, "expected control_tcp to be a port from 0 to 65535, got: True"),
        ({"control_tcp": 0, "socket": False}, "expected a socket together with control_tcp"),
    ],
)
def test_what_is_no_port_is_refused(options: Any, wanted: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(wanted)):
        Application.load(folder / "tree.yaml", **options)


def test_the_token_of_a_program_that_was_killed_is_removed_with_its_socket(runtime: Path) -> None:
    path = usable_folder() / "gone-1.sock"
    bound(path).close()
    token_beside(path).write_text("old")
    assert listed() == []
    assert list(path.parent.iterdir()) == []


def test_commands_go_over_tcp(folder: Path, runtime: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = runtime / "s.sock"
    program = subprocess.Popen(
        command("run", folder / "tree.yaml", "--quiet", "--socket", path, "--control-tcp", "0")
    )
    try:
        until(lambda: path.exists() and token_beside(path).exists())
        with Client(path) as client:
            where = client.ask("status")["tcp"]
        at = ("--tcp", where, "--token-file", str(token_beside(path)))
        until(lambda: main(["status", *at]) == 0 and "running" in capsys.readouterr().out)
        assert main(["call", "echo-0", '"hello"', *at]) == 0
        assert capsys.readouterr().out == '"hello"\n'
        (runtime / "wrong").write_text("x" * 43)
        assert main(["ps", "--tcp", where, "--token-file", str(runtime / "wrong")]) == 1
        assert "expected the token of this system on the first line" in capsys.readouterr().err
        assert main(["ps", "--tcp", where, "--token-file", str(runtime / "none")]) == 3
        assert "the token of the system cannot be read: " in capsys.readouterr().err
    finally:
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0
    assert not token_beside(path).exists()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["ps", "--tcp", "1"], "expected --token-file PATH together with --tcp HOST:PORT"),
        (["ps", "--tcp", "example.com:1"], "expected a port of 127.0.0.1, and no other host"),
        (["run", "t.yaml", "--control-tcp", "0.0.0.0:1"], "expected a port of 127.0.0.1, and no other host"),
        (
            ["run", "t.yaml", "--control-tcp", "1", "--no-socket"],
            "expected --control-tcp without --no-socket",
        ),
    ],
)
def test_a_command_line_that_would_show_the_token_to_others_is_refused(
    arguments: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert wanted in capsys.readouterr().err


def test_a_client_is_told_why_it_is_refused(on_tcp: Any) -> None:
    door, _ = on_tcp()
    with (
        Client(TcpAddress(door.port, "another")) as client,
        pytest.raises(Refusal, match="expected the token"),
    ):
        client.ask("status")
    assert process.info(process.current()) is not None
