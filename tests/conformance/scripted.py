"""The processes of a scenario: workers that do what its specs say, and the record of what happens."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Mapping
from typing import Any

from resprout.actors import IGNORE, Exited, GenServer, NoReply, Ok, Pid, Reply, Stop, process, telemetry
from resprout.supervision import BRUTAL_KILL, INFINITY, ChildSpec, DynamicSupervisor, Supervisor

from .reasons import reason_json, term

EXITED = ("resprout", "process", "exited")

# Whose record a process is in. One telemetry handler serves all the scenarios that run side by side.
_records: dict[Pid, Record] = {}


def _process_exited(event: tuple[str, ...], measures: Any, metadata: Mapping[str, Any]) -> None:
    record = _records.get(metadata["pid"])
    if record is not None:
        record.process_exited(metadata["pid"], metadata["reason"])


telemetry.attach("conformance", EXITED, _process_exited)


class Record:
    """What happens in one scenario, in order, and who is who in it.

    Appending to a list is atomic, so the list itself is the clock: an event that causes another one is before
    it.
    """

    def __init__(self) -> None:
        self.events: list[list[Any]] = []
        self.refs: dict[Pid, str] = {}
        self.kinds: dict[Pid, str] = {}
        self.latest: dict[str, Pid] = {}
        self.exited: set[Pid] = set()
        self._counters: dict[str, itertools.count[int]] = {}
        self._lock = threading.Lock()

    def begin(self, label: str, kind: str = "worker") -> tuple[int, str]:
        """The current process begins its init: one more incarnation of the label."""
        pid = process.current()
        with self._lock:
            number = next(self._counters.setdefault(label, itertools.count(1)))
        ref = f"{label}#{number}"
        self.kinds[pid] = kind
        self.refs[pid] = ref
        _records[pid] = self
        self.latest[label] = pid
        return number, ref

    def process_exited(self, pid: Pid, reason: object) -> None:
        """A process has ended, and nobody reacts to it yet."""
        self.events.append(["exit", self.refs[pid], reason_json(reason)])
        self.exited.add(pid)

    def close(self) -> None:
        """Nothing is recorded any more."""
        for pid in self.refs:
            _records.pop(pid, None)

    def take(self) -> list[list[Any]]:
        """All events since the last call; only when everything is at rest."""
        events, self.events = self.events, []
        return events


class Worker(GenServer):
    """A worker with a scripted behaviour. Its state is its ref."""

    def init(self, arg: tuple[Record, dict[str, Any], str]) -> Any:
        record, spec, label = arg
        self.record = record
        self.behaviour = spec.get("behaviour", {})
        if self.behaviour.get("trap_exit", False):
            process.trap_exit(True)
        self.incarnation, ref = record.begin(label)
        outcomes = self.behaviour.get("init", ["ok"])
        outcome = outcomes[min(self.incarnation, len(outcomes)) - 1]
        record.events.append(["init", ref, outcome])
        match outcome:
            case "ok":
                return Ok(ref)
            case "ignore":
                return IGNORE
            case "raise":
                raise RuntimeError("init")
            case {"stop": reason}:
                return Stop(term(reason))
        raise ValueError(f"no such outcome: {outcome!r}")

    def handle_call(self, message: Any, from_: Any, state: str) -> Any:
        match message:
            case "incarnation":
                return Reply(self.incarnation, state)
            case "crash":
                raise RuntimeError("crash")
            case {"stop_reply": reason}:
                return Stop(term(reason), state, reply=self.incarnation)
            case {"stop_noreply": reason}:
                return Stop(term(reason), state)
        raise ValueError(f"no such call: {message!r}")

    def handle_cast(self, message: Any, state: str) -> Any:
        match message:
            case "crash":
                raise RuntimeError("crash")
            case {"stop": reason}:
                return Stop(term(reason), state)
        raise ValueError(f"no such cast: {message!r}")

    def handle_info(self, message: Any, state: str) -> Any:
        if not isinstance(message, Exited):
            raise ValueError(f"no such message: {message!r}")
        self.record.events.append(["trapped", state, reason_json(message.reason)])
        return NoReply(state)

    def terminate(self, reason: Any, state: str) -> None:
        self.record.events.append(["terminate", state, reason_json(reason)])
        if milliseconds := self.behaviour.get("terminate_ms", 0):
            process.sleep(milliseconds / 1000)
        if self.behaviour.get("terminate_raises", False):
            raise RuntimeError("terminate")


class InlineWorker(Worker):
    """The same, run on the thread of whoever sends to it; only for workers that never sleep."""

    blocking = False


class ScriptedSupervisor(Supervisor):
    """A supervisor with the options and children of a scenario."""

    def init(self, arg: tuple[Record, dict[str, Any], str]) -> Any:
        record, spec, label = arg
        _, ref = record.begin(label, "supervisor")
        record.events.append(["init", ref, "ok"])
        return Supervisor.init_spec(
            [child_spec(record, label, child) for child in spec.get("children", ())],
            strategy=spec.get("strategy", "one_for_one"),
            max_restarts=spec.get("max_restarts", 3),
            max_seconds=spec.get("max_seconds", 3600),
            auto_shutdown=spec.get("auto_shutdown", "never"),
        )


class ScriptedDynamicSupervisor(DynamicSupervisor):
    """A dynamic supervisor with the options of a scenario."""

    def init(self, arg: tuple[Record, dict[str, Any], str]) -> Any:
        record, spec, label = arg
        _, ref = record.begin(label, "dynamic")
        record.events.append(["init", ref, "ok"])
        most = spec.get("max_children", "infinity")
        return DynamicSupervisor.init_spec(
            max_children=None if most == "infinity" else most,
            max_restarts=spec.get("max_restarts", 3),
            max_seconds=spec.get("max_seconds", 3600),
        )


def module_of(spec: dict[str, Any]) -> Any:
    """The class that runs a spec."""
    match spec.get("type", "worker"):
        case "supervisor":
            return ScriptedSupervisor
        case "dynamic":
            return ScriptedDynamicSupervisor
    return InlineWorker if spec.get("inline", False) else Worker


def child_spec(record: Record, above: str, spec: dict[str, Any]) -> ChildSpec:
    """A child of a scenario as a child spec."""
    label = f"{above}/{spec['id']}"
    kind = spec.get("type", "worker")
    shutdown = spec.get("shutdown", 5000 if kind == "worker" else "infinity")
    times = {"brutal_kill": BRUTAL_KILL, "infinity": INFINITY}
    return ChildSpec(
        id=spec["id"],
        start=functools.partial(module_of(spec).start_link, (record, spec, label)),
        restart=spec.get("restart", "permanent"),
        shutdown=times[shutdown] if shutdown in times else shutdown / 1000,
        type="worker" if kind == "worker" else "supervisor",
        significant=spec.get("significant", False),
    )


class Launcher(GenServer):
    """Starts the root and outlives it, as whatever starts an application does."""

    trap_exit = True

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        start, args = message
        try:
            return Reply(start(args), state)
        except Exception as error:
            return Reply(error, state)

    def handle_info(self, message: Any, state: Any) -> Any:
        return NoReply(state)
