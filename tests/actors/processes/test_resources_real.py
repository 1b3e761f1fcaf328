"""What a process owns is closed: the libraries that people own things of."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest

from resprout.actors import GenServer, NoReply, Ok, process

WATCHDOG = 30.0


@pytest.fixture
def owned_by_the_killed(kill):
    """Have a process own what a function makes, and kill it while it waits; what was made."""

    def run(make: Any, close: Any = None) -> Any:
        made: list[Any] = []
        there = threading.Event()

        def owns() -> None:
            made.append(process.own(make(), close))
            there.set()
            process.receive()

        pid = process.spawn(owns)
        assert there.wait(WATCHDOG)
        kill(pid)
        return made[0]

    return run


def test_a_file_is_closed(owned_by_the_killed, tmp_path):
    assert owned_by_the_killed(lambda: (tmp_path / "file").open("w")).closed


def test_a_program_is_ended_and_leaves_no_zombie(owned_by_the_killed):
    program = owned_by_the_killed(lambda: subprocess.Popen(["sleep", "1000"], stdout=subprocess.PIPE))
    assert program.returncode == -15
    assert program.stdout.closed
    with pytest.raises(ProcessLookupError):
        os.kill(program.pid, 0)


def test_a_program_that_does_not_listen_is_killed(owned_by_the_killed):
    source = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()"

    def deaf() -> subprocess.Popen[bytes]:
        program = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
        assert program.stdout is not None
        program.stdout.readline()
        return program

    assert owned_by_the_killed(deaf).returncode == -9


def test_a_program_of_asyncio_is_ended_on_its_loop(await_down):
    programs: list[Any] = []

    async def owns() -> None:
        programs.append(process.own(await asyncio.create_subprocess_exec("sleep", "1000")))

    async def main() -> None:
        await asyncio.create_task(owns())
        assert await asyncio.wait_for(programs[0].wait(), WATCHDOG) == -15

    asyncio.run(main())


def test_an_engine_of_sqlalchemy_is_disposed_of(owned_by_the_killed, tmp_path):
    sqlalchemy = pytest.importorskip("sqlalchemy")
    closed = threading.Event()

    def make() -> Any:
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'db'}")
        sqlalchemy.event.listen(engine, "close", lambda *_: closed.set())
        with engine.connect() as connection:
            connection.exec_driver_sql("select 1")
        return engine

    owned_by_the_killed(make)
    assert closed.wait(WATCHDOG)


def test_a_killed_consumer_of_kafka_leaves_its_group_and_no_thread(await_down):
    kafka = pytest.importorskip("confluent_kafka")
    mock = {"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0}
    producer = kafka.Producer(mock)
    broker = next(iter(producer.list_topics(timeout=WATCHDOG).brokers.values()))
    producer.produce("topic", b"message")
    producer.flush(WATCHDOG)
    settings = {
        "bootstrap.servers": f"{broker.host}:{broker.port}",
        "group.id": "group",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
    }

    class Subscriber(GenServer):
        def init(self, assigned: threading.Event) -> Any:
            consumer = self.own(kafka.Consumer(settings))
            consumer.subscribe(["topic"])
            return Ok((consumer, assigned), continue_with="poll")

        def handle_continue(self, token: Any, state: Any) -> Any:
            consumer, assigned = state
            if consumer.poll(0.2) is not None:
                assigned.set()
            return NoReply(state, continue_with="poll")

    def threads() -> int:
        return len(os.listdir("/proc/self/task")) - threading.active_count()

    before = None
    for _ in range(2):
        # The second is given partitions only because the first's client does not send heartbeats any more
        # (librdkafka's mock cluster gives them away when the session of who has left is over).
        assigned = threading.Event()
        pid = Subscriber.start(assigned)
        assert assigned.wait(WATCHDOG)
        ref = process.monitor(pid)
        process.exit(pid, "kill")
        assert await_down(ref).reason == "killed"
        before = threads() if before is None else before
        assert threads() <= before
        assert not process.stragglers()
    del producer


def test_a_pool_of_asyncpg_is_closed_on_its_loop(kill):
    asyncpg = pytest.importorskip("asyncpg")
    pools: list[Any] = []
    there = threading.Event()

    # With min_size=0 it connects when somebody asks, so there need be no server.
    async def owns() -> None:
        pools.append(process.own(await asyncpg.create_pool(host="127.0.0.1", port=1, min_size=0)))
        there.set()
        await asyncio.sleep(WATCHDOG)

    pid = process.spawn(owns)
    assert there.wait(WATCHDOG)
    kill(pid)
    assert pools[0].is_closing()


def test_clients_of_httpx_and_aiohttp_are_closed_on_their_loop(kill):
    httpx, aiohttp = pytest.importorskip("httpx"), pytest.importorskip("aiohttp")
    clients: list[Any] = []
    there = threading.Event()

    async def owns() -> None:
        clients.append(process.own(httpx.AsyncClient()))
        clients.append(process.own(aiohttp.ClientSession()))
        there.set()
        await asyncio.sleep(WATCHDOG)

    pid = process.spawn(owns)
    assert there.wait(WATCHDOG)
    kill(pid)
    assert clients[0].is_closed
    assert clients[1].closed


def test_a_blocked_recv_returns(kill):
    ours, theirs = socket.socketpair()
    ended, there = threading.Event(), threading.Event()

    def receives() -> None:
        process.own(ours)
        there.set()
        # An OSError where the kill was faster than this.
        with suppress(OSError):
            ours.recv(1)
        ended.set()

    pid = process.spawn(receives)
    assert there.wait(WATCHDOG)
    kill(pid)
    assert ended.wait(WATCHDOG)
    theirs.close()
