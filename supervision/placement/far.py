"""The child's side: an OS process with one server of the tree in it, which this process stands above.

The main thread starts the server, is its parent, and says how it ended. One more thread reads the pipe and
delivers what comes; whoever answers writes. The OS process ends with the server, and not long after the
process that it is a child of.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections import deque
from typing import Any

import attrs

from ...actors import (
    Crash,
    Down,
    Exited,
    MailboxFull,
    NotPicklable,
    Pid,
    ServerExit,
    StartError,
    process,
    telemetry,
)
from ...actors.engine import (
    BoundedMixin,
    Call,
    Cast,
    RunnablePid,
    ask_later,
    crossing,
    elsewhere,
    end_interpreter,
    has_room,
    kernel,
    lock,
    offer,
    request_stop,
    when_room,
)
from ..readying import BecameReady, waiting
from . import frames, logs
from .crossing import pack, pack_reason, unpack, unpack_reason
from .frames import Frame, FrameReader
from .parent import ask_parent, parents
from .services import NAMES, ServicePipe, service
from .writing import PIECE

logger = logging.getLogger("resprout.supervision")
GROUP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""The signals that a whole process group gets when somebody means the program."""


@attrs.frozen
class Ticket:
    """What a child is told at its launch.

    Attributes:
        start: The start function with its arguments, pickled.
        label: What it is called.
        patience: Seconds that its end may take when its parent has died; None for any time.
        levels: What is logged.
        env: Environment variables over those of the parent.
    """

    start: bytes
    label: str
    patience: float | None
    levels: tuple[int, dict[str, int]]
    env: dict[str, str] = attrs.field(factory=dict, repr=False)


class _Told:
    """A request of the parent's, for the main thread."""

    __slots__ = ("frame",)

    def __init__(self, frame: Frame | None) -> None:
        self.frame = frame


def main(pipe: socket.socket, services: socket.socket, ticket: bytes) -> None:
    """Is a placed child, until that ends."""
    for number in GROUP:
        # A handler, and not SIG_IGN, which the programs that the child starts would inherit.
        signal.signal(number, _ignore)
    parents[:] = [ServicePipe(services)]
    elsewhere.finders[:] = [_find]
    Child(pipe, pickle.loads(ticket)).run()


def _ignore(number: int, frame: object) -> None:
    """The process group is signalled; the tree stops its children in order."""


