"""What of a trace is left to chance, and that nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from .orders import Orders

SERVERS = [
    {"name": "a", "opts": {}},
    {"name": "b", "opts": {}},
    {"name": "c", "opts": {"trap": True}},
]
END = ["exit", "boom"]
ONE, TWO = ["info", 1], ["cast", 2]
BOTH = [["send", "b", 1], ["cast", "b", 2]]
KILL = ["exit", "b", "boom"]


def same(actions: list[Any], want: list[Any], got: list[Any], name: str = "b", **others: list[Any]) -> bool:
    step = {"to": "a", "via": "cast", "do": actions, "ret": ["ok"]}
    return Orders(SERVERS).same(step, {**others, name: want}, {**others, name: got})


@pytest.mark.parametrize("handled", [[], [ONE], [ONE, TWO]])
def test_of_what_came_before_the_exit_signal_any_number_is_handled(handled: list[Any]) -> None:
    assert same([*BOTH, KILL], [END], [*handled, END])
    assert same([*BOTH, KILL], [*handled, END], [ONE, END])


def test_it_is_handled_in_the_order_in_which_it_was_sent() -> None:
    assert not same([*BOTH, KILL], [END], [TWO, END])
    assert not same([*BOTH, KILL], [ONE, TWO, END], [TWO, ONE, END])


def test_of_what_came_after_the_exit_signal_nothing_is_handled() -> None:
    assert not same([KILL, *BOTH], [END], [ONE, END])
    assert not same([BOTH[0], KILL, BOTH[1]], [ONE, END], [ONE, TWO, END])
    assert same([BOTH[0], KILL, BOTH[1]], [ONE, END], [END])


def test_what_came_before_an_answered_call_has_been_handled() -> None:
    actions = [BOTH[0], ["callmsg", "b", 7], BOTH[1], KILL]
    answered = ["call", 7]
    assert same(actions, [ONE, answered, END], [ONE, answered, TWO, END])
    assert not same(actions, [ONE, answered, END], [answered, END])
    assert not same(actions, [ONE, answered, END], [END])


def test_a_signal_that_is_ignored_or_trapped_ends_nothing() -> None:
    actions = [BOTH[0], ["exit", "b", "normal"], BOTH[1]]
    assert same(actions, [END], [ONE, TWO, END])
    assert not same(actions, [ONE, TWO], [ONE])
    trapped = ["~exited", "a", "x"]
    actions = [["exit", "c", "x"], ["send", "c", 1], ["exit", "c", "kill"], ["exit", "c", "y"]]
    killed = ["exit", "killed"]
    assert same(actions, [killed], [ONE, killed, trapped], name="c")
    assert not same(actions, [killed], [killed, ["~exited", "a", "y"]], name="c")


def test_a_server_that_traps_since_an_earlier_step_is_known_to() -> None:
    orders = Orders(SERVERS)
    orders.same({"to": "b", "do": [["trap", True]]}, {}, {})
    actions = [["exit", "b", "x"], ["send", "b", 1], ["exit", "b", "kill"]]
    assert orders.same({"to": "a", "do": actions}, {"b": [END]}, {"b": [ONE, END]})


def test_a_server_that_ended_by_itself_has_one_outcome() -> None:
    assert not same(BOTH, [["terminate", "boom"], END], [ONE, ["terminate", "boom"], END])


def test_the_end_of_the_sender_comes_after_all_that_it_did() -> None:
    by_link = [["link", "b"], *BOTH]
    assert same(by_link, [END], [ONE, TWO, END], a=[["cast", "do"], ["terminate", "boom"], END])


def test_notices_of_others_deaths_may_come_before_or_not_at_all() -> None:
    down = ["~down", "m1", "c", "killed"]
    actions = [["exit", "c", "kill"], KILL]
    assert same(actions, [END], [END, down], c=[["exit", "killed"]])
    assert not same(actions, [END], [END, ["~down", "m1", "c", "boom"]], c=[["exit", "killed"]])
    assert not same(actions, [END], [END, ["~down", "m1", "d", "killed"]], c=[["exit", "killed"]])


def test_a_server_that_was_started_in_the_same_step_may_die_before_it_continues() -> None:
    actions = [["spawn", "d", {"continue": "token"}], ["exit", "d", "boom"]]
    assert same(actions, [["init"], END], [["init"], ["continue", "token"], END], name="d")
    assert not same(actions, [["init"], END], [["continue", "token"], END], name="d")


def test_nothing_is_open_for_the_sender_itself_or_after_its_end() -> None:
    assert not same([["selfsend", 1]], [END], [ONE, END], name="a")
    ended = [["exit", "boom"]]
    assert not same([["exit", "a", "boom"], BOTH[0]], [END], [ONE, END], a=ended)


def test_a_living_server_has_one_outcome() -> None:
    assert not same(BOTH, [ONE, TWO], [ONE])
    assert not same([*BOTH, KILL], [ONE], [ONE, END])
