"""Misuse raises at the caller, names the argument and what was expected, and leaves the server untouched."""

from __future__ import annotations

from typing import Any

import pytest

from resprout.actors import Future, GenServer, Ok, Reply, process

from ..waiting import down_of


class Server(GenServer):
    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(state, state)


@pytest.mark.parametrize("server", [None, 42, object(), b"name", ("name",), Server])
@pytest.mark.parametrize(
    "use",
    [
        lambda server: GenServer.call(server, 1),
        lambda server: GenServer.cast(server, 1),
        lambda server: GenServer.send_request(server, 1),
        lambda server: GenServer.stop(server),
        lambda server: process.send(server, 1),
        lambda server: process.exit(server, "kill"),
        lambda server: process.link(server),
        lambda server: process.unlink(server),
        lambda server: process.monitor(server),
        lambda server: process.send_after(server, 1, 0),
        lambda server: process.send_interval(server, 1, 1),
        lambda server: process.alive(server),
        lambda server: process.register(server, "bad.name"),
        lambda server: process.info(server),
        lambda server: process.inject(server, ValueError()),
    ],
)
def test_what_is_no_server_is_refused(server, use):
    with pytest.raises(TypeError, match=r"(?i)pid"):
        use(server)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ValueError),
        (-0.001, ValueError),
        (float("nan"), ValueError),
        ("5", TypeError),
        (True, TypeError),
        ([], TypeError),
    ],
)
@pytest.mark.parametrize(
    "wait",
    [
        lambda pid, timeout: pid.call(1, timeout=timeout),
        lambda pid, timeout: GenServer.call(pid, 1, timeout),
        lambda pid, timeout: GenServer.stop(pid, "normal", timeout),
        lambda pid, timeout: Server.start(timeout=timeout),
        lambda pid, timeout: process.receive(timeout=timeout),
        lambda pid, timeout: process.sleep(timeout),
        lambda pid, timeout: process.send_after(pid, 1, timeout),
        lambda pid, timeout: process.send_interval(pid, 1, timeout),
        lambda pid, timeout: Future().result(timeout),
    ],
)
def test_what_is_no_time_to_wait_is_refused(wait, timeout, error, way):
    pid = way(Server).start("untouched")
    with pytest.raises(error, match=r"expected"):
        wait(pid, timeout)
    assert pid.call("state") == "untouched"
    pid.stop()


@pytest.mark.parametrize("timeout", [-1, "soon", True])
@pytest.mark.parametrize(
    "result", [lambda timeout: Ok(0, timeout=timeout), lambda timeout: Reply(0, 0, timeout=timeout)]
)
def test_a_result_with_a_timeout_that_is_none_is_a_crash_not_a_hang(result, timeout, crashes):
    """It comes from the server's own code, so the server is told: by a crash with a reason."""
    from resprout.actors import ProcessExit, StartError

    class Odd(GenServer):
        def init(self, arg: Any) -> Any:
            return result(timeout) if isinstance(result(timeout), Ok) else Ok(0)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return result(timeout)

    try:
        pid = Odd.start()
        pid.call(1)
        process.monitor(pid)
        assert process.receive(timeout=5).pid is pid
    except (StartError, ProcessExit):
        pass


@pytest.mark.parametrize("name", [42, b"name", object(), ["a"]])
def test_what_is_no_name_is_refused(name, way):
    from resprout.actors import StartError

    before = set(process.processes())
    with pytest.raises((TypeError, StartError)):
        way(Server).start(name=name)
    assert set(process.processes()) == before
    with pytest.raises(TypeError, match="name"):
        process.register(process.current(), name)


def test_refs_and_timers_of_other_makes_are_refused():
    for bad in (None, 1, "ref"):
        with pytest.raises(TypeError, match="ref"):
            process.demonitor(bad)
        with pytest.raises(TypeError, match="timer"):
            process.cancel_timer(bad)
        with pytest.raises(TypeError, match="from_"):
            GenServer.reply(bad, 1)


def test_injected_errors_are_exceptions(way):
    pid = way(Server).start()
    with pytest.raises(TypeError, match="Exception"):
        process.inject(pid, "boom")
    pid.stop()


def test_huge_and_odd_messages_pass(way):
    class Echo(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(message, state)

    pid = way(Echo).start()
    circle: list[Any] = []
    circle.append(circle)
    for message in (
        b"x" * 50_000_000,
        lambda: 1,
        (each for each in "ab"),
        circle,
        type,
        Exception("a value"),
        float("nan"),
    ):
        assert pid.call(message) is message
    pid.stop()


def test_messages_that_compare_oddly_are_only_passed_on(way):
    """Arrays and the like raise when they are taken for a truth value or compared."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("compared")

        def __bool__(self) -> bool:
            raise RuntimeError("taken for a truth value")

        __hash__ = None  # type: ignore[assignment]

    class Echo(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(message, message)

        def handle_info(self, message: Any, state: Any) -> Any:
            from resprout.actors import NoReply

            return NoReply(message)

        handle_cast = handle_info

    odd = Odd()
    pid = way(Echo).start(odd)
    assert pid.call(odd) is odd
    pid.cast(odd)
    pid.send(odd)
    assert pid.call(odd) is odd
    process.send(process.current(), odd)
    assert process.receive(timeout=0) is odd
    ref = process.monitor(pid)
    process.exit(pid, odd)
    down = down_of(ref)
    assert down.reason is odd
    asked = GenServer.send_request(pid, odd)
    assert asked.exception() is not None


def test_calling_with_the_reason_of_a_stop_that_compares_oddly(way, crashes):
    class Odd:
        def __eq__(self, other: object) -> Any:
            raise RuntimeError("compared")

        __hash__ = None  # type: ignore[assignment]

    pid = way(Server).start()
    GenServer.stop(pid, Odd())
    assert not pid.alive
