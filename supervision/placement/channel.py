"""The parent's side of the pipe to one placed child: what waits to be sent, and what comes."""

from __future__ import annotations

import logging
import os
import pickle
import selectors
import signal
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from ...actors import Crash, Future, Pid
from ...actors.engine import Call, LoopBell, Waiter, counter
from . import frames, logs
from .crossing import unpack, unpack_reason
from .frames import Frame, FrameReader
from .hub import hub
from .launching import UNGUARDED, MainNotGuarded, launch
from .serial import Serial
from .services import Sessions
from .writing import PIECE, Writer

logger = logging.getLogger("resprout.supervision")
RECORDS = 10_000
"""Log records of all children that may wait to be told."""
EXITING = "exit"

_records = Serial(RECORDS, lambda count: logger.warning("%d log records of placed children left out", count))
channels: weakref.WeakSet[Channel] = weakref.WeakSet()


@attrs.frozen
class Ending:
    """How a child ended: its exit reason, and what it was doing, as text."""

    reason: Any
    message: str = ""
    state: str = ""


@attrs.frozen
class Begun:
    """The child's start is over, and there is a server."""


@attrs.frozen
class Nothing:
    """The child's start returned None: there is no server, and that is fine."""


@attrs.define(eq=False)
class _Entry:
    """Something that waits to be sent; those of messages have a place in the mailbox."""

    data: bytes
    call: Call | None = None
    counted: bool = False


class _GaveUp:
    """Called back when a call is over, for whatever cause."""

    __slots__ = ("channel", "number")

    def __init__(self, channel: Channel, number: int) -> None:
        self.channel = channel
        self.number = number

    def __call__(self, call: Any) -> None:
        self.channel.pending.pop(self.number, None)


