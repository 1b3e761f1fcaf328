"""The key-value server over real sockets, as its users have it."""

from __future__ import annotations

import doctest
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kv_server import buckets, commands
from kv_server.server import CONNECTIONS
from resprout import Agent, Application, Pid, Supervisor, TaskSupervisor, process
from resprout import sys as resprout_sys
from resprout.testing import await_down, eventually

from .line_client import WATCHDOG, LineClient, free_port, running

TREE = Path(__file__).resolve().parents[2] / "examples" / "kv_server" / "tree.yaml"


class Server:
    """The running tree."""

    def __init__(self, application: Application, port: int) -> None:
        self.application = application
        self.port = port
        self.clients: list[LineClient] = []

    def connect(self) -> LineClient:
        self.clients.append(LineClient(self.port))
        return self.clients[-1]

    def listener(self) -> Pid:
        (*_, listener) = Supervisor.which_children(self.application.root)
        assert isinstance(listener.pid, Pid)
        return listener.pid


@pytest.fixture
def server() -> Iterator[Server]:
    port = free_port()
    application = Application.load(TREE, {"port": str(port)})
    application.start()
    server = Server(application, port)
    yield server
    for client in server.clients:
        client.close()
    application.stop()


def test_a_run_tells_where_it_listens_serves_telnet_and_ends_with_a_signal(tmp_path: Path) -> None:
    with running(TREE, tmp_path) as (program, port):
        client = LineClient(port)
        assert client.ask("CREATE shopping") == "OK\r\n"
        program.send_signal(signal.SIGTERM)
        assert client.hear() == ""
        client.close()
        assert program.wait(WATCHDOG) == 0


def test_each_command_has_its_answer(server: Server) -> None:
    client = server.connect()
    assert client.ask("CREATE shopping") == "OK\r\n"
    assert client.ask("PUT shopping milk 1") == "OK\r\n"
    assert (client.ask("GET shopping milk"), client.hear()) == ("1\r\n", "OK\r\n")
    assert client.ask("DELETE shopping milk") == "OK\r\n"
    assert (client.ask("GET shopping milk"), client.hear()) == ("\r\n", "OK\r\n")


def test_the_example_of_the_command_language_is_true() -> None:
    assert doctest.testmod(commands) == (0, 1)


@pytest.mark.parametrize("command", ["PUT nowhere milk 1", "GET nowhere milk", "DELETE nowhere milk"])
def test_a_bucket_that_nobody_made_is_not_found(server: Server, command: str) -> None:
    assert server.connect().ask(command) == "NOT FOUND\r\n"


@pytest.mark.parametrize(
    "command", ["", "FETCH shopping milk", "GET shopping", "CREATE a b", "create shopping"]
)
def test_what_is_no_command_is_told_so(server: Server, command: str) -> None:
    assert server.connect().ask(command) == "UNKNOWN COMMAND\r\n"


def test_a_bucket_is_made_once_and_seen_by_every_client(server: Server) -> None:
    one, other = server.connect(), server.connect()
    assert one.ask("CREATE shopping") == "OK\r\n"
    assert one.ask("PUT shopping milk 1") == "OK\r\n"
    assert other.ask("CREATE shopping") == "OK\r\n"
    assert (other.ask("GET shopping milk"), other.hear()) == ("1\r\n", "OK\r\n")