class Child:
    """See the module."""

    def __init__(self, pipe: socket.socket, ticket: Any) -> None:
        self._pipe = pipe
        self._ticket = ticket
        self._writing = lock()
        self._delivering = lock()
        self._waiting: deque[Frame] = deque()
        self._paused = False
        self._root: Any = None
        self._main = process.current()
        self._last = ("", "")

    def run(self) -> None:
        """Starts the server, waits for its end, and ends the OS process."""
        os.environ.update(self._ticket.env)
        logs.take_levels(self._ticket.levels)
        logging.root.handlers[:] = [logs.Forwarding(self._forward, self._is_told_otherwise)]
        elsewhere.ask[:] = [_ask_name]
        telemetry.attach("resprout.placement", ("resprout", "process", "crashed"), self._note_crash)
        process.trap_exit(True)
        threading.Thread(target=self._read, name="resprout-placed", daemon=True).start()
        started, body = self._start()
        if self._root is None:
            self._end(started, body)
        ref = process.monitor(self._root)
        self._send(started)
        waiting.listen(self._root, self._main)
        with self._delivering:
            self._deliver_waiting()
        while True:
            message = process.receive()
            if isinstance(message, Down) and message.ref is ref:
                break
            try:
                self._take(message)
            except Exception:
                logger.exception("a request to a placed child failed")
        told = (pack_reason(message.reason), *self._last)
        self._end(frames.ENDED, pickle.dumps(told))

    def _end(self, kind: int, body: bytes) -> None:
        end_interpreter()
        self._send(kind, 0, body)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # closed, or of a program that has replaced it: nobody to tell
                pass
        os._exit(0)

    # Starting -------------------------------------------------------------------------------------

    def _start(self) -> tuple[int, bytes]:
        try:
            start, args, kwargs = pickle.loads(self._ticket.start)
            made = start(*args, **kwargs)
        except StartError as error:
            return frames.FAILED, pack_reason(error.reason if type(error) is StartError else error)
        except BaseException as error:
            return frames.FAILED, pack_reason(getattr(error, "reason", Crash(error)))
        if made is None:
            return frames.IGNORED, b""
        root = made if isinstance(made, Pid) else None
        if root is None or root is self._main:
            problem = TypeError(
                f"expected the start to return the Pid of a new process or None, got: {made!r}"
            )
            return frames.FAILED, pack_reason(Crash(problem))
        process.link(root)
        self._root = root
        return frames.STARTED, b""

    # On the main thread ---------------------------------------------------------------------------

    def _take(self, message: object) -> None:
        if isinstance(message, BecameReady):
            self._send(frames.READY)
        elif isinstance(message, _Told):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            frame = message.frame
            if frame is None:
                self._stop_orphan()
            elif frame.kind == frames.STOP:
                self._stop(unpack_reason(frame.body))
            else:
                body, sender = pickle.loads(frame.body)
                self._signal(unpack_reason(body), sender)

    def _stop(self, reason: object) -> None:
        if isinstance(self._root, RunnablePid):
            request_stop(self._root, reason, None, waits=False)
        else:
            self._root.signal(None, reason, direct=True)

    def _signal(self, reason: object, sender: str | None) -> None:
        """An exit signal of the supervisor, or of somebody else, whose Pid has not come along."""
        if sender is None:
            process.unlink(self._root)
            process.exit(self._root, reason)
        elif self._root.trap_exit:
            self._root.send(Exited(sender, reason))
        else:
            process.exit(self._root, reason)

    def _stop_orphan(self) -> None:
        patience = self._ticket.patience
        if patience is not None:
            if not patience:
                os._exit(1)
            threading.Thread(target=_exit_after, args=(patience,), daemon=True).start()
        self._signal("shutdown", None)

    # Reading --------------------------------------------------------------------------------------

    def _read(self) -> None:
        reader = FrameReader()
        while True:
            try:
                piece = self._pipe.recv(PIECE)
            except OSError:
                piece = b""
            if not piece:
                break
            for frame in reader.feed(piece):
                if frame.kind in (frames.EXIT, frames.STOP):
                    self._main.send(_Told(frame))
                else:
                    with self._delivering:
                        self._take_in(frame)
        if self._root is None:
            # Its start is not over, and nobody waits for it.
            os._exit(1)
        self._main.send(_Told(None))

    def _take_in(self, frame: Frame) -> None:
        root = self._root
        if frame.kind == frames.SYSTEM and root is not None and getattr(root, "_suspended", False):
            # It would pass over all that is before this.
            self._deliver(frame, root)
            return
        self._waiting.append(frame)
        if not self._paused:
            self._deliver_waiting()

    def _deliver_waiting(self) -> None:
        """Delivers what has come, as far as a limited mailbox takes it; with the right to deliver."""
        root = self._root
        if root is None:
            return
        while True:
            if not self._waiting:
                break
            if isinstance(root, BoundedMixin) and not has_room(root):
                if not self._paused:
                    self._paused = True
                    self._send(frames.PAUSE)
                when_room(root, lambda: kernel.pool.submit(_Later(self._go_on)))
                return
            frame = self._waiting.popleft()
            try:
                self._deliver(frame, root)
            except Exception:
                logger.exception("%s: a message from another OS process could not be delivered", root)
        if self._paused:
            self._paused = False
            self._send(frames.RESUME)

    def _go_on(self) -> None:
        with self._delivering:
            self._deliver_waiting()

    def _deliver(self, frame: Frame, root: Any) -> None:
        limit = root.bound.size if isinstance(root, BoundedMixin) else 0
        try:
            message = unpack(frame.body)
        except NotPicklable as error:
            if frame.number:
                self._send(frames.ERROR, frame.number, pack_reason(error))
            else:
                logger.warning("%s: %s", root, error)
            return
        if frame.kind == frames.CALL:
            if not isinstance(root, RunnablePid):
                problem = TypeError(
                    f"{root} is a {root.kind}, which answers no calls; send it a message instead"
                )
                self._send(frames.ERROR, frame.number, pack_reason(problem))
                return
            call: Any = Call(message, root, None)
            call.promise()
            call.add_done_callback(lambda done: self._answer(frame.number, done, exact=True))
            if not offer(root, call) and not call.done():
                call.answer_error(MailboxFull(root, limit))
        elif frame.kind == frames.SYSTEM:
            what, args, levels = message
            logs.take_levels(levels)
            exact = what in ("get_state", "replace_state")
            asked: Any = ask_later(what, root, args)
            asked.add_done_callback(lambda done: self._answer(frame.number, done, exact=exact))
        else:
            offer(
                root,
                Cast(message) if frame.kind == frames.CAST and isinstance(root, RunnablePid) else message,
            )

    def _answer(self, number: int, call: Any, *, exact: bool) -> None:
        value, error = call._box[0]
        if error is None:
            try:
                body = pack("reply", value) if exact else crossing(value)
                self._send(frames.REPLY, number, body)
                return
            except NotPicklable as problem:
                error = problem
        elif isinstance(error, ServerExit) and error.pid is self._root:
            # Told by its end.
            return
        self._send(frames.ERROR, number, pack_reason(error))

    # Writing --------------------------------------------------------------------------------------

    def _send(self, kind: int, number: int = 0, body: bytes = b"") -> None:
        try:
            with self._writing:
                self._pipe.sendall(frames.packed(kind, number, body))
        except OSError:
            # The parent is gone, which the reading thread notices, too.
            pass

    def _forward(self, record: bytes) -> None:
        self._send(frames.LOG, 0, record)

    # Crash reports --------------------------------------------------------------------------------

    def _note_crash(self, event: object, measurements: object, metadata: Any) -> None:
        report = metadata["report"]
        if report.pid is self._root:
            self._last = (report.last_message, report.state)

    def _is_told_otherwise(self, record: Any) -> bool:
        """Whether the parent makes the report itself."""
        report = getattr(record, "crash_report", None)
        return report is not None and report.pid is self._root


class _Later:
    """A task of the pool."""

    __slots__ = ("_step",)

    def __init__(self, step: Any) -> None:
        self._step = step

    def run(self, worker: object) -> None:
        self._step()


def _find(what: str, name: str) -> Any:
    return service(what).find(name)


def _ask_name(name: str) -> Any:
    """Asks the parent who has a name there."""
    answer = ask_parent(NAMES, name.encode("utf-8", "surrogatepass"))
    return None if answer is None else pickle.loads(answer)


def _exit_after(seconds: float) -> None:
    time.sleep(seconds)
    os._exit(1)
