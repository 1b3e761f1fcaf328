"""How an adaptive lock finds its number of slots. Pure: no threads, no clock; one a lock.

A limit learns from each hold that ends, ``(since, now, used, outcome) -> slots``. Whether a hold tells of the
present number is seen from when it was granted: what was granted before the number came down waits in the
queue of that time. As with every step of a ledger, an exception may cut one off between any two bytecodes;
the worst that remains is a sample that counts by half.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from .adaptive import Aimd, Gradient

if TYPE_CHECKING:
    from .values import Outcome

AGAIN: Final = 3
"""How many times over the factor is applied when the very next work is dropped as well."""


class Limit(Protocol):
    """Finds the number of slots. One for each lock."""

    @property
    def dropped(self) -> tuple[type[BaseException], ...]:
        """The exceptions that mean that work was dropped."""

    def released(self, since: float, now: float, used: int, outcome: Outcome) -> int:
        """Learn from a hold that has ended; return the number of slots from now on.

        Args:
            since: when it was granted.
            now: on the same clock.
            used: slots in use until now, those of this hold among them.
            outcome: what became of the work.
        """

    def resized(self, num_slots: int, now: float) -> None:
        """Go on from another number, which somebody has set."""


def judge(error: BaseException, dropped: tuple[type[BaseException], ...]) -> Outcome:
    """Tell what an exception says of the work that it ended: of a group, what any of its members says."""
    if isinstance(error, dropped):
        return "dropped"
    # A group is a class of Python 3.11, and of a backport before that.
    members = getattr(error, "exceptions", None)
    if isinstance(members, tuple):
        errors = [each for each in members if isinstance(each, BaseException)]
        if any(judge(each, dropped) == "dropped" for each in errors):
            return "dropped"
    return "ignored"


class _Drops:
    """What both do when work is dropped: shrink once for all that was granted before."""

    __slots__ = ("again", "at", "before")

    def __init__(self) -> None:
        self.at = -math.inf
        """When it shrank last."""
        self.again = False
        """Nothing has gone well since then."""
        self.before = 0.0
        """The number before the first of the drops that came one after the other."""

    def shrink(self, slots: float, how: Aimd | Gradient, now: float) -> float:
        """Return what remains, at least one slot less as far as there are."""
        factor = how.backoff**AGAIN if self.again else how.backoff
        if not self.again:
            self.before = slots
        self.at = now
        self.again = True
        # A hair below the integer, so that the next bit of growth gives the slot back.
        return max(float(how.min), min(slots * factor, math.floor(slots) - 0.001))

    def recovering(self, slots: float) -> bool:
        """Tell whether an outage has left less than half, so that it is safe to double."""
        return slots * 2 < self.before


class AimdLimit:
    """See Aimd."""

    __slots__ = ("_drops", "_how", "_round", "_rounds", "_slots")

    def __init__(self, how: Aimd, num_slots: int) -> None:
        self._how = how
        self._slots = float(num_slots)
        self._drops = _Drops()
        self._round = 0
        """Successes since the number last changed."""
        self._rounds = 0
        """Rounds of successes since the last drop."""

    @property
    def dropped(self) -> tuple[type[BaseException], ...]:
        return self._how.dropped

    def resized(self, num_slots: int, now: float) -> None:
        self._slots = float(max(self._how.min, min(self._how.max, num_slots)))
        self._drops.before = 0.0
        self._round = self._rounds = 0

    def released(self, since: float, now: float, used: int, outcome: Outcome) -> int:
        how = self._how
        slots = int(self._slots)
        # A lock that is hardly used learns nothing from how long slots are held.
        busy = used * 2 >= slots
        late = now - since > how.timeout
        if outcome == "ignored" or since < self._drops.at or (late and not busy and outcome != "dropped"):
            return slots
        if late or outcome == "dropped":
            self._slots = self._drops.shrink(self._slots, how, now)
            self._round = self._rounds = 0
        elif busy:
            self._round += 1
            if self._round >= slots:
                self._round = 0
                self._drops.again = False
                step = slots if self._drops.recovering(self._slots) else 1 + self._rounds // 2
                self._slots = min(float(how.max), self._slots + step)
                self._rounds += 1
        return int(self._slots)


SAMPLES: Final = 60
"""The fewest samples of a comparison: fewer miss the rare request that takes long."""
SCATTER: Final = 0.05
"""A mean is known well enough when its standard error is this part of it."""
SURE: Final = 1.3
"""How many standard errors two latencies must be apart to be different."""
ALIKE: Final = 1.1
"""Below this ratio, a probe that was faster says nothing."""
LONGEST: Final = 5.0
"""Times the usual latency that one sample counts at most."""
DEPTH: Final = 0.85
"""How far below the number that the latencies suggest a probe goes; at most to half the number."""
FAR: Final = 1.25
"""How many times the number of the last probe it may become without another."""
ONWARDS: Final = 0.7
"""How far the next probe goes when one has ended in a queue, too."""
FIRST_STEP: Final = 0.3
"""Slots by which it grows first after a probe or a drop."""
FIRST_SHARE: Final = 0.01
"""The same as a part of the number; the larger counts."""
FASTER: Final = 1.4
"""The factor between two steps of growth."""


@attrs.frozen
class _Mean:
    """A comparison's side: latency, how uncertain it is (as a part of it), at what concurrency."""

    latency: float
    error: float
    used: float


