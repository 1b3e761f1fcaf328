"""Agent: Elixir's, a state and functions of it."""

from __future__ import annotations

import threading

import pytest

from resprout.actors import Agent, AlreadyStarted, Crash, NoProcess, ServerExit, StartError, process

WATCHDOG = 20.0


@pytest.fixture
def agent():
    pid = Agent.start(lambda: 1)
    yield pid
    if pid.alive:
        Agent.stop(pid)


def test_get_update_and_both(agent):
    assert Agent.get(agent, lambda state: state + 10) == 11
    assert Agent.update(agent, lambda state: state + 1) is None
    assert Agent.get_and_update(agent, lambda state: (state, state * 10)) == 2
    assert Agent.get(agent, lambda state: state) == 20


def test_functions_may_take_arguments(agent):
    Agent.update(agent, lambda state, number, more: state + number + more, 2, 3)
    assert Agent.get(agent, lambda state, factor: state * factor, 10) == 60
    assert Agent.get_and_update(agent, lambda state, new: (state, new), 7) == 6


def test_a_cast_does_not_wait(agent):
    Agent.cast(agent, lambda state: state + 41)
    assert Agent.get(agent, lambda state: state) == 42


def test_functions_run_inside_the_agent(agent):
    assert Agent.get(agent, lambda state: process.current()) is agent


def test_a_function_that_raises_ends_the_agent(agent, crashes):
    with pytest.raises(ServerExit) as caught:
        Agent.update(agent, lambda state: 1 / 0)
    assert caught.value.reason == Crash(ZeroDivisionError("division by zero"))
    assert not agent.alive
    with pytest.raises(NoProcess):
        Agent.get(agent, lambda state: state)


def test_a_get_and_update_that_returns_no_pair_ends_the_agent(agent, crashes):
    with pytest.raises(ServerExit):
        Agent.get_and_update(agent, lambda state: 42)


def test_a_first_function_that_raises_is_a_start_error(crashes):
    with pytest.raises(StartError):
        Agent.start(lambda: 1 / 0)


def test_names_links_and_stop():
    pid = Agent.start_link(list, name="agent.named")
    assert process.info(process.current()).links == (pid,)
    Agent.update("agent.named", lambda state: [*state, 1])
    assert Agent.get("agent.named", len) == 1
    with pytest.raises(AlreadyStarted):
        Agent.start(list, name="agent.named")
    Agent.stop("agent.named")
    assert not pid.alive
    assert process.info(process.current()).links == ()


@pytest.mark.parametrize("use", [Agent.get, Agent.update, Agent.get_and_update, Agent.cast])
def test_what_is_no_function_is_refused_at_the_caller(agent, use):
    with pytest.raises(TypeError, match="function"):
        use(agent, 42)
    assert Agent.get(agent, lambda state: state) == 1


def test_starting_needs_a_function():
    for bad in (None, 42):
        with pytest.raises(TypeError, match="function"):
            Agent.start(bad)
        with pytest.raises(TypeError, match="function"):
            Agent.start_link(bad)


def test_updates_of_many_threads_are_one_after_the_other(agent, hasty):
    threads = [
        threading.Thread(target=lambda: [Agent.update(agent, lambda state: state + 1) for _ in range(100)])
        for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WATCHDOG)
    assert Agent.get(agent, lambda state: state) == 801


def test_a_child_spec_starts_one():
    spec = Agent.child_spec(lambda: "state", name="agent.child")
    function, args, options = spec.start
    pid = function(*args, **options)
    assert Agent.get("agent.child", lambda state: state) == "state"
    process.unlink(pid)
    Agent.stop(pid)
