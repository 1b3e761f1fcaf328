"""The lock process: the supervised face of a ledger. It has the lock's name, and is what can crash."""

from __future__ import annotations

import logging
from typing import Any

import attrs

from ...actors import (
    IGNORE,
    AlreadyRegistered,
    AlreadyStarted,
    ChildSpec,
    Down,
    NoReply,
    Ok,
    Pid,
    process,
)
from ...actors import child_spec as spec_from
from ...actors.engine import LibraryServer, check_engine, check_without_engine, stays_here
from ...supervision.restarts import on_lost
from ..ledger.adaptive import adaptive_of
from ..ledger.rate import Rate
from ..ledger.values import (
    Fairness,
    Fork,
    OnLost,
    OnUnreachable,
    check_fairness,
    check_fork,
    check_max_waiting,
    check_name,
    check_on_lost,
    check_on_unreachable,
    check_paused,
    check_positive,
)
from . import events
from .lock_core import LockCore
from .settings import MOST_SLOTS, Settings
from .table import cores, table

logger = logging.getLogger("resprout.throttle")
LONGEST_NAME = 200
SLOWEST, FASTEST = 1e-9, 1e9
"""Grants a second by which an engine can reckon when the next one is due."""
_OPTIONS = frozenset(field.name for field in attrs.fields(Settings)) - {
    "name",
    "num_slots",
    "home",
    "life",
}


@attrs.frozen
class TakeName:
    """Take the lock's name when the process ends that has it."""

    name: str
    taker: Pid


class LockServer(LibraryServer):
    """Answers for one ledger. Steps of the ledger run in the threads of its callers, through the combiner, so
    nothing is asked of this process while it lives, and nothing is lost when it dies.
    """

    blocking = False
    _thief: TakeName | None = None
    _what = "the process of a lock"
    _one_per_tree = True
    _use = "the functions of resprout.throttle (run, slot, acquire, execute, lock_state, ...)"

    def init(self, settings: Settings) -> Any:
        core = table.open(settings)
        if not core.adopt(self.pid, settings):
            # Stopped, while its supervisor was about to restart it.
            return IGNORE
        if core.announced:
            events.tell(events.ADOPTED, core.state(), settings.name, core.ledger.num_slots)
        else:
            core.announced = True
            events.created(settings.name, settings.num_slots)
        return Ok(core)

    def handle_cast(self, message: object, core: LockCore) -> Any:
        if not isinstance(message, TakeName):
            return super().handle_cast(message, core)
        self._thief = message
        process.monitor(message.taker)
        return NoReply(core)

    def handle_info(self, message: object, core: LockCore) -> Any:
        thief = self._thief
        if thief is None or not isinstance(message, Down) or message.pid is not thief.taker:
            return super().handle_info(message, core)
        try:
            process.register(self.pid, thief.name)
        except AlreadyRegistered as taken:
            self._thief = TakeName(thief.name, taken.pid)
            process.monitor(taken.pid)
        else:
            self._thief = None
        return NoReply(core)


def settings_of(
    name: str,
    num_slots: int,
    *,
    max_waiting: int | None = None,
    fairness: Fairness = "strict",
    rate: object = None,
    adaptive: object = None,
    fork: Fork = "renew",
    paused: bool = False,
    engine: str | None = None,
    on_lost: OnLost = "exit",
    on_unreachable: OnUnreachable = "wait",
    home: bool = False,
) -> Settings:
    """Check what a lock is made from.

    Raises:
        ValueError: which names what was expected, and what was got.
    """
    slots = check_positive("num_slots", num_slots)
    settings = Settings(
        check_name(name),
        slots,
        check_max_waiting(max_waiting),
        check_fairness(fairness),
        Rate.of(rate),
        adaptive_of(adaptive, slots),
        home=home,
        fork=check_fork(fork),
        paused=check_paused(paused),
        engine=check_engine(engine),
        on_lost=check_on_lost(on_lost),
        on_unreachable=check_on_unreachable(on_unreachable),
    )
    if engine is None:
        check_without_engine(on_lost, on_unreachable)
    else:
        _check_shared(settings)
    return settings


