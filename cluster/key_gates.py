"""The registries that an engine keeps, as whoever talks to the server sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .key_claims import FIRST_PAUSE, LONGEST_PAUSE
from .key_gate import KeyGate
from .key_operations import KeyFact, KeyRefused, KeyRequest, KeyRow, ReleaseKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..registry.engine import SharedSettings
    from ..throttle.engine import EngineDown

Said = list[tuple[KeyGate | None, KeyRequest]]


class KeyGates:
    """See the module.

    Args:
        member: what the engine calls this process.
        ring: has whoever talks look here; safe anywhere.
        valid: tells whether the engine was heard of lately enough.
        away: makes the error for what needs a connection.
    """

    def __init__(
        self,
        member: int,
        ring: Callable[[], object],
        valid: Callable[[], bool],
        away: Callable[[], EngineDown],
    ) -> None:
        self._member = member
        self._ring = ring
        self._valid = valid
        self._away = away
        self.gates: dict[int, KeyGate] = {}
        self.dirty: dict[KeyGate, None] = {}
        """Those that have something to say."""
        self._strays: dict[str, list[ReleaseKey]] = {}
        """Claims that the engine has of registries which have ended, by their names."""
        self._strays_due = 0.0
        self._strays_pause = 0.0
        """That after which they are said again, when they are refused."""

    def make(
        self,
        settings: SharedSettings,
        number: int,
        patience: Callable[[], float],
        connected: Callable[[], bool],
    ) -> KeyGate:
        """Make the gate of a registry."""
        gate = KeyGate(settings, number, self._member, self._wake, self._valid, self._away, patience)
        # First, so that it hears of a session that begins just now.
        self.gates[number] = gate
        if connected():
            gate.reassert({}, False)
        return gate

    def _wake(self, gate: KeyGate) -> None:
        self.gates[gate.number] = gate
        self.dirty[gate] = None
        self._ring()

    @property
    def names(self) -> set[str]:
        """Of the registries."""
        return {gate.name for gate in list(self.gates.values())}

    def void(self) -> int:
        """The engine was not heard of for too long; returns how many keys that costs."""
        return sum([gate.void() for gate in list(self.gates.values())])

    # What follows runs in the thread that talks to the engine.

    def collect(self, now: float) -> Said:
        """Take out what is to be said now, in the order of the names, which all processes keep to."""
        gates: dict[KeyGate, None] = {}
        while self.dirty:
            # Taken out before it is looked at, so that what comes later is seen later.
            gates[self.dirty.popitem()[0]] = None
        for gate in list(self.gates.values()):
            look = gate.next_look
            if look is not None and look <= now:
                gates[gate] = None
        said: dict[str, tuple[KeyGate | None, KeyRequest]] = {}
        for gate in gates:
            # One request a registry: within it the keys are in order. A former life of it has its turn later.
            request = None if gate.name in said else gate.request(now)
            if request is not None:
                said[gate.name] = gate, request
            if gate.claims.outgoing:
                self.dirty[gate] = None
            elif gate.claims.done:
                self.gates.pop(gate.number, None)
        for name in self._strays.keys() - said.keys() if now >= self._strays_due else ():
            releases = sorted(self._strays.pop(name), key=lambda each: each.key)
            said[name] = None, KeyRequest(name, [*releases])
        return [said[name] for name in sorted(said)]

    def answered(self, said: Said, answers: Sequence[Sequence[KeyFact]], until: float, now: float) -> None:
        """Have the gates take note of what the engine says."""
        refused = False
        for (gate, request), facts in zip(said, answers, strict=True):
            if gate is not None:
                gate.tell(request.operations, facts, until, now)
                continue
            for each, fact in zip(request.operations, facts, strict=True):
                if isinstance(fact, KeyRefused):
                    refused = True
                    self._strays.setdefault(request.registry, []).append(ReleaseKey(each.ref, each.key))
        if refused:
            self._strays_pause = min(max(FIRST_PAUSE, 2 * self._strays_pause), LONGEST_PAUSE)
            self._strays_due = now + self._strays_pause

    @property
    def waits(self) -> bool:
        """Whether there is something to be said now."""
        return bool(self.dirty)

    @property
    def next_look(self) -> float:
        """When there is something to be said again."""
        looks = [gate.next_look for gate in list(self.gates.values())]
        if self._strays:
            looks.append(self._strays_due)
        return min([look for look in looks if look is not None], default=float("inf"))

    def greeted(self, rows: Mapping[str, Mapping[int, KeyRow]], trusting: bool) -> int:
        """A session begins; returns how many keys are lost.

        Args:
            rows: what the engine has of this process, by registry and number.
        """
        gates = self.gates.copy()
        mine: dict[int, dict[int, KeyRow]] = {number: {} for number in gates}
        self._strays.clear()
        self._strays_due = self._strays_pause = 0.0
        for name, keys in rows.items():
            for ref, row in keys.items():
                gate = gates.get(ref >> 32)
                if gate is not None and gate.name == name:
                    mine[gate.number][ref] = row
                else:
                    self._strays.setdefault(name, []).append(ReleaseKey(ref, row.key))
        return sum([gates[number].reassert(found, trusting) for number, found in mine.items()])

    def gone(self) -> None:
        """The engine is away."""
        for gate in list(self.gates.values()):
            gate.gone()
