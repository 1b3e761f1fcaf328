"""The control socket, and what hostile clients make of it: nothing."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resprout.actors import INFINITY, GenServer, Pid, process
from resprout.control.limits import SocketLimits
from resprout.control.listener import Listener
from resprout.control.requests import REQUESTS, carry_out, is_quick
from resprout.control.sockets import bound
from resprout.control.system import RunningSystem
from resprout.supervision import ChildSpec, DynamicSupervisor

from ..waiting import until
from .conftest import Raw

Listening = Callable[..., Any]


def line(**told: Any) -> bytes:
    return json.dumps({"v": 1, **told}).encode() + b"\n"


def test_a_request_is_answered_with_its_id(listening: Listening) -> None:
    client, _ = listening()
    asking = client()
    asking.send(line(id="a", do="status"))
    told = asking.line()
    assert (told["v"], told["id"], told["ok"]) == (1, "a", True)
    assert told["result"]["name"] == "shop"
    assert told["result"]["counts"]["running"] == 8


def test_requests_that_come_in_one_piece_are_answered_in_their_order(listening: Listening) -> None:
    client, _ = listening()
    asking = client()
    asking.send(
        b"".join(line(id=number, do=do) for number, do in enumerate(["status", "nothing", "locks", "ps"]))
    )
    told = [asking.line() for _ in range(4)]
    assert [(each["id"], each["ok"]) for each in told] == [(0, True), (1, False), (2, True), (3, True)]


def test_a_request_may_come_byte_by_byte(listening: Listening) -> None:
    client, _ = listening()
    asking = client()
    for byte in line(id=1, do="locks"):
        asking.send(bytes([byte]))
    assert asking.line()["result"][0]["name"] == "kafka"


def test_the_last_request_of_a_client_that_sends_no_more_is_answered(listening: Listening) -> None:
    client, _ = listening()
    asking = client()
    asking.send(line(id=1, do="locks"))
    asking.socket.shutdown(1)
    assert asking.line()["ok"]
    assert asking.line() is None


@pytest.mark.parametrize(
    ("sent", "kind", "sentence"),
    [
        (b"hello\n", "bad_request", "expected an object of JSON on a line, got: b'hello'"),
        (b"[]\n", "bad_request", "expected an object of JSON on a line, got: []"),
        (b"\xff\xfe\n", "bad_request", "expected an object of JSON on a line"),
        (b"[" * 60_000 + b"\n", "bad_request", "expected an object of JSON on a line"),
        (b'{"v": 2, "do": "ps"}\n', "bad_version", "expected v: 1, the version of this server, got: v: 2"),
        (b'{"do": "ps"}\n', "bad_version", "expected v: 1, the version of this server, got: no `v`"),
        (b'{"v": true, "do": "ps"}\n', "bad_version", "got: v: True"),
        (b'{"v": 1}\n', "bad_request", "expected do to be the name of a request, got: None"),
        (b'{"v": 1, "do": "ps", "id": {}}\n', "bad_request", "expected id to be a text or a whole number"),
        (b'{"v": 1, "do": "ps", "with": []}\n', "bad_request", "expected with to be an object, got: []"),
        (
            b'{"v": 1, "do": "ps", "wiht": {}}\n',
            "bad_request",
            "expected the keys v, id, do, with, got: 'wiht'",
        ),
        (line(do="lokcs"), "unknown_request", "there is no request 'lokcs'; did you mean 'locks'?"),
        (line(do="ps", **{"with": {"limt": 1}}), "bad_argument", "; did you mean 'limit'?"),
        (
            line(do="ps", **{"with": {"limit": 0}}),
            "bad_argument",
            "to be a whole number from 1 to 1000, got: 0",
        ),
        (
            line(do="ps", **{"with": {"limit": True}}),
            "bad_argument",
            "expected limit of ps to be a whole number",
        ),
        (line(do="info"), "bad_argument", "expected info to have the argument process, got none"),
        (line(do="ps", **{"with": {"sort": "name"}}), "bad_argument", "one of mailbox, restarts, uptime"),
    ],
)
def test_what_is_no_request_is_refused_with_a_reason_and_the_next_one_is_answered(
    sent: bytes, kind: str, sentence: str, listening: Listening
) -> None:
    client, _ = listening()
    asking = client()
    asking.send(sent)
    told = asking.line()
    assert (told["ok"], told["error"]["kind"]) == (False, kind)
    assert sentence in told["error"]["message"]
    assert asking.ask("locks")["ok"]


def refused_once(caplog: pytest.LogCaptureFixture, kind: str) -> bool:
    said = [record.getMessage() for record in caplog.records if record.name == "resprout.control"]
    return sum(f"({kind})" in each for each in said) == 1


def test_a_line_without_an_end_is_refused_when_it_is_too_long_and_logged_once(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = listening()
    others = client()
    for _ in range(2):
        asking = client()
        sent = 0
        try:
            for _ in range(1_600):  # 100 MB
                sent += asking.socket.send(b"x" * 65_536)
        except OSError:
            pass
        told = asking.line()
        assert told["error"]["kind"] == "too_long"
        assert told["error"]["message"] == "expected a line of at most 65536 bytes, got more"
        assert asking.line() is None
        assert others.ask("locks")["ok"]
    assert refused_once(caplog, "too_long")


def test_a_long_line_that_ends_is_refused_as_well(listening: Listening) -> None:
    client, _ = listening(SocketLimits(line=1_000))
    asking = client()
    asking.send(b'{"v": 1' + b" " * 2_000 + b"}\n")
    assert asking.line()["error"]["kind"] == "too_long"


def test_half_a_line_is_refused_after_a_while(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = listening(SocketLimits(half_line=0.05))
    asking = client()
    asking.send(b'{"v": 1, "do"')
    assert asking.line()["error"]["message"] == "expected the rest of the line within 0.05 s"
    assert asking.line() is None
    assert refused_once(caplog, "half_line")


def test_half_a_line_at_the_end_of_a_connection_is_refused(listening: Listening) -> None:
    client, _ = listening()
    asking = client()
    asking.send(b'{"v": 1, "do"')
    asking.socket.shutdown(1)
    assert asking.line()["error"]["message"] == "expected a line end, got the end of the connection"


def test_another_user_is_refused(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    client, _ = listening(peer_user=lambda peer: os.geteuid() + 1)
    asking = client()
    told = asking.line()
    assert told["error"]["kind"] == "other_user"
    assert (
        f"expected user {os.geteuid()}, who runs this system, got: user {os.geteuid() + 1}"
        in (told["error"]["message"])
    )
    assert asking.line() is None
    assert client().line()["error"]["kind"] == "other_user"
    assert refused_once(caplog, "other_user")


def test_one_client_too_many_is_refused_and_others_are_not(listening: Listening) -> None:
    client, _ = listening(SocketLimits(clients=2))
    first, second = client(), client()
    assert first.ask("locks")["ok"]
    assert second.ask("locks")["ok"]
    assert client().line()["error"]["message"] == "expected at most 2 clients at once"
    first.close()
    until(lambda: answered(client()))


def answered(asking: Any) -> bool:
    try:
        told = asking.ask("locks")
    except OSError:  # refused before it could ask
        return False
    asking.close()
    return bool(told and told["ok"])


def carriers() -> list[Pid]:
    """The processes that carry requests out."""
    return [pid for pid in process.processes() if "_carry_out" in str(pid)]


def hang(asking: Any, timeout: float = 3600) -> None:
    asking.send(line(do="call", **{"with": {"process": "echo-0", "message": "hang", "timeout": timeout}}))


def test_who_hangs_up_during_a_call_leaves_neither_a_place_taken_nor_a_process(listening: Listening) -> None:
    from resprout_control_work import process_gate  # type: ignore[import-not-found]  # the tree's

    client, _ = listening(SocketLimits(clients=1))
    with process_gate:
        for _ in range(9):
            asking = client()
            hang(asking)
            until(carriers)
            asking.close()
            another = client()
            assert another.ask("locks")["ok"]
            until(lambda: not carriers())
            another.close()
            until(lambda: answered(client()))


def test_who_only_sends_no_more_is_waited_for_and_holds_its_place(listening: Listening) -> None:
    from resprout_control_work import process_gate

    client, _ = listening(SocketLimits(clients=1))
    asking = client()
    with process_gate:
        hang(asking)
        asking.socket.shutdown(1)
        until(carriers)
        assert client().line()["error"]["kind"] == "too_many_clients"
    assert asking.line()["result"]["value"] == "hung"


def test_what_acts_goes_on_without_its_client_and_there_is_an_end_to_that(listening: Listening) -> None:
    client, _ = listening(SocketLimits(clients=1))
    gate = threading.Event()

    def stay() -> None:
        process.trap_exit(True)
        process.receive()
        gate.wait()

    for number in range(5):
        start = (lambda: process.spawn_link(stay),)
        DynamicSupervisor.start_child("pool", ChildSpec(f"stays-{number}", start, shutdown=INFINITY))
    try:
        for number in range(4):
            asking = client()
            asking.send(line(do="terminate", **{"with": {"process": f"pool/stays-{number}"}}))
            until(lambda: len(carriers()) > number)  # noqa: B023 -- it is over before the next one
            asking.close()
        assert client().line()["error"]["kind"] == "too_many_clients"
    finally:
        gate.set()
    until(lambda: answered(client()))
    until(lambda: len(DynamicSupervisor.which_children("pool")) == 1)


def test_who_sends_without_end_leaves_others_their_share(listening: Listening) -> None:
    client, _ = listening(SocketLimits(rate=200.0))
    greedy, modest = client(), client()
    assert greedy.ask("nothing")["id"] == 7
    answers: list[Any] = []
    reading = threading.Thread(target=lambda: answers.extend(iter(greedy.line, None)))
    reading.start()
    greedy.send(line(id="greedy", do="nothing") * 1_500)
    until(lambda: len(answers) > 200)
    for _ in range(5):
        assert modest.ask("nothing")["id"] == 7
    assert len(answers) < 500
    greedy.socket.shutdown(socket.SHUT_RDWR)
    reading.join()


def test_a_request_whose_process_is_killed_is_answered(listening: Listening) -> None:
    from resprout_control_work import process_gate

    client, _ = listening()
    asking = client()
    with process_gate:
        hang(asking)
        until(carriers)
        process.exit(*carriers(), "kill")
        told = asking.line()["error"]
        assert told["message"] == "call failed: the process that carried it out has ended"
    assert asking.ask("locks")["ok"]


class Full(socket.socket):
    """A socket that listens in a program without descriptors, until it may accept."""

    tries: list[float]
    may_accept = False

    def accept(self) -> Any:
        self.tries.append(time.monotonic())
        if not self.may_accept:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_who_cannot_be_accepted_for_want_of_descriptors_waits_and_nobody_spins(
    system: RunningSystem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = Full(fileno=bound(tmp_path / "s").detach())
    full.setblocking(False)
    full.tries = []
    listener = Listener(lambda: system, lambda request: carry_out(system, request), is_quick, full, None)
    listener.start()
    asking = Raw(tmp_path / "s")
    try:
        until(lambda: len(full.tries) >= 4)
        assert full.tries[3] - full.tries[0] >= 0.05 + 0.1 + 0.2
        full.may_accept = True
        assert asking.ask("locks")["ok"]
        assert refused_once(caplog, "accept")
    finally:
        asking.close()
        listener.end()
        listener.join()


def test_a_client_that_reads_nothing_is_sent_away_and_holds_nobody_up(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = listening(SocketLimits(rate=1e6, unread=0.2))
    slow, quick = client(), client()
    # More answers than the system's own buffers hold.
    slow.socket.settimeout(0.2)
    try:
        while True:
            slow.send(line(do="ps") * 100)
    except OSError:
        pass
    assert quick.ask("locks")["ok"]
    until(lambda: refused_once(caplog, "too_slow"))
    assert quick.ask("locks")["ok"]


def test_who_asks_too_often_waits_and_gets_every_answer(listening: Listening) -> None:
    client, _ = listening(SocketLimits(rate=50.0))
    asking = client()
    asking.send(b"".join(line(id=number, do="nothing") for number in range(60)))
    assert [asking.line()["id"] for _ in range(60)] == list(range(60))


def test_a_client_that_asks_for_nothing_is_sent_away(listening: Listening) -> None:
    client, _ = listening(SocketLimits(idle=0.05))
    assert client().line()["error"]["kind"] == "idle"


def test_a_client_that_comes_after_a_long_quiet_has_its_time(listening: Listening) -> None:
    client, _ = listening(SocketLimits(idle=0.3))
    over = time.monotonic() + 0.6
    until(lambda: time.monotonic() > over, 0.05)  # the time of the listener's own
    began = time.monotonic()
    assert client().line()["error"]["kind"] == "idle"
    assert time.monotonic() - began >= 0.25


def test_a_request_that_hangs_keeps_nobody_from_being_answered(
    listening: Listening, system: RunningSystem
) -> None:
    from resprout_control_work import process_gate

    client, _ = listening()
    hung, quick = client(), client()
    with process_gate:
        hung.send(line(do="call", **{"with": {"process": "echo-0", "message": "hang", "timeout": 30}}))
        until(lambda: quick.ask("info", process="echo-0")["result"]["function"])
        told = quick.ask("info", process="echo-0")["result"]
        assert told["server_state"] is None
        assert told["server_state_error"] == "it did not answer within 0.5 s"
        assert told["function"].startswith("handle_call at ")
        assert any("process_gate" in each for each in told["stack"])
    assert hung.line()["result"]["value"] == "hung"


def test_an_answer_that_is_too_large_is_refused(listening: Listening) -> None:
    client, _ = listening(SocketLimits(answer=500))
    told = client().ask("ps")
    assert told["error"]["kind"] == "too_large"


def test_ten_thousand_random_requests_are_answered_each_and_the_tree_lives_on(
    listening: Listening, system: RunningSystem
) -> None:
    chance = random.Random(18)
    client, _ = listening()
    asking = client()
    root = system.application.root
    before = [(each["path"], each["pid"]) for each in system.ps()["rows"]]
    safe = [name for name, kind in REQUESTS.items() if not kind.acts]
    sent = 0
    while sent < 10_000:
        batch = [random_line(chance, safe) for _ in range(100)]
        asking.send(b"".join(batch))
        for _ in batch:
            told = asking.line()
            assert set(told) == ({"v", "id", "ok", "result"} if told["ok"] else {"v", "id", "ok", "error"})
        sent += len(batch)
    assert system.application.root is root
    assert [(each["path"], each["pid"]) for each in system.ps()["rows"]] == before


def random_line(chance: random.Random, names: list[str]) -> bytes:
    """A line that is mostly wrong, in one of the ways in which it can be."""
    values: list[Any] = [None, True, -1, 0, 1, 5, 10**30, 1.5, "", "/", "services", "echo-1", "0.1", "kafka"]
    values += [
        "users",
        "\udc80",
        "x" * 5_000,
        [],
        [1],
        {},
        {"a": 1},
        "mailbox",
        "down",
        "<0.3>",
        "services/ecko",
    ]
    match chance.randrange(4):
        case 0:
            size = chance.randrange(1, 300)
            return chance.randbytes(size).replace(b"\n", b" ") + b"\n"
        case 1:
            told = {chance.choice(["v", "id", "do", "with", "x"]): chance.choice(values) for _ in range(4)}
            return json.dumps(told).encode() + b"\n"
        case _:
            words = [
                "process",
                "lock",
                "registry",
                "key",
                "limit",
                "offset",
                "under",
                "sort",
                "child",
                "state",
                "match",
            ]
            args = {chance.choice(words): chance.choice(values) for _ in range(chance.randrange(3))}
            whole = line(id=chance.randrange(9), do=chance.choice(names), **{"with": args})
            return whole if chance.random() < 0.9 else whole[: chance.randrange(len(whole))] + b"\n"


def test_records_that_are_logged_from_now_on_are_followed(listening: Listening) -> None:
    client, _ = listening()
    asking = client()
    GenServer.cast("echo-1", 1)
    until(lambda: asking.ask("logs", child="services/echo-1")["result"])
    told = asking.ask("logs", child="services/echo-1", follow=True)
    assert [each["message"] for each in told["result"]] == ["cast 1"]
    GenServer.cast("echo-0", 2)  # another's
    GenServer.cast("echo-1", 3)
    more = asking.line()
    assert (more["more"], more["result"]["message"]) == (True, "cast 3")
    assert more["result"]["path"] == "services/echo-1"
    asking.send(b"x\n")
    assert asking.line()["error"]["message"] == "expected nothing more on a connection that follows the log"


def test_a_follower_who_does_not_read_loses_records_and_is_told_how_many(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = listening(SocketLimits(backlog=10_000, unread=30.0))
    asking = client()
    asking.ask("logs", follow=True, limit=1)
    for number in range(2_000):
        logging.getLogger("flood").warning("%d %s", number, "x" * 500)
    logging.getLogger("flood").warning("the last one")
    found = []
    while True:
        told = asking.line()["result"]
        if "left_out" in told:
            break
        found.append(told)
    assert told["left_out"] > 0
    numbers = [each["number"] for each in found]
    assert numbers == sorted(numbers)


def test_the_end_of_the_socket_is_the_end_of_its_clients_and_of_its_file(listening: Listening) -> None:
    client, listener = listening()
    asking = client()
    assert asking.ask("locks")["ok"]
    listener.end()
    listener.join()
    assert asking.line() is None
    assert not listener.path.exists()
    assert "resprout-control" not in [thread.name for thread in threading.enumerate()]
    assert process.info(process.current()) is not None


def test_a_request_that_was_begun_with_is_answered_though_the_system_ends(listening: Listening) -> None:
    from resprout_control_work import process_gate

    client, listener = listening()
    asking, quick = client(), client()
    with process_gate:
        asking.send(line(do="call", **{"with": {"process": "echo-0", "message": "hang"}}))
        until(lambda: quick.ask("info", process="echo-0")["result"]["function"])
        listener.end()
    assert asking.line()["result"]["value"] == "hung"
    listener.join()
    assert asking.line() is None