def _check_shared(settings: Settings) -> None:
    """Refuse what a lock with an engine can't have."""
    name = settings.name
    if settings.adaptive is not None:
        raise ValueError(
            f"expected lock {name!r} without adaptive, as it has an engine: it would need every hold in one "
            f"place"
        )
    if len(name) > LONGEST_NAME or "\0" in name or not name.isprintable():
        raise ValueError(
            f"expected the name of a lock with an engine to be printable and at most {LONGEST_NAME} "
            f"characters long, got {len(name)} characters: {name[:40]!r}..."
        )
    rate = settings.rate
    numbers = {
        "num_slots": settings.num_slots,
        "max_waiting": settings.max_waiting,
        "the burst of rate": None if rate is None else rate.burst,
    }
    for what, number in numbers.items():
        if number is not None and number > MOST_SLOTS:
            raise ValueError(f"expected {what} to be at most {MOST_SLOTS} with an engine, got: {number}")
    if rate is not None and not SLOWEST <= rate.per_second <= FASTEST:
        raise ValueError(
            f"expected rate to be between {SLOWEST:g} and {FASTEST:g} grants a second with an engine, "
            f"got: {rate.per_second:g}"
        )


@stays_here("a lock")
def start_lock(settings: Settings) -> Pid | None:
    """Start the lock process, linked to the caller, which is its supervisor; None when it was stopped.

    A restart whose name was taken meanwhile goes without it, until whoever took it ends: the lock is found by
    its ledger, and it is no reason to fail, again and again, until the whole tree gives up. For the same
    reason no other child is started as this lock while the one that has crashed is about to come back.

    Raises:
        AlreadyStarted: there is a lock of that name, or any process.
    """
    if settings.life.ended:
        return None
    known = cores.get(settings.name)
    if known is not None and known.comes_back(settings):
        raise AlreadyStarted(known.last)
    pid: Pid | None
    try:
        pid = LockServer.start_link(settings, name=settings.name)
    except AlreadyStarted as taken:
        core = cores.get(settings.name)
        ours = isinstance(taken.pid.actor, LockServer)
        if core is None or core.ledger.closed or core.process is not None or ours:
            raise
        logger.error(
            "the name of lock %r was taken by %s while the lock process was being restarted; the lock goes "
            "on, but its process is not found by that name until %s ends",
            settings.name,
            taken.pid,
            taken.pid,
        )
        pid = LockServer.start_link(settings)
        if pid is not None:
            pid.cast(TakeName(settings.name, taken.pid))
    return pid


def is_lock(spec: ChildSpec, settings: Settings) -> bool:
    """Tell whether a child spec is that of a lock."""
    start, args, _ = spec.start
    return start is start_lock and args == (settings,)


def _lost(pid: Pid) -> None:
    for core in list(cores.values()):
        core.lost(pid)


on_lost(_lost)


def child_spec(name: str, num_slots: int, **options: Any) -> ChildSpec:
    """Make the child spec of a lock, for a supervisor of your own, which counts its restarts and ends it.

    Use it where a lock belongs to a part of your tree. For a lock that is just there, ``new`` is enough.

    Args:
        name: the lock, also the id of the child unless ``id=`` says otherwise.
        num_slots: how many holders there may be.
        options: those of ``new``, and fields of ChildSpec (``id``, ``restart``, ``shutdown``,
            ``significant``, ...).

    Raises:
        ValueError: a value is wrong.
        TypeError: an option is unknown.
    """
    ours = {key: value for key, value in options.items() if key in _OPTIONS}
    fields = {key: value for key, value in options.items() if key not in _OPTIONS}
    settings = settings_of(name, num_slots, **ours)
    return spec_from({"id": name, "start": (start_lock, (settings,), {}), **fields})
