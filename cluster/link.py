"""Talks to the server: one connection and one thread, of one process of an engine's.

Locks leave what they have to say and ring; all that has gathered is said in one request. While nothing is
held or waited for, there is only a sign of life every third of the ttl.
"""

from __future__ import annotations

import logging
import selectors
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, cast

from . import events
from .bell import Bell
from .driver import Connect, Connection, ConnectionLost, KeyConnection, NotTaken, Request
from .errors import EngineRefused
from .gate import Gate
from .key_gates import Said
from .key_operations import KeepKey, KeyFact, KeyRefused, KeyRequest
from .operations import Answer
from .settings import HELD_SHARE, without_secrets

if TYPE_CHECKING:
    from .handle import Handle

logger = logging.getLogger("resprout.cluster")

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
"""Seconds between two tries to connect anew; the first, and the longest. The very first comes at once, where
the session before had answered all that was said, for at least as long as the next pause is.
"""
CONNECT_SECONDS = 5.0
LAST_SECONDS = 0.5
END_SECONDS = 5.0
"""How long the end waits for what was left to be said, and for the thread."""


class Link:
    """See the module.

    Args:
        connect: begins a session.
        failed: told of an exception that should not have come.
    """

    def __init__(self, handle: Handle, connect: Connect, failed: Callable[[BaseException], object]) -> None:
        self._handle = handle
        self._settings = handle.settings
        self._connect = connect
        self._failed = failed
        self._bell = Bell()
        self._sleeping = False
        self._stopping = False
        self._connection: Connection | None = None
        self._polling: dict[Gate, None] = {}
        self._next_beat = 0.0
        self._pause = 0.0
        self._answers_since: float | None = None
        self._down_since: float | None = None
        self._told_of = ""
        self._again = False
        self._lost = 0
        """Grants, since it was away."""
        self._thread = threading.Thread(
            target=self._main, name=f"resprout-engine-{self._settings.name}", daemon=True
        )

    def start(self) -> None:
        """Begin. The first connection of all is made here and now, so that what is wrong is told at once.

        Raises:
            EngineRefused, ConnectionLost: there is none.
        """
        self._handle.link = self
        if not self._handle.proven:
            self._open()
        self._thread.start()

    def ring(self) -> None:
        """There is something to be said. Never blocks; safe anywhere."""
        if self._sleeping:
            self._bell.ring()

    def stop(self) -> None:
        """End the session, behind what was left before (1,000 operations of each lock)."""
        self._stopping = True
        self._bell.ring()
        connection = self._connection
        if connection is not None and self._thread.is_alive():
            # It may be in the middle of a request to a server that does not answer.
            self._thread.join(LAST_SECONDS)
            if self._thread.is_alive():
                connection.interrupt()
        if self._thread.ident is not None:
            self._thread.join(END_SECONDS)
        elif connection is not None:
            self._close("its process has ended")

    # -- the thread --------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._run()
        except BaseException as error:
            logger.exception("engine %r: its link has crashed, and is started again", self._settings.name)
            self._failed(error)
        finally:
            self._close("its process has ended")
            if self._handle.link is self:
                self._handle.link = None

    def _run(self) -> None:
        while not self._stopping:
            try:
                if self._connection is None:
                    self._open()
                self._talk()
            except (ConnectionLost, EngineRefused) as error:
                self._pause = self._pause_after(error)
                self._close(self._shown(error))
            if not self._stopping and self._pause:
                self._rest(self._pause)
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)

    def _pause_after(self, error: ConnectionLost | EngineRefused) -> float:
        """Seconds to wait before the next session. Who was only cut off comes back at once, within the grace;
        but a server that answers and then fails, again and again, is asked ever more seldom.
        """
        if self._answers_since is None:
            return self._pause
        lasted = monotonic() - self._answers_since
        if isinstance(error, EngineRefused) or error.by_request:
            return 0.0 if lasted >= self._pause else self._pause
        return 0.0 if lasted >= FIRST_PAUSE else FIRST_PAUSE

    def _rest(self, seconds: float) -> None:
        until = monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            while True:
                left = until - monotonic()
                if self._stopping or left <= 0:
                    break
                selector.select(left)
                self._bell.quieten()

    def _shown(self, error: Exception) -> str:
        text = error.why if isinstance(error, EngineRefused) else str(error)
        return without_secrets(text, self._settings.url)

    def _open(self) -> None:
        handle, settings = self._handle, self._settings
        began = monotonic()
        again = handle.proven
        connection = self._connect(settings, handle.member, again, min(CONNECT_SECONDS, settings.ttl))
        if self._stopping or handle.link is not self:
            connection.close()
            raise ConnectionLost("its process has ended")
        first = not handle.proven
        self._connection = connection
        self._lost += handle.greeted(connection.greeting)
        self._polling = dict.fromkeys(handle.gates.values())
        self._next_beat = 0.0
        if connection.greeting.quiet > 0:
            self._say_all_again(connection)
        # Said before the answer came, so good for a ttl from then on.
        handle.heard(began)
        if first:
            events.tell(events.CONNECTED, settings.name, {"seconds": monotonic() - began})
        else:
            handle.reconnects += 1
            self._again = True

    def _answers(self) -> None:
        """The server has done all that it was asked for since the session began; it does not only greet."""
        self._answers_since = now = monotonic()
        self._told_of = ""
        since, self._down_since = self._down_since, None
        lost, self._lost = self._lost, 0
        if not self._again:
            return
        self._again = False
        away = 0.0 if since is None else now - since
        name = self._settings.name
        logger.warning("engine %r: connected again after %.2f s; %d grants are lost", name, away, lost)
        events.tell(events.RECONNECTED, name, {"seconds": away, "lost": lost})

    def _say_all_again(self, connection: Connection) -> None:
        """Have a server that may have lost what is held here know of it, before that is good for longer: it
        gives to others what it has not heard of by the end of its silence.
        """
        while True:
            keys = self._handle.keys.collect(monotonic())
            if keys:
                self._ask_keys(connection, keys)
            if not any(isinstance(each, KeepKey) for _, request in keys for each in request.operations):
                break
        now = monotonic()
        gates = self._gates_with_something_to_say(now)
        if gates:
            self._say(connection, gates, now)

    def _close(self, why: str) -> None:
        connection, self._connection = self._connection, None
        self._answers_since = None
        if connection is not None:
            connection.close()
            if self._down_since is None:
                self._down_since = monotonic()
        if self._handle.link is self:
            self._handle.gone(why)
        if why == self._told_of or self._stopping:
            return
        self._told_of = why
        logger.warning("engine %r is not reached: %s", self._settings.name, why)
        events.tell(events.LOST, self._settings.name, {"value": 1}, reason=why)

    def _talk(self) -> None:
        connection = self._connection
        assert connection is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            selector.register(connection, selectors.EVENT_READ)
            while True:
                # Looked at first: what was left before the end is said in the round after that.
                stopping = self._stopping
                now = monotonic()
                gates = self._gates_with_something_to_say(now)
                keys = self._handle.keys.collect(now)
                if gates or now >= self._next_beat:
                    self._say(connection, gates, now)
                if keys:
                    self._say_keys(connection, keys)
                if self._answers_since is None:
                    self._answers()
                if stopping:
                    break
                if self._handle.asks:
                    self._look_up(connection)
                elif not (gates or keys):
                    self._sleep(selector)
                self._hear(connection)

    def _gates_with_something_to_say(self, now: float) -> list[tuple[Gate, Request]]:
        dirty = self._handle.dirty
        gates: dict[Gate, None] = {}
        while dirty:
            # Taken out before it is looked at, so that what comes later is seen later.
            gates[dirty.popitem()[0]] = None
        gates.update((gate, None) for gate in self._polling if now >= gate.next_look)
        found = [(gate, request) for gate in gates if (request := gate.request(now)) is not None]
        for gate in gates:
            if gate.ledger.outgoing:
                dirty[gate] = None
            else:
                self._forget_if_done(gate)
        # Each lock is taken over there in this order, by everybody.
        return sorted(found, key=lambda each: each[0].name)

    def _say(self, connection: Connection, gates: list[tuple[Gate, Request]], now: float) -> None:
        requests = [request for _, request in gates]
        try:
            answers = connection.step(requests, self._settings.ttl)
        except BaseException as error:
            if isinstance(error, NotTaken) and gates:
                self._say_apart(connection, gates, now, error)
                return
            for gate, request in gates:
                gate.put_back(list(request.operations))
            raise
        until = self._answered(now)
        for (gate, _), answer in zip(gates, answers, strict=True):
            gate.tell(answer, until, now)
            self._look_again(gate, now, answer.again)
        self._tell_of_tick(now, requests)

    def _look_again(self, gate: Gate, now: float, again: float | None) -> None:
        """While somebody waits."""
        if not gate.looks:
            self._polling.pop(gate, None)
            self._forget_if_done(gate)
            return
        if gate not in self._polling:
            gate.begin_looking(now, again)
        self._polling[gate] = None

    def _forget_if_done(self, gate: Gate) -> None:
        """The engine need know nothing of a lock any more."""
        if gate.done:
            self._handle.gates.pop(gate.number, None)

    def _say_apart(
        self, connection: Connection, gates: list[tuple[Gate, Request]], now: float, error: NotTaken
    ) -> None:
        """Something of what is asked is not taken. It alone is refused for that."""
        left = deque(gates)
        if len(gates) == 1:
            ((gate, request),) = gates
            left = deque((gate, each) for each in request.apart())
        if len(left) <= 1:
            gate.refuse(request.operations, self._shown(error))
            self._look_again(gate, now, None)
            return
        try:
            while True:
                if not left:
                    break
                self._say(connection, [left.popleft()], now)
        except BaseException:
            for gate, request in left:
                gate.put_back(list(request.operations))
            raise

    def _say_keys(self, connection: Connection, said: Said) -> None:
        now = monotonic()
        self._ask_keys(connection, said)
        self._answered(now)
        self._tell_of_tick(now, [request for _, request in said])

    def _answered(self, sent: float) -> float:
        """A request was answered, which is a sign of life; returns until when that makes grants good."""
        self._next_beat = sent + self._settings.ttl / 3
        return self._handle.heard(sent)

    def _tell_of_tick(self, sent: float, requests: Sequence[Request | KeyRequest]) -> None:
        operations = sum(len(request.operations) for request in requests)
        events.tell(
            events.TICK, self._settings.name, {"seconds": monotonic() - sent, "operations": operations}
        )

    def _ask_keys(self, connection: Connection, said: Said) -> None:
        now = monotonic()
        # Nothing is put back if that fails: it will be made anew from the claims there are.
        answers = self._facts(cast(KeyConnection, connection), [each for _, each in said])
        self._handle.keys.answered(said, answers, now + HELD_SHARE * self._settings.ttl, now)

    def _facts(self, connection: KeyConnection, requests: Sequence[KeyRequest]) -> list[list[KeyFact]]:
        try:
            return connection.keys(requests, self._settings.ttl)
        except NotTaken as error:
            if len(requests) > 1:
                return [facts for each in requests for facts in self._facts(connection, [each])]
            ((registry, operations),) = [(each.registry, each.operations) for each in requests]
            if len(operations) > 1:
                apart = [self._facts(connection, [KeyRequest(registry, [each])]) for each in operations]
                return [[fact for ((fact,),) in apart]]
            why = self._shown(error)
            logger.error("registry %r: the engine does not take what is asked of it: %s", registry, why)
            return [[KeyRefused(EngineRefused(self._settings.name, why))]]

    def _look_up(self, connection: Connection) -> None:
        asks = self._handle.asks
        while asks:
            # Answered, then taken out: if the connection is lost, whoever asked is told so.
            asks[0].run(connection)
            asks.popleft()

    def _hear(self, connection: Connection) -> None:
        granted = connection.notified()
        until = self._handle.valid_until
        for each in granted:
            gate = self._handle.gates.get(each.ref >> 32)
            if gate is not None:
                gate.tell(Answer(gate.ledger.num_slots, gate.ledger.paused, (each,)), until, monotonic())

    def _sleep(self, selector: selectors.BaseSelector) -> None:
        handle = self._handle
        until = min([self._next_beat, handle.keys.next_look, *[gate.next_look for gate in self._polling]])
        self._sleeping = True
        # Whoever has left something before this does not ring.
        if not (handle.dirty or handle.keys.waits or handle.asks or self._stopping):
            selector.select(max(0.0, until - monotonic()))
        self._sleeping = False
        self._bell.quieten()