def test_a_bucket_that_crashes_forgets_its_content_and_its_name_and_hurts_nobody(server: Server) -> None:
    client = server.connect()
    for name in ("shopping", "chores"):
        assert client.ask(f"CREATE {name}") == "OK\r\n"
        assert client.ask(f"PUT {name} first 1") == "OK\r\n"

    crashed = buckets.find("shopping")
    Agent.cast(crashed, lambda pairs: 1 // 0)
    await_down(crashed)

    assert client.ask("GET shopping first") == "NOT FOUND\r\n"
    assert (client.ask("GET chores first"), client.hear()) == ("1\r\n", "OK\r\n")
    assert client.ask("CREATE shopping") == "OK\r\n"
    assert (client.ask("GET shopping first"), client.hear()) == ("\r\n", "OK\r\n")


def test_a_bucket_that_goes_down_over_a_command_is_an_error_to_who_gave_it(server: Server) -> None:
    client = server.connect()
    assert client.ask("CREATE shopping") == "OK\r\n"
    asked = buckets.find("shopping")
    resprout_sys.suspend(asked)
    client.socket.sendall(b"GET shopping milk\r\n")
    eventually(lambda: process.info(asked).message_queue_len == 1)
    process.exit(asked, "kill")
    assert client.hear() == "ERROR\r\n"
    assert client.ask("GET shopping milk") == "NOT FOUND\r\n"


def test_a_connection_that_crashes_takes_only_itself(server: Server) -> None:
    crashing, other = server.connect(), server.connect()
    assert crashing.ask("CREATE shopping") == other.ask("PUT shopping milk 1") == "OK\r\n"
    crashing.socket.sendall(b"\xff\r\n")  # no text
    assert crashing.hear() == ""
    assert (other.ask("GET shopping milk"), other.hear()) == ("1\r\n", "OK\r\n")
    assert server.connect().ask("GET shopping milk") == "1\r\n"


def test_connections_that_are_killed_hang_up_and_leave_the_buckets_alone(server: Server) -> None:
    client = server.connect()
    assert client.ask("CREATE shopping") == client.ask("PUT shopping milk 1") == "OK\r\n"
    (connection,) = TaskSupervisor.children(CONNECTIONS)
    process.exit(connection, "kill")
    assert client.hear() == ""
    assert server.connect().ask("GET shopping milk") == "1\r\n"


def test_a_client_that_hangs_up_leaves_no_task_behind(server: Server) -> None:
    client = server.connect()
    assert client.ask("CREATE shopping") == "OK\r\n"
    (connection,) = TaskSupervisor.children(CONNECTIONS)
    client.close()
    assert await_down(connection) == "normal"


def test_a_listener_that_is_killed_listens_again_and_costs_no_connection(server: Server) -> None:
    client = server.connect()
    assert client.ask("CREATE shopping") == "OK\r\n"
    listener = server.listener()
    process.exit(listener, "kill")
    eventually(lambda: server.listener() is not listener)
    assert client.ask("PUT shopping milk 1") == "OK\r\n"
    assert server.connect().ask("GET shopping milk") == "1\r\n"


@pytest.mark.skipif(sys.platform != "linux", reason="nowhere else can another program be limited")
def test_with_more_clients_than_it_may_open_files_the_server_has_them_wait_and_forgets_nothing(
    tmp_path: Path,
) -> None:
    import resource

    with running(TREE, tmp_path) as (program, port):
        client = LineClient(port)
        assert client.ask("CREATE shopping") == client.ask("PUT shopping milk 1") == "OK\r\n"
        limit = len(os.listdir(f"/proc/{program.pid}/fd")) + 5
        resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (limit, limit))
        idle = [LineClient(port) for _ in range(10)]
        assert program.stderr is not None
        assert "a client has to wait" in program.stderr.readline()
        for each in (client, *idle):
            each.close()
        client = LineClient(port)
        assert (client.ask("GET shopping milk"), client.hear()) == ("1\r\n", "OK\r\n")
        client.close()
        program.send_signal(signal.SIGTERM)
        assert program.wait(WATCHDOG) == 0


def test_who_comes_when_the_server_is_full_is_sent_away() -> None:
    port = free_port()
    application = Application.load(TREE, {"port": str(port), "clients": "2"})
    application.start()
    clients = [LineClient(port) for _ in range(2)]
    for client in clients:
        assert client.ask("CREATE shopping") == "OK\r\n"
    (first, _) = TaskSupervisor.children(CONNECTIONS)
    third = LineClient(port)
    assert third.hear() == ""
    clients[0].close()
    await_down(first)
    fourth = LineClient(port)
    assert fourth.ask("CREATE shopping") == "OK\r\n"
    for client in (clients[1], third, fourth):
        client.close()
    application.stop()
