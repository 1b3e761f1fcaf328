"""What a placed child uses of its parent besides its server's messages: names, and what rooms above add.

A second pipe, so that nothing here waits behind a long message or a full mailbox. Both ends are alike:
whoever asks is answered by number, what is told goes to the *session* of its service, in order. Nobody waits
on the thread of the hub, at either end: an answer that may take its time is made on the pool.

A service is found by its name in the entry points of the group `resprout.placed`, as a room above this one
has declared it, and loaded by the first child that uses it.
"""

from __future__ import annotations

import functools
import logging
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from ...actors import Pid
from ...actors.engine import counter, elsewhere, kernel
from .frames import Frame, FrameReader, packed
from .hub import hub
from .parent import LOCKS, REGISTRIES, parents
from .writing import PIECE, Writer

logger = logging.getLogger("resprout.supervision")
GROUP: Final = "resprout.placed"
ANSWER: Final = 1
NAMES: Final = 2
SERVICES: Final = {LOCKS: "locks", REGISTRIES: "registries"}
"""The kinds of frames, and which service has each. A frame with a number asks, one without tells."""


class Session(Protocol):
    """A service in the parent, for one child."""

    def take(self, body: bytes) -> None:
        """Something was told. On the thread of the hub, which must not wait, nor run code of users."""

    def answer(self, body: bytes) -> bytes:
        """Something was asked. On a thread of the pool, which may wait."""

    def end(self) -> None:
        """There is no OS process any more. On the thread of the hub."""


@functools.lru_cache
def service(name: str) -> Any:
    """What a room above offers for placed children.

    Raises:
        LookupError: No room is installed that does.
    """
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    raise LookupError(f"no room of resprout serves {name} over the pipe: install it anew")


class ServicePipe:
    """One end of the pipe; see the module.

    Args:
        end: Of the pipe.
        answer: Called on the pool with what somebody asks: its kind and its body.
    """

    def __init__(self, end: socket.socket, answer: Callable[[int, bytes], bytes] | None = None) -> None:
        self.owner: Pid | None = None
        self.on_told: dict[int, Callable[[bytes], object]] = {}
        self.on_end: list[Callable[[], object]] = []
        """Told when the other end is gone."""
        self._answer = answer
        self._asked: dict[int, _Question] = {}
        self._numbers = counter(1)
        self._outbox: deque[bytes] = deque()
        self._reader = FrameReader()
        self._unwatched = [True]
        self._writer = Writer(end, lambda: bool(self._outbox), self._take, self._look)

    @property
    def open(self) -> bool:
        """Whether there is somebody at the other end."""
        return self._writer.open

    def begin(self) -> None:
        """Has the hub look at it, from the first call on."""
        try:
            # Of all who come here one gets it; nobody waits, as this may be a signal handler.
            self._unwatched.pop()
        except IndexError:
            return
        hub.enter()
        hub.post(self._writer.watch)

    def tell(self, kind: int, body: bytes) -> None:
        """Sends something. Never waits; safe anywhere."""
        self._send(kind, 0, body)

    def ask(self, kind: int, body: bytes) -> bytes | None:
        """Asks and waits for the answer; None when the other end is gone. Not on the thread of the hub."""
        self.begin()
        number = next(self._numbers)
        question = self._asked[number] = _Question()
        self._send(kind, number, body)
        if not self.open:
            question.answer(None)
        return question.wait()

    def _send(self, kind: int, number: int, body: bytes) -> None:
        self._outbox.append(packed(kind, number, body))
        self._writer.flush()

    def _take(self) -> bytes | None:
        try:
            return self._outbox.popleft()
        except IndexError:
            return None

    # On the thread of the hub ---------------------------------------------------------------------

    def _look(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._writer.room()
        if mask & selectors.EVENT_READ and not self._read():
            self._lost()

    def _read(self) -> bool:
        try:
            piece = self._writer.end.recv(PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for frame in self._reader.feed(piece) if piece else ():
            try:
                self._deal_with(frame)
            except Exception:
                logger.exception("what a placed child or its parent said could not be dealt with")
        return bool(piece)

    def _deal_with(self, frame: Frame) -> None:
        if frame.kind == ANSWER:
            question = self._asked.pop(frame.number, None)
            if question is not None:
                question.answer(frame.body)
        elif frame.number:
            kernel.pool.submit(_Asked(self, frame))
        else:
            # What was never asked about has no session, and says nothing.
            self.on_told[frame.kind](frame.body)

    def answer(self, frame: Frame) -> None:
        """On the pool: answers what was asked."""
        body = b""
        try:
            if self._answer is not None:
                body = self._answer(frame.kind, frame.body)
        except Exception:
            logger.exception("a question of a placed child was not answered")
        self._send(ANSWER, frame.number, body)

    def _lost(self) -> None:
        self._writer.unwatch()
        while True:
            if not self._asked:
                break
            try:
                self._asked.popitem()[1].answer(None)
            except KeyError:
                break
        while True:
            if not self.on_end:
                break
            self.on_end.pop()()

    def close(self) -> None:
        """The OS process at the other end is gone: nothing that it still says counts."""
        self._lost()
        self._writer.close()
        if not self._unwatched:
            hub.leave()

    def leave_to_parent(self) -> None:
        """In a forked process: it is the parent's."""
        self._writer.open = False
        self._writer.end.close()
        self._asked.clear()
        self.on_end.clear()


class _Question:
    """Something that was asked, until there is an answer."""

    __slots__ = ("_answered", "_body")

    def __init__(self) -> None:
        self._body: bytes | None = None
        self._answered = threading.Event()

    def answer(self, body: bytes | None) -> None:
        """Wakes whoever waits."""
        self._body = body
        self._answered.set()

    def wait(self) -> bytes | None:
        self._answered.wait()
        return self._body


class _Asked:
    """A task of the pool: somebody has asked."""

    __slots__ = ("_frame", "_pipe")

    def __init__(self, pipe: ServicePipe, frame: Frame) -> None:
        self._pipe = pipe
        self._frame = frame

    def run(self, worker: object) -> None:
        self._pipe.answer(self._frame)


class Sessions:
    """The services of one child, in its parent.

    Args:
        name_owner: Answers the child's question for a name, with a pickle.
    """

    def __init__(self, end: socket.socket, name_owner: Callable[[str], bytes]) -> None:
        self.pipe = ServicePipe(end, self._answer)
        self._name_owner = name_owner
        self._sessions: dict[int, Session] = {}
        self._over = False

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind == NAMES:
            return self._name_owner(body.decode("utf-8", "surrogatepass"))
        session = self._sessions.get(kind)
        if session is None:
            # Two questions may come here at once: one of the sessions counts.
            made = service(SERVICES[kind]).serve(self.pipe)
            session = self._sessions.setdefault(kind, made)
            # Nothing is told before this was answered.
            self.pipe.on_told[kind] = session.take
            if self._over:
                session.end()
        return session.answer(body)

    def end(self) -> None:
        """There is no OS process any more. On the thread of the hub."""
        self._over = True
        self.pipe.on_told.clear()
        for session in list(self._sessions.values()):
            session.end()
        self.pipe.close()


def _leave_to_parent() -> None:
    """In a forked process: the tree is not its."""
    for pipe in parents:
        assert isinstance(pipe, ServicePipe)
        pipe.leave_to_parent()
    if parents:
        elsewhere.ask.clear()
        elsewhere.finders.clear()
    parents.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
