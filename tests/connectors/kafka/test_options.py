"""What a group subscriber refuses, before anything runs."""

from __future__ import annotations

import builtins
import logging
import sys
from typing import Any

import pytest

from resprout import Backoff, LockNotFound, SpecError, Supervisor
from resprout.connectors.kafka.client import Seldom
from resprout.kafka import GroupSubscriber, MissingExtra


def handler(message: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("options", "field", "problem"),
    [
        ({"topics": []}, "topics", "expected at least one topic, got none"),
        ({"topics": "orders"}, "topics", "expected a list of names of topics, got: 'orders'"),
        ({"topics": ["a", 7]}, "topics", "expected names of topics, got: 7"),
        ({"topics": ["a", "a"]}, "topics", "expected each topic once"),
        ({"group": ""}, "group", "expected a text that is not empty, got: ''"),
        ({"handler": "shop:process"}, "handler", "expected a function of a message, got: 'shop:process'"),
        ({"handler": lambda: None}, "handler", "expected a function of a message, got: <lambda>()"),
        ({"handler": lambda a, b: None}, "handler", "missing a required argument: 'b'"),
        ({"handler": lambda message: (yield)}, "handler", "expected a function that does the work"),
        ({"throttle": 2}, "throttle", "expected a text that is not empty, got: 2"),
        ({"commit": "aftr"}, "commit", "one of 'after', 'before', got: 'aftr'; did you mean 'after'?"),
        ({"prefetch": 0}, "prefetch", "expected an integer >= 1, got: 0"),
        ({"prefetch": True}, "prefetch", "expected an integer >= 1, got: True"),
        ({"retries": -1}, "retries", "expected an integer >= 0, got: -1"),
        ({"backoff": 1.0}, "backoff", "expected a Backoff, got: 1.0"),
        ({"dead_letter": ""}, "dead_letter", "expected a text that is not empty"),
        ({"dead_letter": "orders"}, "dead_letter", "expected another topic than 'orders'"),
        ({"drain": -1}, "drain", "expected a number of seconds >= 0, got: -1"),
        ({"commit_interval": "1s"}, "commit_interval", "expected a number of seconds >= 0, got: '1s'"),
        ({"max_restarts": 1.5}, "max_restarts", "expected an integer >= 0, got: 1.5"),
        ({"max_seconds": 0}, "max_seconds", "expected a number of seconds > 0, got: 0"),
        ({"config": "localhost:9092"}, "config", "expected config to be a mapping of librdkafka's options"),
        ({"config": {1: 2}}, "config", "expected config to be a mapping of librdkafka's options"),
        ({"config": {"group.id": "x"}}, "config", "config without 'group.id': give it as group="),
        ({"config": {"enable.auto.commit": True}}, "config", "see commit="),
        (
            {"config": {"bootstrap.server": "localhost"}},
            "config",
            "No such configuration property: \"bootstrap.server\"; did you mean 'bootstrap.servers'?",
        ),
        ({"config": {"bootstrap.servers": ""}}, "config", "to be 'host:port,host:port', got: ''"),
        ({"config": {"session.timeout.ms": "abc"}}, "config", 'Invalid value for configuration property'),
        ({"config": {"security.protocol": "foo"}}, "config", 'Invalid value "foo"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_the_name_of_the_option(
    options: dict[str, Any], field: str, problem: str
) -> None:
    given = {"topics": ["orders"], "group": "shop", "handler": handler, **options}
    with pytest.raises(SpecError) as raised:
        GroupSubscriber(given.pop("topics"), given.pop("group"), given.pop("handler"), **given)
    assert raised.value.field == field
    assert problem in str(raised.value)


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="prefech"):
        GroupSubscriber(["orders"], "shop", handler, prefech=1)  # type: ignore[call-arg]


def test_a_lock_that_is_not_there_is_told_at_the_start() -> None:
    subscriber = GroupSubscriber(["orders"], "shop", handler, throttle="nobodys")
    with pytest.raises(LockNotFound, match="nobodys"):
        subscriber.start_link()


def test_it_is_a_child_with_the_fields_of_one() -> None:
    subscriber = GroupSubscriber(["orders"], "shop", handler, backoff=Backoff(initial=1.0))
    spec = subscriber.child_spec(name="orders", restart="transient")
    assert (spec.id, spec.type, spec.restart) == ("kafka:shop", "supervisor", "transient")
    assert spec.start[1:] == ((subscriber.options, "orders"), {})
    again = GroupSubscriber(["orders"], "shop", handler, backoff=Backoff(initial=1.0))
    assert again.child_spec(name="orders", restart="transient") == spec
    assert repr(subscriber) == "<GroupSubscriber shop of orders>"
    with pytest.raises(SpecError, match="restrt"):
        subscriber.child_spec(restrt="transient")


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "confluent_kafka")
    plain_import = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "confluent_kafka":
            raise ImportError(name)
        return plain_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'resprout\[kafka\]'"):
        GroupSubscriber(["orders"], "shop", handler)


def test_a_subscriber_without_brokers_starts_and_stops() -> None:
    config = {"bootstrap.servers": "127.0.0.1:1"}
    pid = GroupSubscriber(["orders"], "shop", handler, config=config).start_link()
    Supervisor.stop(pid)


def test_one_line_of_a_kind_is_logged_of_what_librdkafka_says_again_and_again() -> None:
    seldom = Seldom()

    def logged(level: int, text: str) -> bool:
        return bool(seldom.filter(logging.LogRecord("librdkafka", level, "", 0, text, (), None)))

    assert [logged(logging.ERROR, f"FAIL [a#{number}] refused") for number in range(3)] == [
        True,
        False,
        False,
    ]
    assert logged(logging.WARNING, "SESSTMOUT [a#1] timed out")
    assert all(logged(logging.DEBUG, "FETCH [a#1] nothing") for _ in range(3))
