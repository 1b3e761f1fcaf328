from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from orders import store
from orders.job import NotExact, OrdersJob, Result, summarise
from orders.topic import Message

DONE = Result(
    processed=3200,
    expected=3200,
    handled_this_run=3200,
    orders=568,
    dead_letters=12,
    mismatches=0,
    max_running=2,
    num_slots=2,
    api_requests=900,
    api_p50_ms=2.5,
    api_p99_ms=9.75,
    api_errors=0,
    pool_size=10,
    consumer_connections=2,
    api_wait_p50_ms=0.03,
    api_wait_p95_ms=0.08,
    api_wait_max_ms=1.5,
    api_found_none=0,
    api_wait_errors=0,
)


def test_the_summary_tells_what_was_done() -> None:
    assert summarise(DONE) == (
        "3,200 of 3,200 messages handled, 3,200 now\n"
        "568 orders and 12 dead letters: all is as the topic says\n"
        "at most 2 handlers were at work at once, on 2 slots\n"
        "900 requests to the API: half answered within 2.5 ms, 99% within 9.75 ms, 0 errors\n"
        "consumers had at most 2 of the 10 connections, 0 requests found none free and 0 got none\n"
        "requests waited for a connection: half of them at most 0.03 ms, 95% 0.08 ms, all 1.5 ms"
    )


def test_the_summary_of_a_second_run_says_that_nothing_was_left_to_do() -> None:
    again = attrs.evolve(DONE, handled_this_run=0)

    assert summarise(again) == "nothing left to do: all 3,200 messages were handled before"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mismatches": 3}, "3 things are not as the topic says"),
        ({"mismatches": 3, "handled_this_run": 0}, "3 things are not as the topic says"),
        ({"processed": 100, "handled_this_run": 0}, "100 of 3,200 messages handled, 0 now"),
    ],
)
def test_the_summary_does_not_hide_what_is_wrong(change: dict[str, int], words: str) -> None:
    assert words in summarise(attrs.evolve(DONE, **change))


def test_the_summary_does_not_speak_of_what_never_ran() -> None:
    idle = attrs.evolve(
        DONE,
        handled_this_run=0,
        processed=5,
        api_requests=0,
        max_running=0,
        num_slots=None,
        pool_size=None,
        api_wait_p50_ms=None,
    )

    assert summarise(idle) == (
        "5 of 3,200 messages handled, 0 now\n568 orders and 12 dead letters: all is as the topic says"
    )


@pytest.fixture
def topic(tmp_path: Path) -> Path:
    folder = tmp_path / "topic"
    folder.mkdir()
    (folder / "partition-00.jsonl").write_bytes(b'{"event": "created", "order": "o", "customer": "c"}\nbad\n')
    (folder / "partition-01.jsonl").write_bytes(b'{"event": "created", "order": "p", "customer": "c"}\n')
    return folder


def test_the_job_counts_what_the_database_holds_and_finds_what_should_not_be_there(
    tmp_path: Path, topic: Path
) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    engine = store.connect(url, size=1)
    store.position(engine, 0)
    store.handle(engine, Message(0, 0, b'{"event": "created", "order": "o", "customer": "c"}'))
    job = OrdersJob(url, topic)
    assert (job.progress().done, job.progress().total) == (1, 3)

    store.handle(engine, Message(0, 1, b"bad"))
    report = job.report()
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(store.orders.update().values(items=7))
    engine.dispose()

    assert report["processed"] == 2
    assert report["expected"] == 3
    assert report["handled_this_run"] == 1
    assert report["dead_letters"] == 1
    assert report["mismatches"] == 0
    assert job.result().mismatches == 1
    with pytest.raises(NotExact, match=r"^1 orders and dead letters are not as the topic says$"):
        job.report()


def test_a_run_with_more_at_work_than_slots_has_failed() -> None:
    with pytest.raises(NotExact, match=r"^3 handlers were at work at once, on 2 slots$"):
        attrs.evolve(DONE, max_running=3).check()
