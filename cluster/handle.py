"""An engine as the locks of this process know it. It outlives the process that talks to the server, as a
ledger outlives its lock process: what is to be said waits here, and a restart says again what there is.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol, TypeVar

import attrs

from ..actors import CallTimeout, Future, Pid, process
from ..actors.engine import Alarm, Worker, kernel
from ..registry.engine import SharedSettings, key_engines
from ..supervision.restarts import on_lost, reviver, supervisors_above
from ..throttle import Holder, Waiter
from ..throttle.engine import EngineDown, Ledger, Settings, Steps, engines
from . import events
from .driver import Connection, Greeting
from .errors import EngineRefused
from .far_pid import FarPid
from .gate import Gate
from .key_gate import KeyGate
from .key_gates import KeyGates
from .ledger import SharedLedger
from .operations import Row
from .settings import HELD_SHARE, EngineSettings, this_node

T = TypeVar("T")


class Talker(Protocol):
    """Who talks to the server."""

    def ring(self) -> None:
        """There is something to be said; safe anywhere."""


class Handle:
    """See the module. To the locks it is an Engine (see throttle.engine), to registries a KeyEngine (see
    registry.engine).

    Attributes:
        member: tells this process from all others, for as long as it runs.
        keys: the registries.
        keeps_keys: it can, as far as is known.
        dirty: gates that have something to say.
        asks: what is to be looked up.
        proven: it was connected once, so what it was started with is right.
        process: the last one of it, if it ever had one here.
        above: the supervisors above that, the nearest first.
        given_up: one of these will not start it again.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.process: Pid | None = None
        self.above: tuple[Pid, ...] = ()
        self.given_up = False
        self.link: Talker | None = None
        self.greeting: Greeting | None = None
        self.reconnects = 0
        self.proven = False
        self.keeps_keys = True
        self.start_here: Callable[[EngineSettings], object] | None = None
        """In a forked child: starts the process that talks, when it is first needed."""
        self._begin()

    def _begin(self) -> None:
        self.member = random.SystemRandom().getrandbits(62)
        self.gates: dict[int, Gate] = {}
        self.dirty: dict[Gate, None] = {}
        self.keys = KeyGates(self.member, self._ring, self.valid, self.away)
        self.asks: deque[Ask] = deque()
        self.connected = False
        self.why_not: str | None = None
        self.valid_until = 0.0
        self.quiet_until = 0.0
        self._alarm: Alarm | None = None

    # -- for locks -------------------------------------------------------------

    def check(self, settings: Settings) -> None:
        """Refuse locks where it is over; what else it can't do was refused before it came here."""
        self._check_goes_on()

    def _check_goes_on(self) -> None:
        """Refuse to wait for a process that nobody starts again."""
        last = self.process
        if last is not None and last.dead and (self.given_up or reviver(last, self.above) is None):
            raise ValueError(
                f"expected engine to be the name of an engine that runs, got: {self.settings.name!r}, which "
                f"has ended, and which nobody starts again; start it in front of what uses it"
            )

    def answered_by(self, process: Pid) -> None:
        """A process is to talk to the server, from its init."""
        self.above = supervisors_above(process)
        self.given_up = False
        self.process = process

    def make_ledger(self, settings: Settings, core: Steps, token: int) -> Ledger:
        """Make the ledger of a lock."""
        self._check_goes_on()
        gate = Gate(settings, core, next(_numbers), token, self._wake, self.valid)
        gate.ledger.down = not self.connected
        self._start_in_child()
        return gate.ledger

    def _start_in_child(self) -> None:
        start = self.start_here
        if start is not None:
            self.start_here = None
            start(self.settings)

    def _wake(self, gate: Gate) -> None:
        if self.gates.get(gate.number) is not gate:
            # It is told of sessions from now on; not of one that has begun or ended just before.
            self.gates[gate.number] = gate
            gate.look_up(lambda: self.connected)
        self.dirty[gate] = None
        self._ring()

    def _ring(self) -> None:
        link = self.link
        if link is not None:
            link.ring()

    def everywhere(self, ledger: Any) -> tuple[list[Holder], list[Waiter]]:
        """List who holds and who waits, in all processes. One round trip.

        Raises:
            EngineDown: it can't be reached.
        """
        assert isinstance(ledger, SharedLedger)
        timeout = self.settings.ttl
        claimants = self.ask(lambda connection: connection.claimants(ledger.name, timeout))
        now = monotonic()
        holders, waiters = [], []
        for each in claimants:
            ticket = ledger.tickets.get(each.ref) if each.member == self.member else None
            hold = None if ticket is None else ticket.hold
            pid: Any = FarPid(each.node, each.who) if ticket is None else (hold or ticket.claim).pid
            if each.token is None:
                waiters.append(Waiter(pid, each.priority, each.weight, each.seconds))
            elif hold is None:
                holders.append(Holder(pid, each.token, each.weight, each.seconds, False))
            else:
                # The engine knows the block of tokens. Which of them, and since when, is known here alone.
                holders.append(Holder(pid, hold.token, each.weight, now - hold.since, hold.straggler))
        return holders, waiters

    def ask(self, look: Callable[[Connection], T]) -> T:
        """Have something looked up by whoever talks to the server, and wait for that.

        Raises:
            EngineDown: it can't be reached.
        """
        ask = Ask(look)
        if not self.connected:
            raise self.away()
        self.asks.append(ask)
        link = self.link
        if link is not None:
            link.ring()
        if not self.connected:
            ask.answer.try_set_exception(self.away())
        try:
            found: T = ask.answer.result(2 * self.settings.ttl)
            return found
        except CallTimeout:
            raise self.away() from None

    def away(self) -> EngineDown:
        """Make the error for what needs a connection."""
        return EngineDown(self.settings.name, self.why_not)

    # -- for registries ----------------------------------------------------------

    def check_keys(self) -> None:
        """Refuse registries where they can't be kept."""
        self._check_goes_on()
        if not self.keeps_keys:
            raise EngineRefused(
                self.settings.name,
                f"{self.settings.scheme}:// keeps locks, and no keys of registries; use an engine on "
                f"postgresql:// or redis:// for those, or a registry without an engine",
            )

    def make_keys(self, settings: SharedSettings) -> KeyGate:
        """Keep those of a registry."""
        gate = self.keys.make(settings, next(_numbers), self._patience, lambda: self.connected)
        self._start_in_child()
        return gate

    def _patience(self) -> float:
        """How long a search may take, in seconds: while the engine is quiet it knows of no owner."""
        return max(self.settings.ttl, self.quiet_until - monotonic() + 1.0)

    # -- for whoever talks to the server -----------------------------------------

    def valid(self) -> bool:
        """Whether the server was heard of lately enough for grants to be good."""
        return monotonic() < self.valid_until

    def heard(self, sent: float) -> float:
        """A request was answered; returns until when that makes grants good.

        Args:
            sent: when the request was.
        """
        until = sent + HELD_SHARE * self.settings.ttl
        self.valid_until = max(self.valid_until, until)
        if self._alarm is None:
            self._alarm = kernel.at(self.valid_until, self._look_at_time)
        return until

    def _look_at_time(self) -> None:
        # In the kernel thread, which no socket blocks, and which runs no user code.
        self._alarm = None
        if self.valid():
            self._alarm = kernel.at(self.valid_until, self._look_at_time)
        else:
            kernel.pool.submit(_Void(self))

    def void(self) -> None:
        """It was not heard of for too long: all grants are over."""
        grants = sum(gate.void() for gate in list(self.gates.values())) + self.keys.void()
        if grants:
            events.tell(events.VOID, self.settings.name, {"grants": grants})

    def greeted(self, greeting: Greeting) -> int:
        """A session begins; returns how many grants are lost."""
        self.greeting = greeting
        self.quiet_until = monotonic() + greeting.quiet
        self.proven = True
        self.connected = True
        self.why_not = None
        # Who was found to have ended is not: others may have got what it held before the crash.
        believed = greeting.quiet > 0 and not greeting.ended
        nothing: dict[int, Row] = {}
        lost = 0
        for gate in list(self.gates.values()):
            rows = greeting.rows.get(gate.name, nothing)
            mine = {ref: row for ref, row in rows.items() if ref >> 32 == gate.number}
            lost += gate.reassert(mine, believed)
        self.keeps_keys = greeting.keys is not None
        return lost + self.keys.greeted(greeting.keys or {}, believed)

    def gone(self, why: str) -> None:
        """The session is over."""
        self.connected = False
        self.why_not = why
        while self.asks:
            try:
                self.asks.popleft().answer.try_set_exception(self.away())
            except IndexError:
                break
        for gate in list(self.gates.values()):
            gate.gone()
        self.keys.gone()

    def begin_anew(self) -> None:
        """After a fork, in the child: the session, and whatever was said in it, is the parent's."""
        self.process = None
        # Not closed, which would end it; it is kept for as long as this runs.
        _inherited.append(self.link)
        self.link = None
        self.greeting = None
        if not self.settings.named:
            self.settings = attrs.evolve(self.settings, node=this_node())
        self._begin()


