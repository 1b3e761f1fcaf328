"""The thread that listens at a control socket: takes lines in, hands answers out, and waits for neither.

What may wait for somebody, or runs code of the program's, is done in a process of its own, so no request, and
no state whose repr hangs, keeps the others from being answered. While nobody asks, the thread sleeps in the
kernel.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..actors import process
from .allowance import Allowance
from .answering import line_of
from .connection import Connection
from .door import Door
from .errors import Refusal
from .following import Follower
from .limits import DEFAULTS, SocketLimits
from .protocol import Request, read_request, refusal
from .served import Carried, Served
from .sockets import hung_up, owner_of

if TYPE_CHECKING:
    from .system import RunningSystem

__all__ = ["Listener"]

logger = logging.getLogger("resprout.control")
_PIECE = 65_536
_LAST_ANSWERS = 2.0
"""Seconds in which a request that was begun with may be answered, should the system end; that for it, say."""
_LINGER = 1.0
"""Seconds in which who is sent away may read why, while what it sends is thrown away."""
_LEFT = 4
"""So many times as there may be clients, requests may go on whose clients have gone."""
_ONLY_WAIT = ("call",)
"""Requests that soon do nothing but wait for what only their client wants, so they end with it."""
_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()


class Listener:
    """Answers at a socket from `start` to `end`.

    Args:
        system: Gives what is asked about, when somebody asks.
        carry_out: Answers a request; called in a process of its own, unless it is quick.
        is_quick: Tells whether a request takes a moment only.
        listening: A socket that listens.
        path: Where; it is removed at the end.
        limits: What clients may ask for.
        peer_user: Tells the user at the other end.
        doors: Where else clients come in.
    """

    def __init__(
        self,
        system: Callable[[], RunningSystem],
        carry_out: Callable[[Request], Any],
        is_quick: Callable[[Request], bool],
        listening: socket.socket,
        path: Path | None,
        limits: SocketLimits = DEFAULTS,
        peer_user: Callable[[socket.socket], int | None] = owner_of,
        doors: Sequence[Door] = (),
    ) -> None:
        self._system = system
        self._do = carry_out
        self._is_quick = is_quick
        self._doors = (Door(listening, path, peer_user), *doors)
        self.path = path
        self._limits = limits
        self._os_pid = os.getpid()
        self._ending = False
        # Who is served next comes first.
        self._clients: dict[int, Served] = {}
        self._left: set[Served] = set()
        self._done: deque[Callable[[], None]] = deque()
        self._told: set[str] = set()
        self._allowance = Allowance(limits.rate, time.monotonic())
        self._selector = selectors.DefaultSelector()
        self._bell, self._rung = socket.socketpair()
        self._bell.setblocking(False)
        self._rung.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        for door in self._doors:
            self._selector.register(door.listening, selectors.EVENT_READ, door)
        self._thread = threading.Thread(target=self._run, name="resprout-control", daemon=True)
        _listeners.add(self)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def end(self) -> None:
        """Removes the socket and has the thread end, without waiting for that; may be repeated."""
        if self._ending or self._os_pid != os.getpid():
            return
        self._ending = True
        for door in self._doors:
            door.remove()
        self._ring()

    def join(self, timeout: float = 5.0) -> None:
        """Waits for the end of the thread."""
        if self._os_pid == os.getpid() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def abandon(self) -> None:
        """In a forked child: gives up what is the parent's to answer."""
        peers = [client.peer for client in (*self._clients.values(), *self._left)]
        for each in (*(door.listening for door in self._doors), self._bell, self._rung, *peers):
            with suppress(OSError):
                each.close()
        with suppress(OSError):
            self._selector.close()
        self._clients.clear()
        self._left.clear()

    def _ring(self) -> None:
        # Anybody may ring from anywhere. That it is full means that it has been rung.
        with suppress(OSError):
            self._rung.send(b"!")

    # The thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                if self._ending:
                    break
                self._step()
            self._finish()
        except Exception:
            logger.exception("the control socket failed; the tree goes on without it")
        finally:
            self._close()

    def _finish(self) -> None:
        """Hands out the answers to what was begun with."""
        for door in self._doors:
            if door.shut_until is None:
                self._selector.unregister(door.listening)
        for client in self._clients.values():
            if client.watched:
                self._selector.unregister(client.peer)
                client.watched = 0
        until = time.monotonic() + _LAST_ANSWERS
        while True:
            self._run_done()
            left = until - time.monotonic()
            if left <= 0 or not any(client.connection.busy for client in self._clients.values()):
                return
            self._selector.select(left)
            with suppress(BlockingIOError):
                self._bell.recv(_PIECE)

    def _run_done(self) -> None:
        # What comes meanwhile rings, so that it is not always this that goes on.
        for _ in range(len(self._done)):
            self._done.popleft()()

    def _step(self) -> None:
        for key, events in self._selector.select(self._patience(time.monotonic())):
            if isinstance(key.data, Door):
                self._accept(key.data)
            elif key.fileobj is self._bell:
                with suppress(BlockingIOError):
                    self._bell.recv(_PIECE)
            else:
                client: Served = key.data
                if events & selectors.EVENT_WRITE:
                    self._write(client)
                if events & selectors.EVENT_READ:
                    self._read(client)
        self._run_done()
        self._look_around()

    def _patience(self, now: float) -> float | None:
        """Seconds until something has to be looked at again though nobody has said anything."""
        times = [due for client in self._clients.values() if (due := client.connection.due()) is not None]
        times += [client.until for client in self._clients.values() if client.until is not None]
        times += [door.shut_until for door in self._doors if door.shut_until is not None]
        if any(client.connection.ready for client in self._clients.values()):
            times.append(now + self._allowance.wait(now))
        return None if not times else max(0.0, min(times) - now)

    def _look_around(self) -> None:
        """Begins what can begin, sends away who is overdue, and watches each for what it is to do next."""
        now = time.monotonic()
        for door in self._doors:
            if door.opens(now):
                self._selector.register(door.listening, selectors.EVENT_READ, door)
        for at, client in list(self._clients.items()):
            if client.until is not None:
                if now >= client.until:
                    self._drop(client)
                continue
            overdue = client.connection.overdue(now)
            if overdue is not None:
                self._send_away(client, overdue)
                continue
            if client.is_stranger:
                self._greet(client, now)
            if client.connection.ready and not client.gone and self._allowance.has_one(now):
                # One request of each in turn: who sends without end leaves the others their share.
                self._clients[at] = self._clients.pop(at)
                self._begin(client, now)
            self._watch(client)

    def _watch(self, client: Served) -> None:
        connection = client.connection
        reads = connection.reads or client.until is not None
        wanted = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if connection.writes else 0)
        if wanted == client.watched or client.gone:
            return
        if not client.watched:
            self._selector.register(client.peer, wanted, client)
        elif not wanted:
            self._selector.unregister(client.peer)
        else:
            self._selector.modify(client.peer, wanted, client)
        client.watched = wanted

    def _accept(self, door: Door) -> None:
        now = time.monotonic()  # The step began before the wait.
        try:
            peer = door.accept(now)
        except OSError as error:
            self._tell_once("accept", f"a client could not be accepted: {error}")
            # Who waits would be reported again at once.
            self._selector.unregister(door.listening)
            return
        if peer is None:
            return
        peer.setblocking(False)
        connection = Connection(self._limits, now, is_awaited=door.asks_for_token)
        client = Served(peer, connection, door if door.asks_for_token else None)
        refused = door.refusal(peer) or self._no_room(client)
        self._clients[peer.fileno()] = client
        if refused is None:
            self._watch(client)
            return
        self._send_away(client, refused)
        if len(self._clients) > 4 * self._limits.clients:
            self._drop(client)

    def _no_room(self, client: Served) -> Refusal | None:
        """Why there is no place for one more; strangers have places of their own, which they may fill."""
        most = self._limits.clients
        if self._places_beside(client) >= most:
            self._let_go()
        if self._places_beside(client) >= most or len(self._left) >= _LEFT * most:
            return Refusal("too_many_clients", f"expected at most {most} clients at once")
        return None

    def _places_beside(self, client: Served) -> int:
        others = (each for each in self._clients.values() if each is not client and each.until is None)
        return sum(each.is_stranger == client.is_stranger for each in others)

    def _greet(self, client: Served, now: float) -> None:
        """Takes the first line of somebody who has to show a token."""
        try:
            line = client.connection.next_line(now)
            if line is None:
                return
            client.greet(line)
            refused = self._no_room(client)
        except Refusal as error:
            refused = error
        if refused is not None:
            self._send_away(client, refused)

    def _let_go(self) -> None:
        """Drops who has gone while a request of it is carried out, during which nothing is read from it."""
        for client in list(self._clients.values()):
            if client.connection.busy and hung_up(client.peer):
                self._drop(client)

    def _read(self, client: Served) -> None:
        connection = client.connection
        try:
            data = client.peer.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if client.until is not None:
            if not data:
                self._drop(client)
            return
        if not data:
            refused = connection.at_end()
            if refused is None:
                self._drop(client)
            else:
                self._send_away(client, refused)
            return
        try:
            connection.received(data, time.monotonic())
        except Refusal as refused:
            self._send_away(client, refused)

    def _write(self, client: Served) -> None:
        connection = client.connection
        try:
            while True:
                if not connection.writes:
                    break
                connection.sent(client.peer.send(connection.outgoing), time.monotonic())
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if client.follower is not None:
            client.follower.tell_left_out(time.monotonic())

    def _send_away(self, client: Served, refused: Refusal) -> None:
        """Says why, and closes the connection a moment later: at once, what is still unread of the client's
        would have the system throw the reason away.
        """
        self._tell_once(refused.kind, refused.message)
        connection = client.connection
        if connection.writes:
            self._drop(client)
            return
        connection.closing = True
        client.until = time.monotonic() + _LINGER
        try:
            client.peer.send(refusal(None, refused))
            client.peer.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(client)
            return
        self._watch(client)

    def _tell_once(self, kind: str, message: str) -> None:
        if kind not in self._told and kind != "idle":
            self._told.add(kind)
            logger.warning("the control socket refused a client (%s): %s", kind, message)

    def _drop(self, client: Served) -> None:
        if self._clients.pop(client.peer.fileno(), None) is None:
            return
        if client.watched:
            self._selector.unregister(client.peer)
            client.watched = 0
        client.gone = True
        if not client.connection.busy:
            self._part_from(client)
            return
        self._left.add(client)
        if client.only_waits and client.worker is not None:
            process.exit(client.worker, "kill")

    def _part_from(self, client: Served) -> None:
        client.close()
        self._left.discard(client)
        for door in self._doors:
            door.hurry(time.monotonic())

    def _close(self) -> None:
        for client in list(self._clients.values()):
            with suppress(OSError):
                self._write(client)
            client.connection.busy = False
            self._drop(client)
        for client in list(self._left):
            self._part_from(client)
        self._selector.close()
        for each in (*(door.listening for door in self._doors), self._bell, self._rung):
            each.close()

    # Requests -------------------------------------------------------------------------------------

    def _begin(self, client: Served, now: float) -> None:
        """Begins with the next request of a client."""
        connection = client.connection
        id: str | int | None = None
        try:
            line = connection.next_line(now)
            if line is None:
                return
            self._allowance.take()
            request = read_request(line)
            id = request.id
        except Refusal as refused:
            if refused.kind == "too_long":
                self._send_away(client, refused)
                return
            if refused.kind == "bad_version":
                self._tell_once(refused.kind, refused.message)
            connection.put(refusal(id, refused), now)
            self._write(client)
            return
        if self._is_quick(request):
            connection.put(self._answer(request, lambda: self._do(request)), time.monotonic())
            self._write(client)
            return
        connection.busy = True
        client.only_waits = request.do in _ONLY_WAIT
        carried = Carried(lambda: self._came_to_nothing(client, request))
        client.worker = process.spawn(self._carry_out, client, request, carried)
        carried.watch(client.worker)

    def _carry_out(self, client: Served, request: Request, carried: Carried) -> None:
        """Runs in a process of its own, with whatever the request does."""
        if request.do == "logs" and request.args.get("follow"):
            line, last = self._follow(client, request)
        else:
            line, last = self._answer(request, lambda: self._do(request)), 0
        rest = self._sent_at_once(client, line)
        carried.out = True
        self._done.append(lambda: self._answered(client, rest, last))
        self._ring()

    def _came_to_nothing(self, client: Served, request: Request) -> None:
        """Runs wherever the process that carried it out has died."""
        ended = Refusal("failed", f"{request.do} failed: the process that carried it out has ended")
        self._done.append(lambda: self._answered(client, refusal(request.id, ended), 0))
        self._ring()

    def _sent_at_once(self, client: Served, line: bytes) -> bytes:
        """Sends from the process that has the answer, which spares the client the wait for another thread.

        Nobody else sends to it, nor closes it, while it is busy.

        Returns:
            What is left to be sent.
        """
        try:
            return line[client.peer.send(line) :]
        except OSError:
            return line  # It has no room, or is gone, which the thread finds out.

    def _answer(self, request: Request, do: Callable[[], Any]) -> bytes:
        return line_of(request, do, self._limits.answer)

    def _answered(self, client: Served, line: bytes, last: int) -> None:
        connection = client.connection
        connection.busy = False
        if client.gone:
            self._part_from(client)
            return
        if line:
            connection.put(line, time.monotonic())
        if client.follower is not None:
            client.follower.begin(last, time.monotonic())
        self._write(client)

    # Following ------------------------------------------------------------------------------------

    def _follow(self, client: Served, request: Request) -> tuple[bytes, int]:
        """Begins to follow, then looks at what there is, so that none is missed; and which is the last."""
        last = 0

        def do() -> list[dict[str, Any]]:
            nonlocal last
            self._do(request)  # It is refused here if it is wrong.
            system = self._system()
            word = request.args.get("child")
            child = None if word is None else system.child_path(word)
            follower = Follower(client.connection, request.id, child)
            follower.leave = system.log_book.follow(lambda record: self._logged(client, follower, record))
            client.follower = follower
            found = system.logs(word, request.args.get("limit", 100))
            last = found[-1]["number"] if found else 0
            return found

        return self._answer(request, do), last

    def _logged(self, client: Served, follower: Follower, record: dict[str, Any]) -> None:
        """Runs in the thread that logs, which may be anywhere."""
        if follower.wants(record):
            self._done.append(lambda: self._pass_on(client, follower, record))
            self._ring()

    def _pass_on(self, client: Served, follower: Follower, record: dict[str, Any]) -> None:
        if not client.gone:
            follower.pass_on(record, time.monotonic())
            self._write(client)


def _abandon_all() -> None:
    """In a forked child: the parent answers."""
    for each in list(_listeners):
        each.abandon()
    _listeners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
