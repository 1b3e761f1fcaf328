"""The chat over real sockets, as its users have it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chat import server
from chat.rooms import NAMES, ROOMS
from chat.server import CONNECTIONS
from resprout import Application, Pid, Registry, Supervisor, TaskSupervisor, process
from resprout.testing import await_down, eventually

from .line_client import WATCHDOG, LineClient, free_port, running

TREE = Path(__file__).resolve().parents[2] / "examples" / "chat" / "tree.yaml"


class House:
    """The running tree."""

    def __init__(self, application: Application, port: int) -> None:
        self.application = application
        self.port = port
        self.clients: list[LineClient] = []

    def enter(self, room: str, name: str) -> LineClient:
        """Somebody comes into a room, and has heard so."""
        client = LineClient(self.port)
        self.clients.append(client)
        assert client.ask(f"{room} {name}").startswith(f"* {name} has come; here are ")
        return client

    def child(self, id: str) -> Pid:
        (found,) = [each.pid for each in Supervisor.which_children(self.application.root) if each.id == id]
        assert isinstance(found, Pid)
        return found


@pytest.fixture
def house() -> Iterator[House]:
    port = free_port()
    application = Application.load(TREE, {"port": str(port)})
    application.start()
    house = House(application, port)
    yield house
    for client in house.clients:
        client.close()
    application.stop()


def person(room: str, name: str) -> Pid:
    found = Registry.whereis(NAMES, (room, name))
    assert found is not None
    return found


def test_a_run_tells_where_it_listens_and_ends_with_a_signal_whoever_is_there(tmp_path: Path) -> None:
    with running(TREE, tmp_path) as (program, port):
        ann = LineClient(port)
        assert ann.ask("garden ann") == "* ann has come; here are ann\r\n"
        program.send_signal(signal.SIGTERM)
        assert ann.hear() == ""
        ann.close()
        assert program.wait(WATCHDOG) == 0


def test_what_is_said_is_heard_by_everybody_in_the_room_and_by_nobody_else(house: House) -> None:
    ann, bob, eve = house.enter("garden", "ann"), house.enter("garden", "bob"), house.enter("cellar", "eve")
    assert ann.hear() == "* bob has come; here are ann, bob\r\n"
    assert ann.ask("what a day") == bob.hear() == "<ann> what a day\r\n"
    assert eve.ask("hello?") == "<eve> hello?\r\n"
    assert bob.ask("indeed") == ann.hear() == "<bob> indeed\r\n"


def test_a_name_is_taken_once_in_a_room_and_free_again_when_who_had_it_has_gone(house: House) -> None:
    ann = house.enter("garden", "ann")
    second = LineClient(house.port)
    house.clients.append(second)
    assert second.ask("garden ann") == "* somebody in garden is ann already\r\n"
    assert second.hear() == ""
    house.enter("cellar", "ann")
    seat = person("garden", "ann")
    ann.close()
    await_down(seat)
    house.enter("garden", "ann")


@pytest.mark.parametrize("line", [b"garden\r\n", b"\r\n", b"the garden ann\r\n", b"garden \xff\r\n"])
def test_who_does_not_say_a_room_and_a_name_is_told_to(
    house: House, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = LineClient(house.port)
    house.clients.append(client)
    client.socket.sendall(line)
    assert client.hear() == "* say a room and a name first, a word each: garden ann\r\n"
    assert client.hear() == ""
    house.enter("garden", "ann")
    assert caplog.records == []


def test_who_connects_and_leaves_again_is_no_crash(house: House, caplog: pytest.LogCaptureFixture) -> None:
    for leaves in (hangs_up, hangs_up_in_the_middle_of_things):
        client = LineClient(house.port)
        (connection,) = eventually(lambda: TaskSupervisor.children(CONNECTIONS))
        leaves(client)
        assert await_down(connection) == "normal"
    assert caplog.records == []


def hangs_up(client: LineClient) -> None:
    client.close()


def hangs_up_in_the_middle_of_things(client: LineClient) -> None:
    # With a time to linger of 0 the other end meets an error instead of an end.
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def crashes_its_connection(client: LineClient) -> None:
    client.socket.sendall(b"\xff\r\n")  # no text


def is_killed(client: LineClient) -> None:
    process.exit(person("garden", "bob"), "kill")


@pytest.mark.parametrize(
    "goes", [hangs_up, hangs_up_in_the_middle_of_things, crashes_its_connection, is_killed]
)
def test_who_goes_in_whatever_way_is_gone_from_the_room_and_the_others_go_on(
    house: House, goes: Callable[[LineClient], None]
) -> None:
    ann = house.enter("garden", "ann")
    (of_ann,) = TaskSupervisor.children(CONNECTIONS)
    bob = house.enter("garden", "bob")
    (of_bob,) = [each for each in TaskSupervisor.children(CONNECTIONS) if each is not of_ann]
    seat = person("garden", "bob")
    assert ann.hear() == "* bob has come; here are ann, bob\r\n"
    goes(bob)
    assert ann.hear() == "* bob has gone\r\n"
    assert [name for _, name in Registry.lookup(ROOMS, "garden")] == ["ann"]
    assert ann.ask("bye") == "<ann> bye\r\n"
    await_down(seat)
    await_down(of_bob)


def test_who_reads_slowly_loses_the_oldest_lines_and_holds_up_nobody(house: House) -> None:
    slow = house.enter("garden", "slow")
    slow.lines.close()
    ann, bob = house.enter("garden", "ann"), house.enter("garden", "bob")
    assert ann.hear() == "* bob has come; here are slow, ann, bob\r\n"
    seat, line, lines = person("garden", "slow"), 60_000 * "x", 0

    def say_one_more() -> int:
        assert ann.ask(f"{lines} {line}") == bob.hear() == f"<ann> {lines} {line}\r\n"
        return lines + 1

    while process.info(seat).message_queue_len < 100:
        lines = say_one_more()
    for _ in range(10):
        lines = say_one_more()

    # It reads at last: some lines are missing, the order and the newest ones are as they were.
    slow.lines = slow.socket.makefile("r", encoding="utf-8", newline="\r\n")
    heard = []
    while not heard or heard[-1] < lines - 1:
        speaker, number, *_ = slow.hear().split()
        heard += [int(number)] if speaker == "<ann>" else []
    assert heard == sorted(heard)
    assert 0 < len(heard) < lines
    assert heard[-100:] == list(range(lines - 100, lines))


def test_of_who_reads_no_more_and_goes_no_connection_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE", 0.1)
    eve, bob = house.enter("garden", "eve"), house.enter("garden", "bob")
    seat = person("garden", "eve")
    eve.lines.close()
    while process.info(seat).message_queue_len < 2:
        assert bob.ask(60_000 * "x").startswith("<bob> x")
    (connection, _) = TaskSupervisor.children(CONNECTIONS)
    eve.socket.shutdown(socket.SHUT_WR)
    await_down(connection)
    heard = b""
    while some := eve.socket.recv(1 << 20):
        heard += some
    assert not heard.endswith(b"\n")  # what was not on its way yet is sent no more


def test_a_listener_that_is_killed_listens_again_and_a_doorkeeper_that_is_still_knows_who_goes(
    house: House,
) -> None:
    ann, bob = house.enter("garden", "ann"), house.enter("garden", "bob")
    assert ann.hear() == "* bob has come; here are ann, bob\r\n"
    for id in ("listener", "doorkeeper"):
        killed = house.child(id)
        process.exit(killed, "kill")
        eventually(lambda killed=killed, id=id: house.child(id) is not killed)
    bob.close()
    assert ann.hear() == "* bob has gone\r\n"
    house.enter("garden", "cid")
    assert ann.hear() == "* cid has come; here are ann, cid\r\n"