class Ask:
    """Something to be looked up."""

    def __init__(self, look: Callable[[Connection], T]) -> None:
        self._look = look
        self.answer: Future[Any] = Future()

    def run(self, connection: Connection) -> None:
        """Do it."""
        self.answer.try_set(self._look(connection))


class _Void:
    """A task of the pool."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def run(self, worker: Worker) -> None:
        # It tells observers, who may take their time.
        process.spawn(self._handle.void)


_numbers = itertools.count(1)
handles: dict[str, Handle] = {}
_inherited: list[object] = []


def open_handle(settings: EngineSettings) -> Handle:
    """Return the engine that a process is to talk for: that of its former life, else a new one."""
    handle = handles.get(settings.name)
    if handle is None:
        handle = handles.setdefault(settings.name, Handle(settings))
    if handle.settings != settings:
        handle.settings = settings
        handle.proven = False
    engines[settings.name] = handle
    key_engines[settings.name] = handle
    return handle


def _lost(pid: Pid) -> None:
    for handle in list(handles.values()):
        if handle.process is not None and (pid is handle.process or pid in handle.above):
            handle.given_up = True


on_lost(_lost)


def _begin_anew() -> None:
    for handle in handles.values():
        handle.begin_anew()
        if handle.proven and start_in_child:
            handle.start_here = start_in_child[0]


start_in_child: list[Callable[[EngineSettings], object]] = []
"""How a forked child starts the process that talks to the server."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