class Channel:
    """One child, from its launch to the end of its OS process.

    Whoever sends writes to the pipe, as far as that takes it; the thread of the hub does the rest, and all
    the reading. Nobody waits here.

    Args:
        launching: Starts the OS process, given the child's ends of the pipes.
        name_owner: Answers a child's question for a name, with a pickle.
    """

    def __init__(
        self, launching: Callable[[Any, Any], Any], name_owner: Callable[[str], bytes], label: str
    ) -> None:
        self._launching = launching
        self._name_owner = name_owner
        self.label = label
        self.began: Future[Any] = Future()
        """Begun, Nothing or an Ending."""
        self.gone = threading.Event()
        """Set when there is no OS process any more."""
        self.later = Serial()
        self.pending: dict[int, Call] = {}
        self.outbox: deque[_Entry] = deque()
        self.asked = False
        self.suspended = False
        """Whether the server there looks at requests of `sys` only."""
        self.ending: Ending | None = None
        self.popen: Any = None
        self.proxy: Any = None
        """The process that stands for the child here; its log records are that one's."""
        self.on_ready: Callable[[], object] = lambda: None
        self.on_end: Callable[[Ending], object] = lambda ending: None
        self.on_sent: Callable[[], object] = lambda: None
        self._urgent: deque[bytes] = deque()
        self._paused = False
        self._numbers = counter(1)
        self._reader = FrameReader()
        self._pipe: Any = None
        self._writer: Writer | None = None
        self._sessions: Sessions | None = None

    def __repr__(self) -> str:
        pid = getattr(self.popen, "pid", None)
        return f"<OS process {pid} of {self.label}>"

    def launch(self, owner: Pid) -> None:
        """Starts the OS process.

        Args:
            owner: The process that stands for it.

        Raises:
            OSError: There is no room for another one.
        """
        pipe, far_pipe = socket.socketpair()
        services, far_services = socket.socketpair()
        try:
            self.popen = self._launching(far_pipe, far_services)
        except BaseException:
            pipe.close()
            services.close()
            raise
        finally:
            far_pipe.close()
            far_services.close()
        self._pipe = pipe
        self._writer = Writer(pipe, self._has_output, self._next_frame, self._look)
        self._sessions = Sessions(services, self._name_owner)
        self._sessions.pipe.owner = owner
        channels.add(self)
        hub.enter()
        hub.post(self._watch)
        self._sessions.pipe.begin()

    # Sending --------------------------------------------------------------------------------------

    def send_call(self, kind: int, body: bytes, call: Call) -> None:
        """Sends a request, whose answer completes the call. A call that is over by then is left out."""
        number = next(self._numbers)
        self.pending[number] = call
        call.add_done_callback(_GaveUp(self, number))
        data = frames.packed(kind, number, body)
        if self.suspended and kind == frames.SYSTEM:
            self._urgent.append(data)
        else:
            self.outbox.append(_Entry(data, call, kind == frames.CALL))
        self._flush()

    def send(self, kind: int, body: bytes) -> None:
        """Sends a message."""
        self.outbox.append(_Entry(frames.packed(kind, 0, body), None, counted=True))
        self._flush()

    def ask_to_stop(self, kind: int, body: bytes) -> None:
        """Asks the child to end; overtakes what waits to be sent."""
        self.asked = True
        self._urgent.append(frames.packed(kind, 0, body))
        self._flush()

    def _has_output(self) -> bool:
        return bool(self._urgent or (self.outbox and not self._paused))

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def _next_frame(self) -> bytes | None:
        if self._urgent:
            return self._urgent.popleft()
        if self._paused:
            return None
        while self.outbox:
            try:
                entry = self.outbox.popleft()
            except IndexError:
                break
            if entry.counted:
                self.on_sent()
            if entry.call is None or not entry.call.done():
                return entry.data
        return None

    # On the thread of the hub ---------------------------------------------------------------------

    def _watch(self) -> None:
        assert self._writer is not None
        self._writer.watch()
        if os.name == "posix":
            hub.selector.register(self.popen.sentinel, selectors.EVENT_READ, self._look_at_end)

    def _look(self, mask: int) -> None:
        assert self._writer is not None
        if mask & selectors.EVENT_WRITE:
            self._writer.room()
        if mask & selectors.EVENT_READ and not self._read():
            self._writer.unwatch()
            if os.name != "posix":
                self._end(self.popen.wait(5.0))

    def _read(self) -> bool:
        """Takes one piece, so that a child that floods leaves the others their turn; False at the end."""
        try:
            piece = self._pipe.recv(PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for frame in self._reader.feed(piece) if piece else ():
            try:
                self._take(frame)
            except Exception:
                logger.exception("a message of %r could not be read", self)
        return bool(piece)

    def _look_at_end(self, mask: int) -> None:
        code = self.popen.poll()
        if code is None:
            return
        hub.selector.unregister(self.popen.sentinel)
        if code == 255 and self._goes_on():
            return
        self._gone(code)

    def _goes_on(self) -> bool:
        """Of a fork server that was killed: nobody knows of its children. This one is ended, and awaited."""
        self.kill()
        try:
            watch = os.pidfd_open(self.popen.pid)
        except (AttributeError, OSError):
            # Gone by now, or there is no such thing to wait for.
            return False
        hub.selector.register(watch, selectors.EVENT_READ, lambda mask: self._ended_at_last(watch))
        return True

    def _ended_at_last(self, watch: int) -> None:
        hub.selector.unregister(watch)
        os.close(watch)
        self._gone(255)

    def _gone(self, code: int) -> None:
        if self._pipe.fileno() in hub.selector.get_map():
            while self._more_to_read():
                pass
        self._end(code)

    def _more_to_read(self) -> bool:
        """Reads what a process that has ended has left in the pipe, whoever else has it open."""
        try:
            if not self._pipe.recv(1, socket.MSG_PEEK):
                return False
        except OSError:
            return False
        return self._read()

    def _end(self, code: Any) -> None:
        assert self._writer is not None
        assert self._sessions is not None
        self._writer.unwatch()
        # What it had here is free before anybody comes in its place.
        self._sessions.end()
        if self.ending is None:
            self.ending = Ending((EXITING, code))
            if code == UNGUARDED and not self.began.done():
                self.ending = Ending(Crash(MainNotGuarded()))
            self._tell_end()
        self.popen.close()
        self._writer.close()
        self.gone.set()
        hub.leave()

    def _tell_end(self) -> None:
        ending = self.ending
        assert ending is not None
        if not self.began.try_set(ending):
            self.later.add(lambda: self.on_end(ending))

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case frames.REPLY:
                call = self.pending.pop(frame.number, None)
                if call is not None and not call.done():
                    self._answer(call, unpack(frame.body), None)
            case frames.ERROR:
                call = self.pending.pop(frame.number, None)
                if call is not None and not call.done():
                    self._answer(call, None, unpack_reason(frame.body))
            case frames.LOG:
                _records.add(lambda: logs.retell(frame.body, self.proxy))
            case frames.PAUSE:
                self._paused = True
            case frames.RESUME:
                self._paused = False
                self._flush()
            case frames.READY:
                self.later.add(self.on_ready)
            case frames.STARTED:
                self.began.try_set(Begun())
            case frames.IGNORED:
                self.ending = Ending("normal")
                self.began.try_set(Nothing())
            case frames.FAILED:
                self.ending = Ending(unpack_reason(frame.body))
                self.began.try_set(self.ending)
            case frames.ENDED:
                reason, message, state = pickle.loads(frame.body)
                self.ending = Ending(unpack_reason(reason), message, state)
                self._tell_end()
            case unknown:
                raise ValueError(f"expected a frame from a child, got one of kind {unknown}")

    def _answer(self, call: Call, value: Any, error: Any) -> None:
        def answer() -> None:
            if error is None:
                call.answer(value)
            else:
                call.answer_error(error)

        # What a program has asked to be called back with may wait; whoever waits for an answer is woken here.
        if self.later or not all(isinstance(each, (Waiter, LoopBell, _GaveUp)) for each in call._callbacks):
            self.later.add(answer)
        else:
            answer()

    # The end of the OS process: what a process that owns this does to it ---------------------------

    def poll(self) -> int | None:
        """None while there is an OS process."""
        return 0 if self.popen is None or self.gone.is_set() else None

    def terminate(self) -> None:
        """Has it end: it has been asked, so by SIGTERM; or it was not, and is killed."""
        if self.ending is not None:
            return
        if self.asked:
            self._signal(signal.SIGTERM)
        else:
            self.kill()

    def kill(self) -> None:
        """Ends it whatever it does."""
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    def wait(self, timeout: float | None = None) -> None:
        """Waits for its end."""
        if self.poll() is None:
            self.gone.wait(timeout)

    def leave_to_parent(self) -> None:
        """In a forked process: the child is the parent's, and ends when that does."""
        if self._writer is not None:
            self._writer.open = False
            self._pipe.close()
        if self._sessions is not None:
            self._sessions.pipe.leave_to_parent()

    def _signal(self, number: int) -> None:
        if self.poll() is not None:
            return
        try:
            os.kill(self.popen.pid, number)
        except ProcessLookupError:
            pass


def _leave_to_parent() -> None:
    """In a forked process: the children are the parent's, and end when it does."""
    for channel in list(channels):
        channel.leave_to_parent()
    channels.clear()


def launching(ticket: bytes, module: str, needs_main: bool) -> Callable[[Any, Any], Any]:
    """What starts the OS process of a channel; see `launching.launch`."""
    return lambda *pipes: launch(pipes, ticket, module, needs_main)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
