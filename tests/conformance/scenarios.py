"""`python -m tests.conformance.scenarios SEED COUNT SIZE`: random scenarios, one JSON object a line.

They have no traces yet: real OTP has to make those. The same arguments give the same scenarios.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

REASONS: list[Any] = ["normal", "shutdown", {"shutdown": "x"}, "boom"]
REFUSALS: list[Any] = ["bad", "normal", "shutdown", {"shutdown": "x"}]
STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]
RESTARTS = ["permanent", "transient", "temporary"]
IDS = "abcdefghij"


class Scenario:
    """One scenario in the making: what it has in its tree so far, and chance.

    Args:
        chance: Where everything random comes from.
        size: The most children that a supervisor has.
        intensities: What `max_restarts` is taken from; small ones end trees soon, large ones let them live.
    """

    def __init__(self, chance: random.Random, size: int, intensities: list[int]) -> None:
        self.chance = chance
        self.size = size
        self.intensities = intensities
        self.supervisors: list[str] = []
        self.dynamic: list[str] = []
        self.workers: list[str] = []
        self.children: dict[str, list[str]] = {}
        self.added = 0

    def likely(self, share: float) -> bool:
        """True in that share of cases."""
        return self.chance.random() < share

    def pick(self, choices: Any) -> Any:
        """One of several."""
        return self.chance.choice(choices)

    # Specs ---------------------------------------------------------------------------------------

    def behaviour(self) -> dict[str, Any]:
        """What a worker does."""
        made: dict[str, Any] = {}
        if self.likely(0.55):
            made["trap_exit"] = True
        if self.likely(0.3):
            refusals = [{"stop": self.pick(REFUSALS)}, "raise", "ignore", "ok", "ok"]
            outcomes = [self.pick(refusals) for _ in range(self.chance.randint(1, 5))]
            made["init"] = ["ok"] * self.pick([0, 1, 1, 2, 3]) + outcomes + ["ok"] * self.likely(0.6)
        if self.likely(0.05):
            made["terminate_ms"] = 600
        elif self.likely(0.15):
            made["terminate_ms"] = self.pick([5, 10, 20])
        if self.likely(0.12):
            made["terminate_raises"] = True
        return made

    def worker(self, label: str, auto_shutdown: str) -> dict[str, Any]:
        """The spec of a worker."""
        self.workers.append(label)
        spec: dict[str, Any] = {"id": label.rpartition("/")[2]}
        behaviour = self.behaviour()
        if behaviour.get("terminate_ms") == 600:
            spec["shutdown"] = self.pick([50, 100, "brutal_kill"])
        elif self.likely(0.25):
            spec["shutdown"] = self.pick(["brutal_kill", "infinity"])
        if behaviour:
            spec["behaviour"] = behaviour
        return self.as_child(spec, auto_shutdown)

    def as_child(self, spec: dict[str, Any], auto_shutdown: str) -> dict[str, Any]:
        """Adds what the supervisor above wants to know."""
        if self.likely(0.5):
            spec["restart"] = self.pick(RESTARTS)
        if spec.get("type") in ("supervisor", "dynamic") and self.likely(0.1):
            spec["shutdown"] = "brutal_kill"
        if auto_shutdown != "never" and self.likely(0.6):
            spec["significant"] = True
            if spec.get("restart", "permanent") == "permanent":
                spec["restart"] = self.pick(RESTARTS[1:])
        elif self.likely(0.004):
            spec["significant"] = True
        return spec

    def supervisor(self, label: str, depth: int) -> dict[str, Any]:
        """The spec of a supervisor with children, and at most so many levels of supervisors below."""
        auto_shutdown = self.pick(["never", "never", "any_significant", "all_significant"])
        ids = self.chance.sample(IDS, self.chance.randint(1, self.size))
        self.supervisors.append(label)
        self.children[label] = list(ids)
        children = []
        for id in ids:
            below = f"{label}/{id}"
            if depth and self.likely(0.3):
                children.append(self.as_child(self.supervisor(below, depth - 1), auto_shutdown))
            elif self.likely(0.15):
                children.append(self.as_child(self.dynamic_supervisor(below), auto_shutdown))
            else:
                children.append(self.worker(below, auto_shutdown))
        if self.likely(0.01):
            children.append({"id": ids[0]})
        return {
            "id": label.rpartition("/")[2],
            "type": "supervisor",
            "strategy": self.pick(STRATEGIES),
            "max_restarts": self.pick(self.intensities),
            "auto_shutdown": auto_shutdown,
            "children": children,
        }

    def dynamic_supervisor(self, label: str) -> dict[str, Any]:
        """The spec of a dynamic supervisor."""
        self.dynamic.append(label)
        self.children[label] = []
        spec = {
            "id": label.rpartition("/")[2],
            "type": "dynamic",
            "max_restarts": self.pick(self.intensities),
        }
        if self.likely(0.3):
            spec["max_children"] = self.pick([1, 2, 4])
        return spec

    # Steps ---------------------------------------------------------------------------------------

    def step(self) -> dict[str, Any]:
        """Something that is done to the tree."""
        weights = {
            self.end_of_worker: 32 if self.workers else 0,
            self.call: 5 if self.workers else 0,
            self.end_of_supervisor: 6,
            self.start_dynamic: 12 if self.dynamic else 0,
            self.start_static: 6 if self.supervisors else 0,
            self.terminate: 8,
            self.restart_or_delete: 8 if self.supervisors else 0,
            self.look: 9,
            self.burst: 14,
        }
        return self.chance.choices(list(weights), list(weights.values()))[0]()  # type: ignore[no-any-return]

    def end_of_worker(self, path: str | None = None) -> dict[str, Any]:
        """A worker crashes, stops, or gets an exit signal."""
        path = self.pick(self.workers) if path is None else path
        match self.pick(["crash", "stop", "exit"]):
            case "crash":
                return {"op": "crash", "path": path}
            case "stop":
                return {"op": "stop", "path": path, "reason": self.pick(REASONS)}
        return {"op": "exit", "path": path, "reason": self.pick([*REASONS, "kill", "kill"])}

    def call(self) -> dict[str, Any]:
        """A request to a worker."""
        reason = self.pick(REASONS)
        do = self.pick(["incarnation", "crash", {"stop_reply": reason}, {"stop_noreply": reason}])
        return {"op": "call", "path": self.pick(self.workers), "do": do}

    def end_of_supervisor(self) -> dict[str, Any]:
        """A supervisor is stopped or gets an exit signal."""
        path = self.pick(self.supervisors + self.dynamic)
        if self.likely(0.3):
            return {"op": "stop", "path": path, "reason": self.pick(REASONS)}
        return {"op": "exit", "path": path, "reason": self.pick([*REASONS, *["kill"] * 4])}

    def start_dynamic(self) -> dict[str, Any]:
        """A child of any kind is added to a dynamic supervisor."""
        path = self.pick(self.dynamic)
        id = self._new_id("k", path)
        if self.likely(0.15):
            spec = self.as_child(self.supervisor(f"{path}/{id}", 0), "never")
        elif self.likely(0.05):
            spec = self.as_child(self.dynamic_supervisor(f"{path}/{id}"), "never")
        else:
            spec = self.worker(f"{path}/{id}", "never")
        spec.pop("significant", None)
        return {"op": "start_child", "path": path, "spec": spec}

    def start_static(self) -> dict[str, Any]:
        """A worker is added to a supervisor, under a new id or one that is there."""
        path = self.pick(self.supervisors)
        id = self.pick(self.children[path]) if self.likely(0.5) else self._new_id("n", path)
        if f"{path}/{id}" in self.supervisors + self.dynamic:
            id = self._new_id("n", path)
        spec = self.worker(f"{path}/{id}", self.pick(["never", "any"]))
        return {"op": "start_child", "path": path, "spec": spec}

    def _new_id(self, letter: str, path: str) -> str:
        self.added += 1
        self.children[path].append(f"{letter}{self.added}")
        return self.children[path][-1]

    def terminate(self) -> dict[str, Any]:
        """A child is stopped by its supervisor."""
        path = self.pick(self.supervisors + self.dynamic)
        return {"op": "terminate_child", "path": path, "id": self.pick([*self.children[path], "nobody"])}

    def restart_or_delete(self) -> dict[str, Any]:
        """A child is started again or taken off the list."""
        path = self.pick(self.supervisors)
        op = self.pick(["restart_child", "restart_child", "delete_child"])
        return {"op": op, "path": path, "id": self.pick([*self.children[path], "nobody"])}

    def look(self) -> dict[str, Any]:
        """Children are listed or counted."""
        op = self.pick(["which_children", "which_children", "count_children"])
        return {"op": op, "path": self.pick(self.supervisors + self.dynamic)}

    def burst(self) -> dict[str, Any]:
        """Several workers of one supervisor end before it looks; where there are not several, a look."""
        path = self.pick(self.supervisors + self.dynamic)
        workers = [label for label in self.workers if label.rpartition("/")[0] == path]
        workers = sorted(set(workers) - {*self.supervisors, *self.dynamic})
        if len(workers) < 2:
            return self.look()
        some = self.chance.sample(workers, min(len(workers), self.chance.randint(2, 4)))
        return {"op": "burst", "path": path, "steps": [self.end_of_worker(worker) for worker in some]}


def scenario(seed: int, size: int) -> dict[str, Any]:
    """A scenario by its number."""
    chance = random.Random(seed)
    intensities = chance.choice([[0, 1, 1, 2, 3, 5], [2, 4, 8, 16]])
    made = Scenario(chance, size, intensities)
    if made.likely(0.06):
        tree = made.dynamic_supervisor("root")
    else:
        tree = made.supervisor("root", chance.choice([0, 1, 1, 2, 3]))
    steps = [made.step() for _ in range(chance.randint(3, 8 + 4 * size))]
    if made.likely(0.7):
        steps.append({"op": "stop_tree", "reason": made.pick(REASONS)})
    return {"name": f"generated_{size}_{seed}", "scenario": {"tree": tree, "steps": steps}}


if __name__ == "__main__":
    first, count, most = map(int, sys.argv[1:4])
    for number in range(first, first + count):
        sys.stdout.write(json.dumps(scenario(number, most), separators=(",", ":")) + "\n")
