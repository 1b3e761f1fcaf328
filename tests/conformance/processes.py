"""Runs scenarios of servers, links, monitors and tasks on resprout and records what happens.

A scenario says which servers there are and, step by step, what one of them is sent: a list of actions that it
carries out in its callback, and what the callback then returns (see `servers.py`).
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from resprout.actors import GenServer, NoReply, Ok, Pid, Reply, ResproutError, StartError, process
from resprout.supervision.supervisors.quiescence import at_rest

from .orders import Orders
from .servers import WAYS, error_json, reason_json, term

PATIENCE = 30.0


class NeverAtRest(Exception):
    """Something went on for so long that nobody can wait for it."""


class Watcher(GenServer):
    """Hears of every death, after those who are linked to the dead."""

    blocking = False  # so that it can be called from everywhere

    def init(self, arg: World) -> Any:
        return Ok(arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        process.monitor(message)
        return Reply(None, state)

    def handle_info(self, message: Any, state: Any) -> Any:
        world: World = state
        world.events.append((message.pid, ["exit", reason_json(message.reason)]))
        world.dead.add(message.pid)
        return NoReply(state)


class World:
    """One run of one scenario: who is who in it, and what happens.

    Appending to a deque is atomic, so it can be done by all of them.
    """

    def __init__(self) -> None:
        self.names: dict[str, Pid] = {}
        self.known: dict[Pid, str] = {}
        self.tasks: deque[Pid] = deque()
        self.dead: set[Pid] = set()
        self.events: deque[tuple[Pid, list[Any]]] = deque()
        self.watcher: Pid = Watcher.start(self)

    def born(self, name: str, pid: Pid) -> None:
        """A server begins its init; an earlier one of that name is forgotten."""
        self.names[name] = pid
        self.known[pid] = name
        GenServer.call(self.watcher, pid)

    def name_of(self, pid: Pid | None) -> str:
        """What a scenario calls a process."""
        if pid is None:
            return "None"
        return "task" if pid in self.tasks else self.known.get(pid, "other")

    def entry(self, result: Any) -> dict[str, Any]:
        """Waits until nothing more can happen, and notes what did."""
        self.settle()
        events: dict[str, list[Any]] = {}
        late: dict[Pid, list[Any]] = {}
        while self.events:
            pid, event = self.events.popleft()
            of_it = events.setdefault(self.known[pid], [])
            if event[0] == "exit":
                late[pid] = event
            elif pid in late:
                # A callback that had begun before the exit signal came: it cannot be stopped in Python, and
                # its end may be noted after its death.
                of_it.insert(of_it.index(late[pid]), event)
                continue
            of_it.append(event)
        return {"result": result, "events": events}

    def settle(self) -> None:
        """Returns when nothing more can happen by itself."""
        deadline = time.monotonic() + PATIENCE
        pause = 0.0
        while True:
            before = self._at_rest()
            if before is not None and self._at_rest() == before:
                return
            if time.monotonic() > deadline:
                busy = [name for pid, name in list(self.known.items()) if pid.alive and not at_rest(pid)]
                raise NeverAtRest(f"not at rest within {PATIENCE:g} s: {busy}")
            # That nothing more happens is no event: nobody can tell of it.
            time.sleep(pause)
            pause = min(pause + 0.0002, 0.002)

    def _at_rest(self) -> tuple[int, int] | None:
        """How much has happened so far; None if somebody does something."""
        known = list(self.known)
        # Tasks first: what they send on their way out is looked for after that.
        if not all(pid.left for pid in list(self.tasks)):
            return None
        if not all(pid in self.dead and pid.left if pid.dead else at_rest(pid) for pid in known):
            return None
        return (len(known), len(self.events)) if at_rest(self.watcher) else None

    @contextlib.contextmanager
    def cleaned_up(self) -> Iterator[None]:
        """Leaves no process behind."""
        try:
            yield
        finally:
            for pid in (*self.known, *self.tasks):
                process.exit(pid, "kill")
            process.exit(self.watcher, "kill")


def run(scenario: dict[str, Any], way: str) -> list[dict[str, Any]]:
    """Does all steps of a scenario.

    Args:
        scenario: its servers and steps.
        way: how its servers are run, one of WAYS.

    Returns:
        The trace: for the start and for each step the result and the events of each server.
    """
    kind = WAYS[way]
    world = World()
    with world.cleaned_up():
        for server in scenario["procs"]:
            with contextlib.suppress(StartError):
                kind.start((world, server["name"], server["opts"]))
        trace = [world.entry("ok")]
        trace += [world.entry(_step(world, step)) for step in scenario["steps"]]
        return normalized(trace)


def _step(world: World, step: dict[str, Any]) -> Any:
    pid = world.names.get(step["to"])
    if pid is None:
        return "skip"
    message = ("do", step["do"], step["ret"]) if "via" in step else ("m", step.get("x"))
    try:
        match step.get("driver") or step["via"]:
            case "exit":
                process.exit(pid, term(step["reason"]))
            case "stop":
                GenServer.stop(pid, term(step["reason"]))
            case "send" | "info":
                process.send(pid, message)
            case "cast":
                GenServer.cast(pid, message)
            case "call":
                return GenServer.call(pid, message)
    except ResproutError as error:
        return ["exit" if step.get("driver") == "stop" else "call_exit", error_json(error)]
    return "ok"


def normalized(trace: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As JSON, each server's notices sorted and at the end: those of different senders have no order."""
    plain: list[dict[str, Any]] = json.loads(json.dumps(trace))
    for entry in plain:
        for name, events in entry["events"].items():
            notices = sorted((event for event in events if event[0].startswith("~")), key=json.dumps)
            entry["events"][name] = [event for event in events if not event[0].startswith("~")] + notices
    return plain


def differences(expected: list[dict[str, Any]], actual: list[dict[str, Any]], scenario: Any) -> list[str]:
    """What differs in the first step where Erlang cannot do both (see orders.py), as lines for people.

    Nothing if there is no such step.
    """
    orders = Orders(scenario["procs"])
    steps: list[Any] = [{"to": None}, *scenario["steps"]]
    # The lengths are the same: an entry for the start and one for each step.
    for step, want, got in zip(steps, normalized(expected), actual):  # noqa: B905
        if want["result"] != got["result"] or not orders.same(step, want["events"], got["events"]):
            return [f"step {steps.index(step)}: {json.dumps(step)}", *_columns(want, got)]
    return []


def _columns(want: dict[str, Any], got: dict[str, Any]) -> Iterator[str]:
    if want["result"] != got["result"]:
        yield f"  result: expected {json.dumps(want['result'])}, got {json.dumps(got['result'])}"
    for name in sorted({*want["events"], *got["events"]}):
        mine, theirs = want["events"].get(name, []), got["events"].get(name, [])
        if mine != theirs:
            yield f"  {name}: expected {json.dumps(mine)}"
            yield f"  {' ' * len(name)}       got {json.dumps(theirs)}"
