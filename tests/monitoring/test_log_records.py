"""Whose a log record is: the child's whose code logs it, whatever carries the record from there."""

from __future__ import annotations

import json
import logging
import logging.handlers
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from resprout import GenServer, Task, monitoring, process
from resprout.actors import ChildSpec, NoReply, Pid
from resprout.supervision import DynamicSupervisor, Supervisor
from resprout.supervision.trees.secrets import Secret

from ..scripted import Runs
from ..waiting import WATCHDOG, down_of

logger = logging.getLogger("shop")
Supervised = Callable[..., Pid]


class Kept(logging.Handler):
    """Keeps what it formats."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: SimpleQueue[str] = SimpleQueue()
        self.setFormatter(monitoring.JsonFormat())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put(self.format(record))

    def next(self) -> Any:
        return json.loads(self.lines.get(timeout=WATCHDOG))


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def child(top: Pid, id: str) -> Any:
    return next(each.pid for each in Supervisor.which_children(top) if each.id == id)


def log() -> None:
    logger.error("hello")


def test_what_a_child_logs_has_the_ids_that_lead_to_it(kept: Kept, supervised: Supervised) -> None:
    clerk = ChildSpec("clerk", (Runs.start_link, (), {}))
    options = {"strategy": "one_for_one", "name": "orders"}
    inner = ChildSpec("inner", (Supervisor.start_link, ([clerk],), options), type="supervisor")
    top = supervised(inner)
    GenServer.call(child(child(top, "inner"), "clerk"), log)
    assert kept.next()["child"] == "inner/clerk"


def test_who_works_for_a_child_logs_for_it(kept: Kept, supervised: Supervised) -> None:
    top = supervised(ChildSpec("clerk", (Runs.start_link, (), {})))
    GenServer.call(child(top, "clerk"), lambda: Task.await_(Task.async_(log)))
    assert kept.next()["child"] == "clerk"


def test_a_coroutine_of_a_child_logs_for_it(kept: Kept, supervised: Supervised) -> None:
    class Calm(GenServer):
        async def handle_cast(self, message: Any, state: Any) -> Any:
            log()
            return NoReply(state)

    top = supervised(ChildSpec("calm", (Calm.start_link, (), {})))
    GenServer.cast(child(top, "calm"), None)
    assert kept.next()["child"] == "calm"


def test_each_child_of_a_dynamic_supervisor_has_its_own_id(kept: Kept) -> None:
    pool = DynamicSupervisor.start_link(name="sessions")
    pid = DynamicSupervisor.start_child(pool, ChildSpec("alice", (Runs.start_link, (), {})))
    GenServer.call(pid, log)
    DynamicSupervisor.stop(pool)
    assert kept.next()["child"] == "sessions/alice"


def test_nobodys_child_has_none(kept: Kept) -> None:
    log()
    told = kept.next()
    assert "child" not in told
    assert (told["logger"], told["level"], told["message"]) == ("shop", "ERROR", "hello")


def test_a_report_of_a_crash_is_that_of_the_child_which_crashed(kept: Kept, supervised: Supervised) -> None:
    top = supervised(ChildSpec("clerk", (Runs.start_link, (), {})))
    pid = child(top, "clerk")

    def crash() -> None:
        raise ValueError("as told")

    ref = process.monitor(pid)
    GenServer.cast(pid, crash)
    down_of(ref)
    told = kept.next()
    assert (told["child"], told["crash"]["reason"]) == ("clerk", "ValueError: as told")


def test_a_secret_that_a_record_is_given_is_not_shown(kept: Kept) -> None:
    secret, beyond_json = Secret("hunter2-hunter2"), object()
    logger.error("hello", extra={"password": secret, "options": {"urls": [secret, "plain"]}})
    logger.error("hello", extra={"password": secret, "number": float("nan"), "beyond": {"x": beyond_json}})
    first, second = kept.next(), kept.next()
    assert (first["password"], first["options"]) == ("(secret)", {"urls": ["(secret)", "plain"]})
    assert second["password"] == "(secret)"


def test_a_record_from_another_os_process_is_that_of_its_child(kept: Kept, supervised: Supervised) -> None:
    top = supervised(ChildSpec("far", (Runs.start_link, (), {})))
    logger.error("from afar", extra={"proxy": child(top, "far")})
    told = kept.next()
    assert (told["child"], told["message"]) == ("far", "from afar")
    assert "proxy" not in told


def test_a_record_that_another_thread_writes_keeps_its_child(kept: Kept, supervised: Supervised) -> None:
    logging.getLogger().removeHandler(kept)
    queue: SimpleQueue[Any] = SimpleQueue()
    handing = logging.handlers.QueueHandler(queue)  # type: ignore[arg-type]  # it only puts
    handing.addFilter(monitoring.ChildPath())
    logger.addHandler(handing)
    try:
        top = supervised(ChildSpec("clerk", (Runs.start_link, (), {})))
        GenServer.call(child(top, "clerk"), log)
        log()
    finally:
        logger.removeHandler(handing)
    for _ in range(2):
        kept.handle(queue.get(timeout=WATCHDOG))
    assert kept.next()["child"] == "clerk"
    assert "child" not in kept.next()


def test_a_format_of_ones_own_may_say_it(supervised: Supervised) -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.setFormatter(logging.Formatter("[%(child)s] %(message)s"))
    handler.addFilter(monitoring.ChildPath(nobody="-"))
    logger.addHandler(handler)
    try:
        top = supervised(ChildSpec("clerk", (Runs.start_link, (), {})))
        GenServer.call(child(top, "clerk"), log)
        log()
    finally:
        logger.removeHandler(handler)
    assert lines == ["[clerk] hello", "[-] hello"]
