"""What makes a lock adaptive: the options of the two ways, and which exceptions say that too much is asked.

An adaptive lock finds its own number of slots from what becomes of the work that is done in them. Use it
where the resource behind the lock has no number that somebody knows, such as a service of others. For a pool
of 10 connections, 10 is the better answer. How the number is found stands in ``adaptive_limits``.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import math
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from ...actors import MailboxFull, QueueFull

OVERLOAD: Final[tuple[type[BaseException], ...]] = tuple(
    dict.fromkeys(
        (
            ConnectionError,
            TimeoutError,
            # Classes of their own before Python 3.11. CallTimeout is a TimeoutError.
            asyncio.TimeoutError,
            concurrent.futures.TimeoutError,
            QueueFull,
            MailboxFull,
        )
    )
)
"""The exceptions that mean "dropped" unless the lock is told others."""


def _positive(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected {attribute.name} to be a positive integer, got: {value!r}")


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"expected {attribute.name} to be a number above 0, got: {value!r}")


def _factor(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1 < value < math.inf:
        raise ValueError(f"expected {attribute.name} to be a number above 1, got: {value!r}")


def _share(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(f"expected {attribute.name} to be between 0 and 1, got: {value!r}")


def _classes(value: object) -> tuple[type[BaseException], ...]:
    """Read exception classes: one or several, each a class, a builtin's name, or ``module:Class``."""
    several = isinstance(value, Iterable) and not isinstance(value, (str, type))
    return tuple([_class(each) for each in (value if several else [value])])  # type: ignore[attr-defined]


def _class(value: object) -> type[BaseException]:
    found: object = value
    why = ""
    if isinstance(value, str):
        try:
            found = pkgutil.resolve_name(value) if ":" in value else getattr(builtins, value, None)
        except (ValueError, ImportError, AttributeError) as error:
            why = f" ({error})"
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise ValueError(
        f"expected dropped to be exception classes, or names such as 'ConnectionError' or 'module:Class', "
        f"got: {value!r}{why}"
    )


def _dropped() -> Any:
    return attrs.field(default=OVERLOAD, converter=_classes)


@attrs.frozen
class Aimd:
    """Additive increase, multiplicative decrease: for a service that refuses what is too much.

    The number grows by one after each round of successes (as many as there are slots) in which at least half
    of the slots were used, faster the longer all goes well, and shrinks by a factor when work is *dropped*.
    All drops of work that was granted before a shrink are one signal with the one that made it. When the very
    next work is dropped as well, it shrinks faster (the factor three times over), so an outage is noticed
    within a few requests.

    An outcome is ``success`` (the work ended normally), ``dropped`` (an exception of the classes below, or
    ``grant.dropped()``) or ``ignored`` (any other exception, the death of the holder, ``grant.ignored()``),
    which teaches nothing.

    Args:
        min: never fewer slots.
        max: never more.
        timeout: seconds; success that took longer counts as dropped, while at least half of the slots are
            used.
        backoff: what remains of the number of slots after a drop.
        dropped: the exception classes that say that too much was asked; also as names, ``"ConnectionError"``
            or ``"module:Class"``. The default: connection errors and timeouts, QueueFull, MailboxFull.

    Raises:
        ValueError: an option is wrong.

    Semantics: AIMD as analysed by Chiu and Jain (1989) and used by TCP (RFC 5681), one reaction for each
        window of data as in NewReno (RFC 6582), growth that quickens with the time since the last drop as in
        H-TCP (Leith and Shorten, 2004). Several processes that share a service come to equal shares.
    """

    min: int = attrs.field(default=1, validator=_positive)
    max: int = attrs.field(default=100, validator=_positive)
    timeout: float = attrs.field(default=1.0, validator=_seconds)
    backoff: float = attrs.field(default=0.9, validator=_share)
    dropped: tuple[type[BaseException], ...] = _dropped()


@attrs.frozen
class Gradient:
    """Finds the number above which work takes longer and no more of it gets done.

    Work that takes longer than usual says that there are too many slots, or that the service has become
    slower; which of the two, an experiment tells. So a latency above the usual one never just raises what is
    usual: the lock *probes*, that is goes down with its number for some tens or hundreds of samples. When
    that makes the work faster, its own queue was the cause, and the number becomes what the ratio of the two
    latencies says. When it does not, the service is slower for everybody: the number is what it was, and the
    latency of the probe is the usual one from now on. Below that, the number grows, faster the longer all
    goes well; at first it doubles. Drops shrink it as in ``Aimd``.

    Samples are compared by their means, in numbers that follow from how far they scatter; single ones that
    take very long count as five times the usual.

    Args:
        min: never fewer slots.
        max: never more.
        tolerance: how many times the usual latency is still fine. Higher: more work at once and a longer
            queue in the service, for services without a sharp bend.
        window: samples of one comparison at most; more find a smaller difference in latencies that scatter.
        backoff: what remains of the number of slots after a drop.
        dropped: as in ``Aimd``, as is the meaning of outcomes.

    Raises:
        ValueError: an option is wrong.

    Known limit: where many processes with a lock each share a service, none of them alone makes it faster by
        going down, so each takes the queue of all for a slow service. Give each a ``max``, or use ``Aimd``
        with a timeout.

    Semantics: the number is Little's law (concurrency = throughput x latency) at the bend of the throughput,
        Kleinrock's operating point; the ratio is that of the gradient limit of Netflix's concurrency-limits.
        That the reference latency is taken in a probe at half the number at least, when in doubt, is BBR's
        ProbeRTT (Cardwell et al., 2016; half since BBRv2), and that only work counts that was granted after
        the number had come down, is Envoy's lesson about its adaptive concurrency filter.
    """

    min: int = attrs.field(default=1, validator=_positive)
    max: int = attrs.field(default=100, validator=_positive)
    tolerance: float = attrs.field(default=1.15, validator=_factor)
    window: int = attrs.field(default=300, validator=_positive)
    backoff: float = attrs.field(default=0.9, validator=_share)
    dropped: tuple[type[BaseException], ...] = _dropped()


Adaptive: TypeAlias = Aimd | Gradient
_KINDS: dict[str, type[Aimd] | type[Gradient]] = {"aimd": Aimd, "gradient": Gradient}


def adaptive_of(value: object, num_slots: int) -> Adaptive | None:
    """Read what adapts: an Aimd or Gradient, ``"aimd"``, ``"gradient"``, or a mapping of the one to options.

    Such a mapping is ``{"aimd": {"max": 50, "dropped": ["ConnectionError"]}}``.

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
