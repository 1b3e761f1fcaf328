"""The process of a partition supervisor: static children of which the last ones may be out of use."""

from __future__ import annotations

from typing import Any

import attrs

from ...actors import ChildSpec, Ok, Reply, SpecError, Stop
from .static_server import StaticServer
from .strategy import Effects, Restart, Siblings
from .values import Refused, Resize


class PartitionServer(StaticServer):
    """The first `partitions` of its children are in use, and their keys are 0, 1, 2, ...

    Other threads read `partitions` at any time. Invariant: a child to which keys belong has been started.
    """

    _use = "the functions of PartitionSupervisor (which_children, resize, ...)"

    partitions: int = 0
    specs: tuple[ChildSpec, ...] = ()

    def begin(self, spec: Any) -> Ok | Stop:
        """Starts all partitions."""
        self.specs = spec.children
        self.partitions = len(self.specs)
        return super().begin(spec)

    def handle_call(self, message: Any, from_: Any, state: Siblings) -> Any:
        """Answers what any supervisor is asked, and resizes."""
        if isinstance(message, Resize):
            return Reply(self._resize(message.partitions), state)
        return super().handle_call(message, from_, state)

    def _resize(self, wanted: int) -> Any:
        before, most = self.partitions, len(self.specs)
        if not 0 <= wanted <= most:
            problem = f"expected a number from 0 to {most}, with which it was started, got: {wanted}"
            return Refused(SpecError("partition supervisor", "partitions", problem))
        if wanted > before:
            for number in range(before, wanted):
                refused = self._put_in_use(number)
                if refused is not None:
                    self._stop_all(before, number)
                    return refused
        self.partitions = wanted
        self._stop_all(wanted, before)
        return before

    def _put_in_use(self, number: int) -> Refused | None:
        child = self.siblings.table.get(number)
        if child is None:
            # It is temporary, and was forgotten when it was stopped.
            child = self.siblings.add(number, self.specs[number])
        elif child.state != "down":
            # Somebody has started it by hand.
            return None
        answer = self.start_listed(child)
        return answer if isinstance(answer, Refused) else None

    def _stop_all(self, first: int, end: int) -> None:
        """Stops partitions for good, the last one first."""
        for number in reversed(range(first, end)):
            if self.siblings.table.get(number) is not None:
                self._terminate(number)

    def _restart(self, effect: Restart) -> Effects:
        start = tuple(child for child in effect.start if child.key in range(self.partitions))
        effects = super()._restart(attrs.evolve(effect, start=start))
        if effect.child.key not in range(self.partitions):
            # It was started by hand, and nobody else will.
            self.siblings.stopped(effect.child)
        return effects
