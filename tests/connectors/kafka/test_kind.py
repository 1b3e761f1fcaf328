"""`kafka:` in a tree file."""

from __future__ import annotations

import builtins
import queue
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from resprout import Application, ConfigError
from resprout.kafka import positions

from ...waiting import WATCHDOG

SHOP = """
    import queue

    seen = queue.SimpleQueue()
    letters = queue.SimpleQueue()
    not_a_function = 7

    def process(message):
        if message.value() == b"bad":
            raise ValueError("bad")
        seen.put(message.value())

    async def aprocess(message):
        process(message)

    def two(message, more):
        pass

    def put_aside(message, error):
        letters.put((message.value(), str(error)))
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

    load.place = lambda key: getattr(__import__(name), key)  # type: ignore[attr-defined]
    return load


def take(shop: Any, key: str, count: int) -> list[Any]:
    place: queue.SimpleQueue[Any] = shop.place(key)
    return [place.get(timeout=WATCHDOG) for _ in range(count)]


@pytest.mark.parametrize("handler", ["process", "aprocess"])
def test_a_subscriber_in_a_file(cluster, config, shop: Any, handler: str) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, ["a", "bad", "b"])
    tree = shop(f"""
        children:
          - {{throttle: kafka_consumer_throttle, num_slots: 2}}
          - kafka: orders
            topics: [{topic}]
            group: {group}
            handler: "shop:{handler}"
            throttle: kafka_consumer_throttle
            retries: 1
            backoff: {{initial: 1ms, maximum: 5ms}}
            dead_letter: "shop:put_aside"
            drain: 1s
            config: {{bootstrap.servers: "{cluster.servers}", session.timeout.ms: 2200}}
    """)
    tree.start()
    assert take(shop, "seen", 2) == [b"a", b"b"]
    assert take(shop, "letters", 1) == [(b"bad", "bad")]
    (position,) = positions("orders")
    assert (position.topic, position.partition) == (topic, 0)
    tree.stop()
    assert cluster.committed(group, topic, 1) == [3]


LOCK = "{throttle: kafka_consumer_throttle, num_slots: 2}"
UNKNOWN = (
    "the tree starts no process named 'kafka_consumer_throtle'; it has: kafka_consumer_throttle, orders; "
    "did you mean 'kafka_consumer_throttle'?"
)


def with_(**given: str) -> str:
    """A right child with some options, or others in the place of its own."""
    options = {"kafka": "o", "topics": "[a]", "group": "g", "handler": '"shop:process"', **given}
    return "{" + ", ".join(f"{key}: {value}" for key, value in options.items() if value) + "}"


@pytest.mark.parametrize(
    ("child", "place", "problem"),
    [
        (with_(topic="[a]"), "topic", "did you mean 'topics'?"),
        (with_(topics=""), "topics", "it is missing"),
        (with_(topics="[]"), "topics", "expected at least one topic, got none"),
        (with_(topics="a"), "topics", "expected a list"),
        (with_(handler='"shop:proces"'), "handler", "did you mean 'process'?"),
        (with_(handler='"shop:two"'), "handler", "argument: 'more'"),
        (with_(commit="never"), "commit", "expected one of after, before, got: 'never'"),
        (with_(prefetch="0"), "prefetch", "expected prefetch to be a whole number >= 1"),
        (with_(retries="-1"), "retries", "expected a whole number >= 0, got: -1"),
        (with_(backoff="{initial: soon}"), "backoff.initial", "expected a time such as 5s"),
        (with_(dead_letter="a"), "dead_letter", "expected another topic than 'a'"),
        (with_(dead_letter='"shop:put_asid"'), "dead_letter", "did you mean 'put_aside'?"),
        (with_(dead_letter='"shop:not_a_function"'), "dead_letter", "is: int"),
        (with_(drain="later"), "drain", "expected a time such as 5s"),
        (with_(max_seconds="0"), "max_seconds", "expected a time > 0"),
        (with_(config="{bootstrap.server: a}"), "config", "did you mean 'bootstrap.servers'?"),
        (with_(config="{group.id: a}"), "config", "give it as group="),
        (with_(config="[a]"), "config", "expected a mapping"),
        (with_(kafka='""'), "kafka", "not empty"),
        (with_(throttle="kafka_consumer_throtle", kafka="orders"), "throttle", UNKNOWN),
        (with_(throttle="later"), "throttle", "the process 'later' starts after this child"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(shop: Any, child: str, place: str, problem: str) -> None:
    children = [LOCK, child, *(["{throttle: later, num_slots: 2}"] if "later" in problem else [])]
    with pytest.raises(ConfigError) as raised:
        shop("children:\n" + "".join(f"  - {each}\n" for each in children))
    assert f"children[1].{place}: " in str(raised.value)
    assert problem in str(raised.value)


def test_two_subscribers_cannot_have_one_name(shop: Any) -> None:
    with pytest.raises(ConfigError, match=r"children\[1\]: the name 'o' is taken by"):
        shop(f"children:\n  - {with_()}\n  - {with_(id='other')}\n")


def test_without_the_extra_the_error_says_how_to_install_it(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "confluent_kafka")
    plain_import = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "confluent_kafka":
            raise ImportError(name)
        return plain_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError) as raised:
        shop(f"children:\n  - {with_()}\n")
    told = "children[0].kafka: Kafka needs confluent-kafka: pip install 'resprout[kafka]'"
    assert told in str(raised.value)
