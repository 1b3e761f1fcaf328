"""`producer:`, `consumer:` and `consumer_supervisor:` in a tree file."""

from __future__ import annotations

import queue
import textwrap
from pathlib import Path
from typing import Any

import pytest

from resprout import Application, ConfigError, process, stages

PATIENCE = 20.0
SHOP = """
    import queue
    from resprout import NoReply, Ok
    from resprout.stages import Consumer, Producer, ProducerConsumer

    seen = {}

    def place(key):
        return seen.setdefault(key, queue.SimpleQueue())

    class Numbers(Producer):
        blocking = False

        def init(self, args):
            return Ok((args or {}).get("start", 0), buffer_size=7)

        def handle_demand(self, demand, start):
            return NoReply(start + demand, events=list(range(start, start + demand)))

    class Doubler(ProducerConsumer):
        blocking = False

        def init(self, args):
            return Ok(None)

        def handle_events(self, events, from_, state):
            return NoReply(state, events=[2 * event for event in events])

    class Collector(Consumer):
        def init(self, args):
            return Ok(place(args["key"]))

        def handle_events(self, events, from_, seen):
            for event in events:
                seen.put(event)
            return NoReply(seen)

    def mail(event, key):
        place(key).put(event)

    def begin(event, key):
        from resprout import Task
        return Task.start_link(mail, event, key)

    def odd(event):
        return event % 2
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that a tree file beside it may name."""
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(SHOP), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(text: str) -> Application:
        file = tmp_path / "tree.yaml"
        file.write_text("name: shop\n" + textwrap.dedent(text).replace("shop:", f"{name}:"), encoding="utf-8")
        return Application.load(str(file))

    load.place = lambda key: __import__(name).place(key)  # type: ignore[attr-defined]
    return load


def take(shop: Any, key: str, count: int) -> list[Any]:
    seen: queue.SimpleQueue[Any] = shop.place(key)
    return [seen.get(timeout=PATIENCE) for _ in range(count)]


def test_a_pipeline_in_a_file(shop: Any) -> None:
    tree = shop("""
        strategy: rest_for_one
        children:
          - {producer: numbers, start: "shop:Numbers", args: {start: 10}}
          - {producer: doubled, start: "shop:Doubler", subscribe_to: [{to: numbers, max_demand: 10}]}
          - {consumer: collector, start: "shop:Collector", args: {key: all}, subscribe_to: [doubled]}
    """)
    tree.start()
    assert take(shop, "all", 50) == [2 * number for number in range(10, 60)]
    before = process.whereis("numbers")
    assert before is not None
    process.exit(before, "kill")
    while take(shop, "all", 1) != [20]:
        pass
    assert take(shop, "all", 3) == [22, 24, 26]
    tree.stop()


def test_a_consumer_for_each_partition(shop: Any) -> None:
    tree = shop("""
        children:
          - producer: numbers
            start: "shop:Numbers"
            dispatcher: {partitions: 2, hash: "shop:odd"}
            demand: accumulate
          - consumer: collector
            start: "shop:Collector"
            args: {key: "{index}"}
            replicas: 2
            subscribe_to:
              - {to: numbers, partition: "{index}", max_demand: 10}
    """)
    tree.start()
    stages.demand("numbers", "forward")
    assert (take(shop, "0", 3), take(shop, "1", 3)) == ([0, 2, 4], [1, 3, 5])
    tree.stop()


@pytest.mark.parametrize("work", ['run: "shop:mail"', 'start: "shop:begin"'])
def test_a_child_for_each_event(shop: Any, work: str) -> None:
    tree = shop(f"""
        children:
          - {{producer: numbers, start: "shop:Numbers"}}
          - consumer_supervisor: mails
            {work}
            args: {{key: mails}}
            child_restart: transient
            name: mails
            subscribe_to: [{{to: numbers, max_demand: 3}}]
    """)
    tree.start()
    assert sorted(take(shop, "mails", 3)) == [0, 1, 2]
    assert process.whereis("mails") is not None
    tree.stop()


def test_what_the_file_says_counts_more_than_what_init_says(shop: Any) -> None:
    tree = shop("""
        children:
          - {producer: numbers, start: "shop:Numbers", buffer_size: 3, buffer_keep: first, name: other}
    """)
    tree.start()
    pid = process.whereis("other")
    buffer = pid.actor._core.buffer  # type: ignore[union-attr]  # it runs
    assert (buffer.limit, buffer.keep) == (3, "first")
    tree.stop()


