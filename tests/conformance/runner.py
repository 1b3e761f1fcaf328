"""Runs a scenario on resprout's supervisors and records what happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from resprout.actors import Down, GenServer, Pid, ResproutError, ServerExit, process, sys
from resprout.supervision import DynamicSupervisor, Supervisor
from resprout.supervision.supervisors.quiescence import at_rest
from resprout.supervision.supervisors.snapshot import children_of

from .reasons import error_json, reason_json, term
from .scripted import Launcher, Record, child_spec, module_of

PATIENCE = 30.0


class NotQuiet(Exception):
    """Something went on for so long that nobody can wait for it."""


def run(scenario: dict[str, Any]) -> list[dict[str, Any]]:
    """Does all steps of a scenario.

    Returns:
        The raw trace: for the start and for each step the result and the events.
    """
    runner = Runner(scenario["tree"])
    with runner.cleaned_up():
        trace = [runner.entry(runner.start())]
        trace += [runner.entry(runner.do(step)) for step in scenario["steps"]]
        return trace


class Runner:
    """One run of one scenario."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self.tree = tree
        self.record = Record()
        self.launcher: Pid = Launcher.start()

    def entry(self, result: Any) -> dict[str, Any]:
        """Waits until nothing more can happen, and notes what did."""
        self.settle()
        return {"result": result, "events": self.record.take()}

    @contextlib.contextmanager
    def cleaned_up(self) -> Iterator[None]:
        """Leaves no process behind."""
        try:
            yield
        finally:
            process.exit(self.launcher, "kill")
            for pid in list(self.record.refs):
                process.exit(pid, "kill")
            self.record.close()

    # Steps ----------------------------------------------------------------------------------------

    def start(self) -> Any:
        """Starts the tree."""
        module = module_of(self.tree)
        made = GenServer.call(self.launcher, (module.start_link, (self.record, self.tree, "root")), None)
        if isinstance(made, Exception):
            return {"error": error_json(made, self.record.refs.__getitem__)}
        return self._started(made)

    def do(self, step: dict[str, Any]) -> Any:
        """Does one step and gives its result."""
        match step:
            case {"op": "sleep", "ms": milliseconds}:
                time.sleep(milliseconds / 1000)
                return "ok"
            case {"op": "stop_tree", "reason": reason}:
                return self.do({"op": "stop", "path": "root", "reason": reason})
        pid = self.record.latest.get(step["path"])
        if pid is None or not pid.alive:
            return "noproc"
        try:
            return self._act(step, pid)
        except (ResproutError, ValueError) as error:
            return {"error": error_json(error, self.record.refs.__getitem__)}

    def _act(self, step: dict[str, Any], pid: Pid) -> Any:
        supervisor: Any = DynamicSupervisor if self._is_dynamic(pid) else Supervisor
        match step["op"]:
            case "call":
                return self._call(pid, step.get("do", "incarnation"))
            case "crash":
                GenServer.cast(pid, "crash")
            case "exit":
                process.exit(pid, term(step["reason"]))
            case "stop" if self._is_supervisor(pid):
                supervisor.stop(pid, term(step["reason"]))
            case "stop":
                GenServer.cast(pid, {"stop": step["reason"]})
            case "start_child":
                return self._started(
                    supervisor.start_child(pid, child_spec(self.record, step["path"], step["spec"]))
                )
            case "terminate_child" if supervisor is DynamicSupervisor:
                child = self.record.latest.get(f"{step['path']}/{step['id']}")
                supervisor.terminate_child(pid, self.launcher if child is None else child)
            case "terminate_child":
                supervisor.terminate_child(pid, step["id"])
            case "restart_child":
                return self._started(supervisor.restart_child(pid, step["id"]))
            case "delete_child":
                supervisor.delete_child(pid, step["id"])
            case "which_children":
                return sorted(self._child(info) for info in supervisor.which_children(pid))
            case "count_children":
                counts = supervisor.count_children(pid)
                fields = ("specs", "active", "supervisors", "workers")
                return {field: getattr(counts, field) for field in fields}
            case "burst":
                return self._burst(pid, step["steps"])
            case other:
                raise NotImplementedError(f"no such step: {other!r}")
        return "ok"

    def _call(self, pid: Pid, request: Any) -> Any:
        try:
            return GenServer.call(pid, request, None)
        except ServerExit as error:
            return {"exit": reason_json(error.reason)}

    def _started(self, pid: Pid | None) -> Any:
        return "ignore" if pid is None else {"ok": self.record.refs[pid]}

    def _child(self, info: Any) -> list[str]:
        if not isinstance(info.pid, Pid):
            return [info.id, "undefined" if info.pid is None else info.pid, info.type]
        ref = self.record.refs[info.pid]
        id = ref.rpartition("#")[0].rpartition("/")[2] if info.id is None else info.id
        return [id, ref, info.type]

    def _burst(self, supervisor: Pid, steps: list[dict[str, Any]]) -> list[Any]:
        sys.suspend(supervisor)
        try:
            return [self._one_of_burst(step) for step in steps]
        finally:
            sys.resume(supervisor)

    def _one_of_burst(self, step: dict[str, Any]) -> Any:
        """Does an inner step, until its worker is at rest, or dead and its supervisor has been sent word."""
        worker = self.record.latest.get(step["path"])
        if worker is None or not worker.alive:
            return "noproc"
        ref = process.monitor(worker)
        result = self.do(step)
        self._await(lambda: not worker.alive or at_rest(worker), f"end of {step} in a burst")
        if not worker.alive:
            # Monitors are told after links, so this comes after the notice to the supervisor.
            process.receive(matching=lambda message: isinstance(message, Down) and message.ref is ref)
        process.demonitor(ref, flush=True)
        return result

    # Rest -----------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Returns when nothing more can happen by itself."""
        self._await(self._quiet, "quiescence")

    def _await(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        pause = 0.0
        while not condition():
            if time.monotonic() > deadline:
                busy = [str(pid) for pid in self.record.refs if pid.alive and not at_rest(pid)]
                raise NotQuiet(f"no {what} within {PATIENCE} s; busy: {busy}")
            time.sleep(pause)
            pause = min(pause + 0.0002, 0.002)

    def _quiet(self) -> bool:
        before = self._idle()
        return before is not None and self._consistent(before[0]) and self._idle() == before

    def _idle(self) -> tuple[frozenset[Pid], int] | None:
        """Who lives, and how much has happened so far; None if somebody does something."""
        known = list(self.record.refs)
        if any(not pid.alive and pid not in self.record.exited for pid in known):
            return None
        living = frozenset(pid for pid in known if pid.alive)
        if not all(map(at_rest, living)) or not at_rest(self.launcher):
            return None
        return living, len(self.record.events)

    def _consistent(self, living: frozenset[Pid]) -> bool:
        """Whether the living are exactly those that the supervisors list, and no restart is pending."""
        root = self.record.latest.get("root")
        if root is None or not root.alive:
            return not living
        listed: set[Pid] = set()
        waiting = [root]
        while waiting:
            pid = waiting.pop()
            listed.add(pid)
            if self._is_supervisor(pid):
                for child in children_of(pid):
                    if child.state == "running" and child.pid is not None and child.pid.alive:
                        waiting.append(child.pid)
                    elif child.state != "down":
                        return False
        return listed == living

    def _is_supervisor(self, pid: Pid) -> bool:
        return self.record.kinds[pid] != "worker"

    def _is_dynamic(self, pid: Pid) -> bool:
        return self.record.kinds[pid] == "dynamic"
