"""Blocks that nobody can end any more, since their object is gone.

An interrupt that comes before the first bytecode of ``slot.__exit__`` ends the ``with`` statement, and leaves
the block open: nothing written in Python can prevent that. What is left is the block's object, which is
collected when the exception has been handled, and its grant, which somebody may have kept on purpose (code
that takes here and gives back there). So the slot belongs to the grant from then on: it comes back when that
is released, or is collected, too. The ledger would keep it for ever; so it gets another hold in its place,
and the grant that the block gave leads to that one.

A block within another one of the same flow has no hold of its own. What it counted ends with the block around
it at the latest.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ...actors.engine import FREE_THREADED, increase
from ..ledger.holds import Hold
from .flow import opened

if TYPE_CHECKING:
    from ...actors import Pid
    from ..ledger.values import Grant, Outcome


def forsake(hold: Hold, times: int) -> None:
    """A block was entered, is not left, and its object is gone. From a finalizer: blocks nowhere.

    Args:
        hold: what it took.
        times: how often it is counted there.
    """
    if hold.depth > times + hold.strays:
        if FREE_THREADED:
            increase(hold, "strays", times)
        else:
            hold.strays += times
        return
    if hold.depth <= 0 or hold.key < 0 or hold.guests or (hold.opener or hold.pid).pooled:
        # It is over; or it ends with a call, and no interrupt comes there.
        return
    heir = Hold()
    heir.core = hold.core
    heir.name = hold.name
    heir.token = hold.token
    heir.pid = hold.pid
    heir.key = hold.key
    heir.weight = hold.weight
    heir.since = hold.since
    heir.ticket = hold.ticket
    heir.valid = hold.valid
    heir.code = None
    if hold.of_a_block:
        heir.outer = hold.outer
    heir.opener = hold.opener
    heir.release_on_kill = hold.release_on_kill
    heir.depth = times
    if opened.get() is hold:
        opened.set(heir)
    hold.core.combiner.submit(partial(_replace, hold, heir, times))
    hold.core.flush_elsewhere()


def _replace(hold: Hold, heir: Hold, times: int) -> None:
    """Inside the combiner; may be repeated."""
    holders = hold.core.ledger.holders
    if holders.get(hold.key) is not heir:
        if hold.depth <= 0 or holders.get(hold.key) is not hold:
            heir.depth = 0
            return
        heir.straggler = hold.straggler
        heir.outcome = hold.outcome
        hold.heir = heir
        hold.times = times
        hold.__class__ = _kept(hold.__class__)
        holders[heir.key] = heir
    hold.depth = 0


class _Kept(Hold):
    """What the grant of such a block becomes: it leads to the hold that the ledger has in its place, and
    gives back its share of that when nobody has it any more.
    """

    __slots__ = ()

    @property
    def held(self) -> bool:
        return self._heir.held

    @property
    def _heir(self) -> Hold:
        heir = self.heir
        assert heir is not None
        return heir

    def release(self) -> None:
        self.times = max(self.times - 1, 0)
        self._heir.release()

    def transfer(self, pid: Pid) -> Grant:
        return self._heir.transfer(pid)

    def _say(self, outcome: Outcome) -> None:
        self._heir._say(outcome)

    def __del__(self) -> None:
        heir = self._heir
        times = self.times
        if heir.depth > times and (not FREE_THREADED or increase(heir, "depth", -times, above=times)):
            # Another block was opened within.
            if not FREE_THREADED:
                heir.depth -= times
        elif heir.depth > 0:
            heir.depth = 0
            core = heir.core
            core.combiner.submit(partial(core._release, heir))
            core.flush_elsewhere()


_kinds: dict[type[Hold], type[Hold]] = {Hold: _Kept}


def _kept(kind: type[Hold]) -> type[Hold]:
    """Return the class of a kept grant: a claim that is its own hold has more slots than others."""
    if issubclass(kind, _Kept):
        return kind
    kept: Any = _kinds.get(kind)
    if kept is None:
        kept = _kinds[kind] = type(f"_Kept{kind.__name__}", (_Kept, kind), {"__slots__": ()})
    return kept  # type: ignore[no-any-return]  # a class
