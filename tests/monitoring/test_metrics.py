"""What the metrics say, as Prometheus' client reads them: real trees, locks, registries and stages."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from resprout import GenServer, Registry, monitoring, process, telemetry, throttle
from resprout.actors import CallTimeout, ChildSpec, NoReply, Ok, Pid, QueueFull
from resprout.cluster.handle import Handle, handles
from resprout.cluster.settings import engine_settings
from resprout.monitoring.counting import Books, Distribution, books
from resprout.monitoring.loop_lag import LoopLag
from resprout.stages import Consumer, Producer, subscribe
from resprout.supervision import DynamicSupervisor, Supervisor

from ..scripted import Runs
from ..waiting import WATCHDOG, down_of, until
from .conftest import Scrape

ROOT = Path(__file__).resolve().parent.parent.parent
Supervised = Callable[..., Pid]
ENGINE = {"name": "shared", "ttl": 10.0, "grace": 0.15, "schema": "resprout", "node": None}


class Deaf(Runs):
    """Obeys no exit signal while it works."""

    trap_exit = True


def crash() -> None:
    raise ValueError("as told")


def crashed(pid: Pid) -> None:
    """Have a server crash, and wait until it is dead."""
    ref = process.monitor(pid)
    GenServer.cast(pid, crash)
    down_of(ref)


def child(supervisor: Pid, id: str) -> Any:
    return next(each.pid for each in Supervisor.which_children(supervisor) if each.id == id)


def test_crashes_and_restarts_are_counted_by_the_path_of_the_child(
    scrape: Scrape, supervised: Supervised
) -> None:
    inner = ChildSpec(
        "inner",
        (
            Supervisor.start_link,
            ([ChildSpec("clerk", (Runs.start_link, (), {}))],),
            {"strategy": "one_for_one", "max_restarts": 10},
        ),
        type="supervisor",
    )
    top = supervised(inner)
    clerks = child(top, "inner")
    assert scrape("resprout_child_restarts_total", child="inner/clerk") == 0
    assert scrape("resprout_child_running", child="inner/clerk") == 1
    for _ in range(2):
        crashed(child(clerks, "clerk"))
        Supervisor.which_children(clerks)  # it has dealt with the exit before it answers
    assert scrape("resprout_child_restarts_total", child="inner/clerk") == 2
    assert scrape("resprout_child_crashes_total", child="inner/clerk") == 2
    assert scrape("resprout_child_restarts_total", child="inner") == 0
    assert scrape("resprout_child_running", child="inner/clerk") == 1


def test_an_end_in_order_is_no_crash(scrape: Scrape, supervised: Supervised) -> None:
    top = supervised(ChildSpec("clerk", (Runs.start_link, (), {})))
    GenServer.stop(child(top, "clerk"))
    Supervisor.which_children(top)
    assert scrape("resprout_child_crashes_total", child="clerk") == 0
    assert scrape("resprout_child_restarts_total", child="clerk") == 1


def test_all_children_of_a_dynamic_supervisor_are_one_series(scrape: Scrape) -> None:
    pool = DynamicSupervisor.start_link(name="sessions", max_restarts=10)
    pids = [DynamicSupervisor.start_child(pool, ChildSpec(n, (Runs.start_link, (), {}))) for n in range(3)]
    assert scrape("resprout_child_running", child="sessions/*") == 3
    crashed(pids[0])
    Supervisor.count_children(pool)
    assert scrape("resprout_child_crashes_total", child="sessions/*") == 1
    assert scrape("resprout_child_restarts_total", child="sessions/*") == 1
    DynamicSupervisor.stop(pool)


def test_a_supervisor_that_gives_up_is_counted_where_it_stands(scrape: Scrape) -> None:
    process.trap_exit(True)
    top = Supervisor.start_link(
        [ChildSpec("clerk", (Runs.start_link, (), {}))], strategy="one_for_one", max_restarts=0, name="desk"
    )
    ref = process.monitor(top)
    crashed(child(top, "clerk"))
    down_of(ref)
    assert scrape("resprout_supervisor_exhausted_total", child="desk/clerk") == 1


def test_a_child_that_does_not_stop_in_time_is_counted(scrape: Scrape, supervised: Supervised) -> None:
    gate = threading.Event()
    top = supervised(ChildSpec("deaf", (Deaf.start_link, (), {}), shutdown=0.01))
    GenServer.cast(child(top, "deaf"), lambda: gate.wait(WATCHDOG))
    Supervisor.terminate_child(top, "deaf")
    gate.set()
    assert scrape("resprout_child_overruns_total", child="deaf") == 1
    assert scrape("resprout_child_unready", child="deaf") == 1


def test_messages_that_wait_are_told_of_the_child_and_of_all(scrape: Scrape, supervised: Supervised) -> None:
    gate, here = threading.Event(), threading.Event()
    top = supervised(ChildSpec("busy", (Runs.start_link, (), {})))
    pid = child(top, "busy")

    def work() -> None:
        here.set()
        gate.wait(WATCHDOG)

    for each in (work, *[lambda: None] * 7):
        GenServer.cast(pid, each)
    assert here.wait(WATCHDOG)
    try:
        assert scrape("resprout_child_messages", child="busy") == 7
        assert (scrape("resprout_process_longest_mailbox") or 0) >= 7
        assert (scrape("resprout_process_messages") or 0) >= 7
    finally:
        gate.set()


def test_locks_have_gauges_counters_and_histograms(scrape: Scrape) -> None:
    throttle.new("till", 2, max_waiting=0)
    try:
        with throttle.slot("till", weight=2):
            refused = []

            def shed() -> None:
                with pytest.raises(QueueFull):
                    throttle.acquire("till")
                refused.append(True)

            thread = threading.Thread(target=shed)
            thread.start()
            thread.join(WATCHDOG)
            assert refused
            assert scrape("resprout_throttle_running", lock="till") == 1
            assert scrape("resprout_throttle_used", lock="till") == 2
            assert scrape("resprout_throttle_num_slots", lock="till") == 2
        assert scrape("resprout_throttle_shed_total", lock="till") == 1
        assert scrape("resprout_throttle_timeouts_total", lock="till") == 0
        assert scrape("resprout_throttle_wait_seconds_count", lock="till") == 1
        assert scrape("resprout_throttle_hold_seconds_bucket", lock="till", le="+Inf") == 1
        assert (scrape("resprout_throttle_hold_seconds_sum", lock="till") or 0) > 0
    finally:
        throttle.stop_lock("till")
    assert scrape("resprout_throttle_running", lock="till") is None


def test_requests_that_gave_up_are_counted(scrape: Scrape) -> None:
    throttle.new("till", 1)

    def late() -> None:
        with pytest.raises(CallTimeout):
            throttle.acquire("till", timeout=0)

    try:
        with throttle.slot("till"):
            thread = threading.Thread(target=late)
            thread.start()
            thread.join(WATCHDOG)
        assert scrape("resprout_throttle_timeouts_total", lock="till") == 1
    finally:
        throttle.stop_lock("till")


def test_registries_tell_how_many_are_registered(scrape: Scrape) -> None:
    Registry.start_link(keys="duplicate", name="guests")
    Registry.register("guests", "a")
    Registry.register("guests", "a")
    assert scrape("resprout_registry_entries", registry="guests") == 2
    Registry.stop("guests")
    assert scrape("resprout_registry_entries", registry="guests") is None


class Numbers(Producer):
    def init(self, arg: Any) -> Any:
        return Ok(None)

    def handle_demand(self, demand: int, state: Any) -> Any:
        return NoReply(state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return NoReply(state, events=message)


class Sink(Consumer):
    def init(self, arg: Any) -> Any:
        return Ok(None)

    def handle_events(self, events: Any, from_: Any, state: Any) -> Any:
        return NoReply(state)


def test_stages_tell_what_they_keep_what_they_owe_and_what_they_dropped(scrape: Scrape) -> None:
    source = Numbers.start(None, name="numbers")
    idle = Numbers.start(None, name="idle")
    sink = Sink.start(None, name="sink")
    GenServer.cast(idle, [1, 2, 3])
    until(lambda: scrape("resprout_stages_buffered", stage="idle") == 3)
    subscribe(sink, to=source, max_demand=10, min_demand=5)
    until(lambda: scrape("resprout_stages_demand", stage="numbers") == 10)
    assert scrape("resprout_stages_discarded_total", stage="numbers") == 0
    for each in (sink, source, idle):
        GenServer.stop(each)


def test_what_consumer_groups_tell_is_counted_by_group_and_topic(scrape: Scrape) -> None:
    where = {"group": "shop", "topic": "orders", "partition": 0, "offset": 7, "error": None}
    for name in ("retried", "retried", "dead_lettered"):
        telemetry.emit(("resprout", "kafka", name), {"failures": 1}, where)
    telemetry.emit(("resprout", "kafka", "error"), {}, {"group": "shop", "error": None, "what": "commit"})
    telemetry.emit(("resprout", "kafka", "committed"), {}, {"group": "shop"})  # a gauge tells it
    assert scrape("resprout_kafka_retries_total", group="shop", topic="orders") == 2
    assert scrape("resprout_kafka_dead_letters_total", group="shop", topic="orders") == 1
    assert scrape("resprout_kafka_errors_total", group="shop") == 1


def test_engines_tell_whether_they_are_connected_and_what_their_absence_cost(
    scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Handle(engine_settings("postgresql://nowhere/app", **ENGINE))
    handle.reconnects = 2
    monkeypatch.setitem(handles, "shared", handle)
    about = {"engine": "shared"}
    assert scrape("resprout_cluster_connected", engine="shared") == 0
    assert scrape("resprout_cluster_lost_grants_total", engine="shared") == 0
    handle.connected = True
    telemetry.emit(("resprout", "cluster", "void"), {"grants": 3}, about)
    telemetry.emit(("resprout", "cluster", "tick"), {"seconds": 0.002, "operations": 1}, about)
    assert scrape("resprout_cluster_connected", engine="shared") == 1
    assert scrape("resprout_cluster_reconnects_total", engine="shared") == 2
    assert scrape("resprout_cluster_lost_grants_total", engine="shared") == 3
    assert scrape("resprout_cluster_locks", engine="shared") == 0
    assert scrape("resprout_cluster_tick_seconds_bucket", engine="shared", le="0.005") == 1
    assert scrape("resprout_cluster_tick_seconds_bucket", engine="shared", le="0.001") == 0


def test_an_event_loop_that_does_not_call_back_lags() -> None:
    lag, gate, here = LoopLag(), threading.Event(), threading.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        assert lag.worst([loop]) is None
        until(lambda: lag.worst([loop]) is not None)

        def stuck() -> None:
            here.set()
            gate.wait(WATCHDOG)

        loop.call_soon_threadsafe(stuck)
        assert here.wait(WATCHDOG)
        before = lag.worst([loop])
        assert before is not None
        until(lambda: (lag.worst([loop]) or 0) > before + 0.02)
    finally:
        gate.set()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WATCHDOG)
        loop.close()
    assert lag.worst([loop]) is not None  # it is closed, and nobody is asked
    assert lag.worst([loop]) is None


def test_nothing_listens_when_nobody_wants_the_metrics() -> None:
    assert not telemetry.enabled(("resprout", "throttle", "wait"))
    ends = [monitoring.prometheus(CollectorRegistry()) for _ in range(2)]
    assert telemetry.enabled(("resprout", "throttle", "wait"))
    ends[0]()
    ends[0]()
    assert telemetry.enabled(("resprout", "throttle", "wait"))
    ends[1]()
    assert not telemetry.enabled(("resprout", "throttle", "wait"))
    assert books.read() == {}


def test_what_is_noted_from_many_threads_is_all_counted() -> None:
    mine = Books()

    def note() -> None:
        for _ in range(2000):
            mine.note("resprout.throttle.wait", ("a",), 0.25)
            mine.note("resprout.process.crashes", ("server",))

    threads = [threading.Thread(target=note) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WATCHDOG)
    found = mine.read()
    assert found["resprout.process.crashes"] == {("server",): 8000}
    waits = found["resprout.throttle.wait"]["a",]
    assert isinstance(waits, Distribution)
    assert (sum(waits.counts), waits.total) == (8000, 2000.0)
    assert len(mine._queue) == 0


def test_noting_goes_on_while_somebody_reads() -> None:
    """As in a finalizer that runs in the middle of a read, on the same thread: nothing may wait."""
    mine = Books()
    with mine._counting:
        for _ in range(2000):
            mine.note("resprout.process.crashes", ("server",))
    assert mine.read()["resprout.process.crashes"] == {("server",): 2000}


def test_a_seconds_value_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    some = Distribution()
    for seconds in (0.0, 0.0001, 0.00011, 60.0, 61.0):
        some.add(seconds)
    assert (some.counts[0], some.counts[1], some.counts[-2], some.counts[-1]) == (2, 1, 1, 1)


def test_a_forked_child_counts_from_zero(forking: Callable[[str], list[str]]) -> None:
    assert forking(
        """
        from prometheus_client import CollectorRegistry
        from resprout import monitoring, throttle
        from resprout.monitoring.counting import books
        monitoring.prometheus(CollectorRegistry())
        throttle.new("till", 1)
        throttle.run("till", int)

        def count():
            waits = books.read().get("resprout.throttle.wait", {})
            return {name: sum(each.counts) for (name,), each in waits.items()}

        print(count())
        def child():
            print(count())
            throttle.run("till", int)
            print(count())
        forked(child)
        print(count())
        """
    ) == ["{'till': 1}", "{}", "{'till': 1}", "{'till': 1}"]


# What is written about them


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bresprout_\w+", text))


def known_names() -> set[str]:
    return {metric.shown for metric in monitoring.METRICS}


def test_the_page_lists_every_metric_with_its_labels_and_no_other() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(resprout_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", page, re.MULTILINE)
    listed = {
        name: (kind, labels.strip().replace("`", ""), about.strip()) for name, kind, labels, about in rows
    }
    assert listed == {
        metric.shown: (metric.kind, ", ".join(metric.labels), metric.about) for metric in monitoring.METRICS
    }


def test_the_names_are_as_prometheus_writes_them() -> None:
    registry = CollectorRegistry()
    end = monitoring.prometheus(registry)
    text = generate_latest(registry).decode()
    end()
    declared = dict(re.findall(r"^# TYPE (resprout_\w+) (\w+)$", text, re.MULTILINE))
    assert declared == {metric.shown: metric.kind for metric in monitoring.METRICS}


def queries_of(dashboard: Any) -> list[str]:
    """Every query of a dashboard: of its panels, and of its variables."""
    found = []
    for panel in dashboard["panels"]:
        found += [target["expr"] for target in panel.get("targets", ())]
    found += [
        variable["query"]["query"]
        for variable in dashboard["templating"]["list"]
        if "query" in variable and isinstance(variable["query"], dict)
    ]
    return found


def test_the_dashboard_asks_for_metrics_that_there_are_and_shows_each() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana_dashboard.json").read_text(encoding="utf-8"))
    asked: set[str] = set()
    for query in queries_of(dashboard):
        for name in names_in(query):
            asked.add(re.sub(r"(?<=_seconds)_(bucket|sum|count)$", "", name))
    assert asked == known_names()


def test_the_dashboard_groups_by_labels_that_the_metrics_have() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana_dashboard.json").read_text(encoding="utf-8"))
    labels = {metric.shown: set(metric.labels) for metric in monitoring.METRICS}
    for query in queries_of(dashboard):
        (name,) = {re.sub(r"(?<=_seconds)_(bucket|sum|count)$", "", each) for each in names_in(query)}
        used = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")}
        used |= set(re.findall(r"(\w+)=~", query))
        assert used - {"le", "job", "instance"} <= labels[name], query


def test_the_panels_of_the_dashboard_do_not_cover_one_another() -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana_dashboard.json").read_text(encoding="utf-8"))
    taken: dict[tuple[int, int], str] = {}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
