"""Two readings of a file make children that are equal, of whatever kind: a reload leaves them alone."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from resprout.actors import GenServer
from resprout.stages import Consumer, Producer
from resprout.supervision.trees.difference import difference
from resprout.supervision.trees.tree_file import load_tree

pytest.importorskip("confluent_kafka")
pytest.importorskip("prometheus_client")
pytest.importorskip("psycopg")
pytest.importorskip("uvicorn")

TREE = """
name: all
children:
  - worker: w
    start: "kinds:Plain"
    args: {a: [1, {b: 2.5}]}
    replicas: 2
    backoff: {initial: 1s}
  - {registry: r, keys: duplicate}
  - {throttle: t, num_slots: 2, rate: 10/s, adaptive: gradient}
  - {supervisor: s, children: [{worker: x, run: "kinds:work", every: 5m, jitter: 1s}]}
  - {dynamic_supervisor: d, children: [{worker: y, start: "kinds:Plain"}]}
  - {task_supervisor: ts}
  - {partition_supervisor: ps, partitions: 2, children: [{worker: z, start: "kinds:Plain"}]}
  - {agent: a, value: {counts: [1, 2]}}
  - {asgi: web, app: "kinds:app", port: 0}
  - {producer: p, start: "kinds:Source", args: {n: 1}}
  - {consumer: c, start: "kinds:Sink", subscribe_to: [{to: p, max_demand: 3}]}
  - {consumer_supervisor: cs, run: "kinds:handle", args: {more: 1}, subscribe_to: [p]}
  - {kafka: k, topics: [orders], group: shop, handler: "kinds:handle", backoff: {initial: 1s}}
  - {engine: e, url: "postgresql://shop:${file:secret}@db/shop"}
  - {metrics: m, port: 0}
  - {observe: o, port: 0}
"""


class Plain(GenServer):
    pass


class Source(Producer):
    pass


class Sink(Consumer):
    pass


def work() -> None: ...


def handle(event: Any, more: int = 0) -> None: ...


async def app(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.fixture(autouse=True)
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kinds", sys.modules[__name__])


def test_every_kind_is_tried() -> None:
    named = {key for child in yaml.safe_load(TREE)["children"] for key in child}
    assert {point.name for point in entry_points(group="resprout.kinds")} <= named


def test_two_readings_of_a_file_with_children_of_every_kind_differ_in_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    file = tmp_path / "tree.yaml"
    file.write_text(TREE)
    change = difference(load_tree(file, {}), load_tree(file, {}))
    assert [step.path for step in change.steps] == []
    assert change.root == ()
