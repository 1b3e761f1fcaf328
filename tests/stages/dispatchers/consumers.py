"""What the tests of dispatchers share: a consumer's subscription, and consumers that come, ask and go."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule


@attrs.frozen
class Sub:
    """A subscription, as a dispatcher sees it."""

    pid: Any
    tag: int = 0


class Consumers(RuleBasedStateMachine):
    """The demand of each consumer by itself; a model says whom a dispatch reaches."""

    made: Any
    """The dispatcher, which the model makes."""
    most = 8
    """How many consumers there are at most."""

    def __init__(self) -> None:
        super().__init__()
        self.demands: dict[Sub, int] = {}
        self.number = 0

    @precondition(lambda self: len(self.demands) < self.most)
    @rule()
    def subscribe(self) -> None:
        self.number += 1
        sub = Sub(f"pid {self.number}", self.number)
        self.made.subscribe({}, sub)
        self.demands[sub] = 0

    @precondition(lambda self: self.demands)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        sub = data.draw(st.sampled_from(list(self.demands)))
        del self.demands[sub]
        self.made.cancel(sub)

    @precondition(lambda self: self.demands)
    @rule(data=st.data(), demand=st.integers(1, 9))
    def ask(self, data: st.DataObject, demand: int) -> None:
        sub = data.draw(st.sampled_from(list(self.demands)))
        self.demands[sub] += demand
        assert self.made.ask(demand, sub).deliveries == ()
