"""Locks that find their own number of slots, from how long slots are held. Pure.

The two classic ways, as in Netflix's concurrency-limits: ``Aimd`` grows by one while all is well and shrinks
by a factor when work takes too long; ``Gradient`` compares how long work takes now with how long it usually
takes. Use them where the resource behind the lock has no number that somebody knows, such as a service of
others. For a pool of 10 connections, 10 is the better answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import attrs


def _positive(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected {attribute.name} to be a positive integer, got: {value!r}")


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"expected {attribute.name} to be a number above 0, got: {value!r}")


def _share(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(f"expected {attribute.name} to be between 0 and 1, got: {value!r}")


class Limit(Protocol):
    """Finds the number of slots. One for each lock."""

    def released(self, held: float, running: int) -> int:
        """Learn that slots were held for so many seconds while so many held some; return the new number."""


@attrs.frozen
class Aimd:
    """Additive increase, multiplicative decrease.

    Args:
        min: never fewer slots.
        max: never more.
        timeout: seconds; work that takes longer says that there are too many.
        backoff: what remains of the number of slots then.
    """

    min: int = attrs.field(default=1, validator=_positive)
    max: int = attrs.field(default=100, validator=_positive)
    timeout: float = attrs.field(default=1.0, validator=_seconds)
    backoff: float = attrs.field(default=0.9, validator=_share)

    def limit(self, num_slots: int) -> Limit:
        """Begin with so many slots."""
        return _AimdLimit(self, num_slots)


@attrs.frozen
class Gradient:
    """Follows the ratio of the usual latency to the present one.

    Args:
        min: never fewer slots.
        max: never more.
        tolerance: how many times the usual latency is still fine.
        smoothing: how much one sample counts for the number of slots.
        window: how many samples the usual latency is made of.
        queue: how many slots above the found number to try, so that it can grow.
    """

    min: int = attrs.field(default=1, validator=_positive)
    max: int = attrs.field(default=100, validator=_positive)
    tolerance: float = attrs.field(default=1.5, validator=_seconds)
    smoothing: float = attrs.field(default=0.2, validator=_share)
    window: int = attrs.field(default=600, validator=_positive)
    queue: int = attrs.field(default=4, validator=_positive)

    def limit(self, num_slots: int) -> Limit:
        """Begin with so many slots."""
        return _GradientLimit(self, num_slots)


Adaptive: TypeAlias = Aimd | Gradient
_KINDS: dict[str, type[Aimd] | type[Gradient]] = {"aimd": Aimd, "gradient": Gradient}


def adaptive_of(value: object, num_slots: int) -> Adaptive | None:
    """Read what adapts: an Aimd or Gradient, ``"aimd"``, ``"gradient"``, or a mapping such as ``{"aimd".

    {"max": 50}}``.

    Raises:
        ValueError: which says what was expected.
    """
    found: Adaptive
    match value:
        case None:
            return None
        case Aimd() | Gradient():
            found = value
        case str() if value in _KINDS:
            found = _KINDS[value]()
        case Mapping() if len(value) == 1 and next(iter(value)) in _KINDS:
            ((kind, options),) = value.items()
            try:
                found = _KINDS[kind](**dict(options or {}))
            except TypeError:
                known = ", ".join(field.name for field in attrs.fields(_KINDS[kind]))
                raise ValueError(
                    f"expected the options of {kind} to be some of {known}, got: {options!r}"
                ) from None
        case _:
            raise ValueError(
                f"expected adaptive to be 'aimd' or 'gradient', or options of one, got: {value!r}"
            )
    if not found.min <= num_slots <= found.max:
        allowed = f"between the min {found.min} and the max {found.max} of adaptive"
        raise ValueError(f"expected num_slots to be {allowed}, got: {num_slots}")
    return found


class _AimdLimit:
    __slots__ = ("_how", "_slots")

    def __init__(self, how: Aimd, num_slots: int) -> None:
        self._how = how
        self._slots = num_slots

    def released(self, held: float, running: int) -> int:
        how = self._how
        if held > how.timeout:
            self._slots = max(how.min, int(self._slots * how.backoff))
        elif running * 2 >= self._slots:
            # Grown only while it is used, or an idle lock would end at its max.
            self._slots = min(how.max, self._slots + 1)
        return self._slots


class _GradientLimit:
    __slots__ = ("_how", "_slots", "_usual")

    def __init__(self, how: Gradient, num_slots: int) -> None:
        self._how = how
        self._slots = float(num_slots)
        self._usual = 0.0

    def released(self, held: float, running: int) -> int:
        how = self._how
        held = max(held, 1e-9)
        if self._usual == 0.0:
            self._usual = held
        self._usual += (held - self._usual) / how.window
        if self._usual > 2 * held:
            # Work has become much faster: believe it sooner than the window would.
            self._usual *= 0.95
        if running * 2 >= self._slots:
            gradient = max(0.5, min(1.0, how.tolerance * self._usual / held))
            found = self._slots * gradient + how.queue
            slots = self._slots * (1 - how.smoothing) + found * how.smoothing
            self._slots = max(float(how.min), min(float(how.max), slots))
        return int(self._slots)
