"""Brings what a run has recorded into the form of the corpora, and compares traces.

The order of events counts, but for two things that are left to chance: what children do whose supervisor died
without stopping them (lanes of orphans), and in which order a dynamic supervisor's children stop (sorted by
child).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

Event: TypeAlias = "list[Any]"


def label_of(ref: str) -> str:
    """The label of an incarnation: `root/a` of `root/a#3`."""
    return ref[: ref.rindex("#")]


def specs_of(scenario: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every label that a scenario can bring to life, with its spec."""
    waiting = [(str(scenario["tree"]["id"]), scenario["tree"])]
    started = [step for step in scenario["steps"] if step["op"] == "start_child"]
    waiting += [(f"{step['path']}/{step['spec']['id']}", step["spec"]) for step in started]
    while waiting:
        label, spec = waiting.pop()
        yield label, spec
        waiting.extend((f"{label}/{child['id']}", child) for child in spec.get("children", ()))


class Normalizer:
    """Makes the trace of one scenario, step by step."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self._dynamic = {label for label, spec in specs_of(scenario) if spec.get("type") == "dynamic"}
        self._root = scenario["tree"]["id"]
        self._current: dict[str, str] = {}
        self._supervisor: dict[str, str | None] = {}
        self._dead: set[str] = set()

    def entry(self, result: Any, events: Iterable[Event]) -> dict[str, Any]:
        """The entry of one step."""
        lanes: dict[str | None, list[Event]] = {None: []}
        for event in events:
            kind, ref = event[0], event[1]
            if kind == "init":
                self._born(ref)
            lanes.setdefault(self._lane(ref), []).append(event)
            if kind == "exit":
                self._dead.add(ref)
                if label_of(ref) == self._root:
                    lanes[None].append(["tree_down", event[2]])
        entry: dict[str, Any] = {"result": result, "events": self._grouped(lanes.pop(None), 0)}
        if lanes:
            entry["orphans"] = {str(lane): self._grouped(lanes[lane], 0) for lane in lanes}
        return entry

    def _born(self, ref: str) -> None:
        label = label_of(ref)
        self._current[label] = ref
        self._supervisor[ref] = self._current.get(label.rpartition("/")[0])

    def _lane(self, ref: str) -> str | None:
        """The first process, going up from ref, that has outlived its supervisor."""
        while (supervisor := self._supervisor[ref]) is not None:
            if supervisor in self._dead:
                return ref
            ref = supervisor
        return None

    def _grouped(self, events: list[Event], depth: int) -> list[Event]:
        """Sorts each run of events below one dynamic supervisor by its children.

        Args:
            events: In the order of the record.
            depth: How many elements of their labels are common already and were dealt with.
        """
        result: list[Event] = []
        place = 0
        while place < len(events):
            owner = self._owner(events[place], depth)
            if owner is None:
                result.append(events[place])
                place += 1
                continue
            children: dict[str, list[Event]] = {}
            while place < len(events) and self._owner(events[place], depth) == owner:
                child = label_of(events[place][1]).split("/")[len(owner)]
                children.setdefault(child, []).append(events[place])
                place += 1
            for child in sorted(children):
                result += self._grouped(children[child], len(owner) + 1)
        return result

    def _owner(self, event: Event, depth: int) -> tuple[str, ...] | None:
        """The path of the outermost dynamic supervisor above the event's process, from a depth on."""
        if event[0] == "tree_down":
            return None
        path = tuple(label_of(event[1]).split("/"))
        for length in range(max(depth, 1), len(path)):
            if "/".join(path[:length]) in self._dynamic:
                return path[:length]
        return None


def normalized(scenario: dict[str, Any], raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trace of a scenario, made from the raw trace of a run."""
    normalizer = Normalizer(scenario)
    return [normalizer.entry(entry["result"], entry["events"]) for entry in raw]


def differences(expected: list[dict[str, Any]], actual: list[dict[str, Any]], steps: list[Any]) -> list[str]:
    """What differs in the first step that does, as lines for people; nothing if the traces are equal."""
    for number, (want, got) in enumerate(zip(expected, actual)):  # noqa: B905 - the lengths are compared below
        if want != got:
            doing = "start" if number == 0 else json.dumps(steps[number - 1])
            return [f"step {number}: {doing}", *_columns(want, got)]
    if len(expected) != len(actual):
        return [f"expected {len(expected)} entries, got {len(actual)}"]
    return []


def _columns(want: dict[str, Any], got: dict[str, Any]) -> Iterator[str]:
    if want["result"] != got["result"]:
        yield f"  result: expected {json.dumps(want['result'])}, got {json.dumps(got['result'])}"
    if want["events"] != got["events"]:
        yield from _lists("events", want["events"], got["events"])
    mine, theirs = want.get("orphans", {}), got.get("orphans", {})
    for lane in sorted({*mine, *theirs}):
        if mine.get(lane) != theirs.get(lane):
            yield from _lists(f"orphans of {lane}", mine.get(lane, []), theirs.get(lane, []))


def _lists(name: str, want: list[Event], got: list[Event]) -> Iterator[str]:
    same = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))  # noqa: B905
    yield f"  {name}: {same} equal, then"
    for number in range(same, max(len(want), len(got))):
        left = json.dumps(want[number]) if number < len(want) else "-"
        right = json.dumps(got[number]) if number < len(got) else "-"
        yield f"    {'  ' if left == right else '! '}expected {left:<48} got {right}"