class _Window:
    """The samples of the present number: what is granted from a time on."""

    __slots__ = ("begun", "count", "squares", "total", "used")

    def __init__(self, now: float) -> None:
        self.begun = now
        self.count = 0
        self.total = self.squares = 0.0
        self.used = 0

    def add(self, held: float, used: int, slots: int, most: int) -> _Mean | None:
        """Count a sample; return the mean once it is known well enough.

        Twice as many samples as there are slots: of what was granted together, the short ones end first.
        """
        self.total += held
        self.squares += held * held
        self.used += used
        self.count += 1
        count = self.count
        if count < min(most, max(SAMPLES, 2 * slots)):
            return None
        mean = self.total / count
        error = math.sqrt(max(0.0, self.squares / count - mean * mean) / count) / mean
        if error > SCATTER and count < most:
            return None
        return _Mean(mean, error, self.used / count)


class GradientLimit:
    """See Gradient.

    Invariant: ``_usual`` rises only to a latency that was measured at a number below the present one (or at
    ``min``, where there is no lower one); it falls whenever work is faster than that.
    """

    __slots__ = (
        "_above",
        "_draining",
        "_drops",
        "_found",
        "_how",
        "_proven",
        "_slots",
        "_starting",
        "_steps",
        "_usual",
        "_window",
    )

    def __init__(self, how: Gradient, num_slots: int) -> None:
        self._how = how
        self._found = float(num_slots)
        """The number, between two integers while it grows."""
        self._slots = num_slots
        """The number in force; lower during a probe."""
        self._usual: _Mean | None = None
        self._above: _Mean | None = None
        """During a probe: what it is compared with."""
        self._draining = False
        """The number came down, and more than that are still held."""
        self._starting = True
        """Nothing has said yet that there are too many."""
        self._steps = 0
        """Of growth since the last trouble."""
        self._proven = float(num_slots)
        """The number when it was last compared with a lower one."""
        self._window: _Window | None = None
        """None until a hold has ended: the first ones find an empty service."""
        self._drops = _Drops()

    @property
    def dropped(self) -> tuple[type[BaseException], ...]:
        return self._how.dropped

    def resized(self, num_slots: int, now: float) -> None:
        self._steps = 0
        self._proven = float(num_slots)
        self._drops.before = 0.0
        self._settle(num_slots, now)

    def released(self, since: float, now: float, used: int, outcome: Outcome) -> int:
        if outcome == "dropped":
            if since >= self._drops.at:
                self._starting = False
                self._steps = 0
                self._settle(self._drops.shrink(self._found, self._how, now), now)
        elif outcome == "success":
            if self._draining:
                if used <= self._slots:
                    self._draining = False
                    self._window = _Window(now)
            elif (window := self._window) is None:
                self._window = _Window(now)
            elif since >= window.begun and (self._above is not None or used * 2 >= self._slots):
                self._sample(window, max(now - since, 1e-9), now, used)
        return self._slots

    def _sample(self, window: _Window, held: float, now: float, used: int) -> None:
        usual = self._usual
        if usual is not None:
            held = min(held, LONGEST * usual.latency)
        mean = window.add(held, used, self._slots, max(self._how.window, 2))
        if mean is None:
            return
        self._drops.again = False
        if self._above is not None:
            self._compare(self._above, mean, now)
        elif usual is not None and mean.latency <= usual.latency * self._allowed(usual, mean):
            self._all_is_well(usual, mean, now)
        else:
            share = 0.5 if usual is None else max(0.5, DEPTH * usual.latency / mean.latency)
            self._probe(mean, share, now)

    def _allowed(self, usual: _Mean, mean: _Mean) -> float:
        return max(self._how.tolerance, 1 + SURE * math.hypot(usual.error, mean.error))

    def _all_is_well(self, usual: _Mean, mean: _Mean, now: float) -> None:
        if mean.latency * self._how.tolerance < usual.latency:
            self._usual = mean
        elif mean.latency < usual.latency:
            # By a part: the lowest of many means is a lucky one.
            self._usual = attrs.evolve(usual, latency=usual.latency + (mean.latency - usual.latency) / 4)
        if mean.used * 4 < self._slots * 3:
            # It would not be used.
            self._window = _Window(now)
            return
        found = self._found
        step = found
        if not self._starting and not self._drops.recovering(found):
            if found > FAR * self._proven:
                # Work that becomes faster by itself would hide the queue.
                self._probe(mean, DEPTH, now)
                return
            step = min(found, max(FIRST_STEP, FIRST_SHARE * found) * FASTER ** min(self._steps, 60))
            self._steps += 1
        self._settle(found + step, now)

    def _probe(self, mean: _Mean, share: float, now: float) -> None:
        """Go down to a share of the number, to see whether that makes the work faster."""
        slots = max(self._how.min, min(int(mean.used * share), math.ceil(mean.used) - 1))
        if slots >= self._slots:
            # There is nothing below, so this is as fast as it gets.
            self._usual = mean
            self._settle(self._found, now)
            return
        self._above = mean
        self._slots = slots
        self._draining = True
        self._window = _Window(now)

    def _compare(self, above: _Mean, below: _Mean, now: float) -> None:
        """A probe has ended: find the number at which the latency begins to rise."""
        self._usual = below
        self._proven = self._found
        error = math.hypot(above.error, below.error)
        ratio = below.latency / above.latency
        if ratio * max(ALIKE, 1 + SURE * error) >= 1:
            # The service is as slow with fewer.
            self._settle(self._found, now)
            return
        # Doubling ends far above; a little above may be chance.
        self._starting = self._starting and ratio > 0.75
        self._drops.before /= 2
        self._steps = 0
        found = above.used * ratio
        if found <= 1.1 * self._slots and self._slots > self._how.min:
            # So much faster that there may be a queue even so.
            self._found = float(self._slots)
            self._probe(below, ONWARDS, now)
            return
        # By as much less as is certain.
        self._settle(min(above.used, max(found, self._slots) * (1 + error)) + FIRST_STEP, now)

    def _settle(self, found: float, now: float) -> None:
        self._found = max(float(self._how.min), min(float(self._how.max), found))
        self._above = None
        self._draining = False
        # Rounding errors must not take a slot.
        self._slots = int(self._found + 1e-9)
        self._window = _Window(now)


def limit_of(how: Aimd | Gradient, num_slots: int) -> Limit:
    """Begin with so many slots."""
    return AimdLimit(how, num_slots) if isinstance(how, Aimd) else GradientLimit(how, num_slots)