@pytest.mark.parametrize(
    ("children", "place", "problem"),
    [
        (
            ['{producer: numbers, start: "shop:Numbers"}',
             '{consumer: c, start: "shop:Collector", args: {key: a}, subscribe_to: [numbrs]}'],
            "children[1].subscribe_to[0]",
            "the tree starts no process named 'numbrs'; it has: numbers; did you mean 'numbers'?",
        ),
        (
            ['{consumer: c, start: "shop:Collector", args: {key: a}, subscribe_to: [{to: numbers}]}',
             '{producer: numbers, start: "shop:Numbers"}'],
            "children[0].subscribe_to[0].to",
            "the process 'numbers' starts after this child; put it in front of it",
        ),
        (
            ['{producer: loop, start: "shop:Doubler", subscribe_to: [loop]}'],
            "children[0].subscribe_to[0]",
            "the process 'loop' is this child; put it in front of it",
        ),
        (
            ['{producer: a, start: "shop:Doubler", subscribe_to: [b]}',
             '{producer: b, start: "shop:Doubler", subscribe_to: [a]}'],
            "children[0].subscribe_to[0]",
            "the process 'b' starts after this child",
        ),
        (
            ['{producer: a, start: "shop:Numbers"}',
             '{producer: b, start: "shop:Numbers", subscribe_to: [a]}'],
            "children[1].subscribe_to",
            "Numbers is a Producer, which subscribes to nobody",
        ),
        (
            ['{producer: a, start: "shop:Collector"}'],
            "children[0].start",
            "expected the class of a Producer or a ProducerConsumer, got: ",
        ),
        (
            ['{consumer: a, start: "shop:Numbers"}'],
            "children[0].start",
            "expected the class of a Consumer, got: ",
        ),
        (
            ['{producer: a, start: "shop:Numbers"}',
             '{consumer: c, start: "shop:Collector", subscribe_to: [{to: a, max_demand: 0}]}'],
            "children[1].subscribe_to",
            "in the subscription to 'a': expected max_demand to be a positive integer, got: 0",
        ),
        (
            ['{producer: a, start: "shop:Numbers"}',
             '{consumer: c, start: "shop:Collector", subscribe_to: [{to: a, max_demand: 5, min_demand: 9}]}'],
            "children[1].subscribe_to",
            "expected min_demand to be an integer from 0 to 4",
        ),
        (
            ['{producer: a, start: "shop:Numbers"}',
             '{consumer_supervisor: c, run: "shop:mail", subscribe_to: [{to: a, max_demnd: 4}]}'],
            "children[1].subscribe_to",
            "unknown option 'max_demnd' of a subscription; did you mean 'max_demand'?",
        ),
        (
            ['{consumer_supervisor: c, subscribe_to: [7]}'],
            "children[0].subscribe_to",
            "expected the name of a producer, or {to: name, max_demand: ...}, got: 7",
        ),
        (["{consumer_supervisor: c}"], "children[0].run", "expected either run: or start:, got neither"),
        (
            ['{producer: a, start: "shop:Numbers", dispatcher: demnd}'],
            "children[0].dispatcher",
            "expected dispatcher to be 'demand', 'broadcast', 'partition', got: 'demnd'",
        ),
        (
            ['{producer: a, start: "shop:Numbers", dispatcher: {partition: 4}}'],
            "children[0].dispatcher",
            "expected demand, broadcast, or {partitions: ..., hash: ...}",
        ),
        (
            ['{producer: a, start: "shop:Numbers", buffer_size: -1}'],
            "children[0].buffer_size",
            "expected buffer_size to be a whole number >= 0 or infinity, got: -1",
        ),
        (
            ['{producer: "", start: "shop:Numbers"}'],
            "children[0].producer",
            "expected a text that is not empty",
        ),
        (
            ['{producer: a, start: "shop:Numbers"}', '{producer: a, id: b, start: "shop:Numbers"}'],
            "children[1]",
            "the name 'a' is taken by",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    shop: Any, children: list[str], place: str, problem: str
) -> None:
    text = "children:\n" + "".join(f"  - {child}\n" for child in children)
    with pytest.raises(ConfigError) as raised:
        shop(text)
    assert f"{place}: " in str(raised.value)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("children", "problem"),
    [
        (
            """
          - {producer: numbers, start: "shop:Numbers", dispatcher: broadcast}
          - {consumer: c, start: "shop:Collector", subscribe_to: [{to: numbers, selector: "shop:nothing"}]}
            """,
            "no attribute 'nothing'|has no 'nothing'|nothing",
        ),
        (
            """
          - {producer: numbers, start: "shop:Numbers", dispatcher: broadcast}
          - {consumer: c, start: "shop:Collector", subscribe_to: [{to: numbers, selector: "shop:seen"}]}
            """,
            "expected selector to name a function, got: .*:seen, which is of type dict",
        ),
        (
            '- {producer: numbers, start: "shop:Numbers", dispatcher: {partitions: 2, hash: "shop:seen"}}',
            "expected hash to name a function, got: .*:seen, which is of type dict",
        ),
        (
            """
          - {producer: numbers, start: "shop:Numbers"}
          - {producer: doubled, start: "shop:Doubler", demand: accumulate, subscribe_to: [numbers]}
            """,
            "expected none, as .*:Doubler is a ProducerConsumer",
        ),
        (
            """
          - {consumer: c, name: c, start: "shop:Collector"}
          - {consumer: d, start: "shop:Collector", subscribe_to: [c]}
            """,
            "expected a producer, got: 'c', which is a consumer",
        ),
        (
            """
          - {producer: numbers, start: "shop:Numbers"}
          - {consumer_supervisor: m, run: "shop:mail", args: {bogus: 1}, subscribe_to: [numbers]}
            """,
            "gets the event and takes: event, key",
        ),
    ],
)
def test_what_cannot_work_is_found_when_the_file_is_read(shop: Any, children: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        shop(f"children:\n{textwrap.indent(textwrap.dedent(children), '  ')}")


def test_a_selector_in_a_file_is_imported(shop: Any) -> None:
    tree = shop("""
        children:
          - {producer: numbers, start: "shop:Numbers", dispatcher: broadcast}
          - consumer: collector
            start: "shop:Collector"
            args: {key: chosen}
            subscribe_to: [{to: numbers, selector: "shop:odd"}]
    """)
    tree.start()
    assert take(shop, "chosen", 3) == [1, 3, 5]
    tree.stop()
