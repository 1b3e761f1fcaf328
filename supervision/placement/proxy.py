"""The process that stands for a placed child: what is sent to it goes there, what comes from there ends it.

It is a server like any other, linked to the supervisor: names, links, monitors and restarts are its. It never
waits, so it runs on the threads of its senders. What they send is pickled before it is delivered, so that
what cannot cross is an error of theirs.
"""

from __future__ import annotations

import functools
import logging
import pickle
from typing import Any, ClassVar

from ...actors import (
    BRUTAL_KILL,
    Bounded,
    ChildSpec,
    Down,
    Exited,
    GenServer,
    MailboxFull,
    NoReply,
    NotPicklable,
    Ok,
    Pid,
    StartError,
    Stop,
    forbid_loop,
    process,
)
from ...actors.engine import (
    ActorStop,
    BoundedMixin,
    Call,
    Cast,
    InlinePid,
    LibraryServer,
    Notice,
    RunnablePid,
    System,
    TaskReply,
    Tick,
    printed,
)
from ...actors.engine import elsewhere as names_elsewhere
from ..readying import ready
from . import frames, logs
from .channel import Begun, Channel, Ending, Nothing, launching
from .crossing import pack, pack_reason
from .far import Ticket

logger = logging.getLogger("resprout.supervision")
_NOT_SENT = (System, Down, Exited, Notice, TaskReply, Tick)


class Packed:
    """A message with its pickle."""

    __slots__ = ("data", "message")

    def __init__(self, message: object, data: bytes) -> None:
        self.message = message
        self.data = data

    def __repr__(self) -> str:
        return repr(self.message)


def _sealed(item: Any) -> Any:
    """A mailbox item whose message has been pickled.

    Raises:
        NotPicklable: It cannot be.
    """
    if item.__class__ is Call or item.__class__ is Cast:
        message = item.message
        if message.__class__ is not Packed and message.__class__ is not ActorStop:
            item.message = Packed(message, pack("message", message))
        return item
    if isinstance(item, _NOT_SENT) or item.__class__ is Packed:
        return item
    return Packed(item, pack("message", item))


class PlacedPid(InlinePid):
    """Of a process that stands for a server elsewhere. Whoever calls it waits for that."""

    __slots__ = ()

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        return RunnablePid.call(self, message, timeout)

    call.__doc__ = RunnablePid.call.__doc__

    def deliver(self, item: Any) -> None:
        super().deliver(item if self._fate else _sealed(item))

    def stop_here(self, reason: object) -> bool:
        return False

    def mailbox_length(self) -> int:
        """What waits to be sent to the child."""
        waiting = getattr(self.state, "outbox", ())
        return super().mailbox_length() + len(waiting)


class BoundedPlacedPid(BoundedMixin, PlacedPid):
    """The same with a limit to what waits to be sent."""

    __slots__ = ("_eager", "_room", "_senders", "bound", "dropped", "rejected")

    def deliver(self, item: Any) -> None:
        super().deliver(item if self._fate else _sealed(item))

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        forbid_loop(f"a call to {self}", "GenServer.acall(server, message)")
        return super().call(Packed(message, pack("message", message)), timeout)

    call.__doc__ = RunnablePid.call.__doc__

    def taken(self, item: Any) -> None:
        """Its place is free when it has been sent, and not before."""

    def sent(self) -> None:
        """What has waited is in the pipe: its place is free."""
        self._room.append(True)
        self._wake_one()
        if self._eager:
            self._tell_the_eager()

    def _drop_oldest(self) -> bool:
        """Throws away what has waited longest, whose place the new one takes."""
        outbox = getattr(self.state, "outbox", None)
        kept: list[Any] = []
        found = False
        while outbox and not found:
            try:
                entry = outbox.popleft()
            except IndexError:
                break
            found = entry.counted
            if not found:
                kept.append(entry)
            else:
                self._count("dropped", entry.call)
                if entry.call is not None:
                    entry.call.answer_error(MailboxFull(self, self.bound.size))
        if outbox is not None:
            outbox.extendleft(reversed(kept))
        return found


class _Ended(System):
    """The child has ended."""

    __slots__ = ("ending", "message")

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        self.message = printed_text(ending.message)
        """What the crash report shows as the last one."""

    def handle(self, pid: Any) -> Any:
        pid.actor.ending = self.ending
        return Stop(self.ending.reason, pid.state)


def printed_text(text: str) -> Any:
    """A text that prints without quotes."""
    return type(printed(None))(text)


class Proxy(GenServer):
    """See the module. Each kind of child has a subclass, by whose name people know it."""

    blocking = False
    trap_exit = True
    stands_for_another = True
    """The work is done elsewhere, for who traces it."""
    _proxied = False
    _way = PlacedPid
    far_traps: ClassVar[bool] = False
    """Whether the child's server traps exits."""
    ending: Ending | None = None

    def init(self, channel: Channel) -> Any:
        """Launches the OS process."""
        pid = channel.proxy = self.pid
        channel.on_end = lambda ending: pid.deliver_from_afar(_Ended(ending))
        channel.on_ready = lambda: ready(pid)
        if isinstance(pid, BoundedPlacedPid):
            channel.on_sent = pid.sent
        channel.launch(pid)
        process.own(channel)
        return Ok(channel)

    def handle_call(self, message: Any, from_: Any, channel: Channel) -> Any:
        """Passes a call on."""
        if message.__class__ is not Packed:
            # The future of somebody who went round `deliver`.
            try:
                message = Packed(message, pack("message", message))
            except NotPicklable as error:
                from_.answer_error(error)
                return NoReply(channel)
        from_.message = message.message
        channel.send_call(frames.CALL, message.data, from_)
        return NoReply(channel)

    def handle_cast(self, message: Any, channel: Channel) -> Any:
        """Passes a cast on."""
        return self._pass_on(frames.CAST, message, channel)

    def handle_info(self, message: Any, channel: Channel) -> Any:
        """Passes a message on; the death of somebody who is linked is the child's to know."""
        if isinstance(message, Exited):
            if message.reason != "normal" or self.far_traps:
                self._exit(message.reason, str(message.pid), channel)
            return NoReply(channel)
        return self._pass_on(frames.SEND, message, channel)

    def _pass_on(self, kind: int, message: Any, channel: Channel) -> Any:
        if message.__class__ is not Packed:
            # Of a timer, which nobody waits for.
            try:
                message = Packed(message, pack("message", message))
            except NotPicklable as error:
                logger.warning("%s: %s", self.pid, error)
                channel.on_sent()
                return NoReply(channel)
        channel.send(kind, message.data)
        return NoReply(channel)

    def format_status(self, state: Any) -> Any:
        """The child's state, as far as it is known."""
        if self.ending is not None:
            return printed_text(self.ending.state or "unknown, as it ended in another OS process")
        return state

    @staticmethod
    def _exit(reason: object, sender: str | None, channel: Channel) -> None:
        channel.ask_to_stop(frames.EXIT, pickle.dumps((pack_reason(reason), sender)))

    def _told_to_stop(self, reason: object, state: Channel, by_parent: bool) -> Any:
        if by_parent and not state.began.done():
            # Who waits for its start has died, and the child, in its init, would not hear of it.
            return Stop(reason, state)
        if by_parent:
            self._exit(reason, None, state)
        else:
            state.ask_to_stop(frames.STOP, pack_reason(reason))
        return NoReply(state)

    def _ask_far(self, call: Any, what: str, args: tuple[Any, ...]) -> bool:
        body = pack(f"request sys.{what}", (what, args, logs.levels()))
        channel: Channel = self.pid.state  # type: ignore[attr-defined]  # a server's Pid
        channel.send_call(frames.SYSTEM, body, call)
        if what in ("suspend", "resume"):
            channel.suspended = what == "suspend"
        return True


def place(spec: ChildSpec, extra: tuple[Any, ...] = ()) -> Pid | None:
    """Starts a child in an OS process of its own, as its start function says, linked to the current process.

    Args:
        spec: The child's spec. A `name` among its keyword arguments is the name here.
        extra: Arguments that come before those of the spec.

    Returns:
        The process that stands for it; None if its start returned None.

    Raises:
        NotPicklable: The start function or its arguments cannot cross.
        StartError: It did not start; AlreadyStarted: its name is taken.
    """
    start, args, kwargs = spec.start
    named = dict(kwargs)
    name = named.pop("name", None)
    data = pack("start of a child", (start, (*extra, *args), named))
    label, module, kind = _described(start, (*extra, *args))
    patience = 0.0 if spec.shutdown is BRUTAL_KILL else spec.shutdown
    limit = patience if isinstance(patience, float) else None
    ticket = Ticket(data, label, limit, logs.levels(), dict(spec.env or ()))
    begin = launching(pickle.dumps(ticket), module, b"__main__" in data)
    channel = Channel(begin, _owner_of, label)
    pid = _proxy_for(label, kind).start_link(channel, name=name)
    assert pid is not None
    outcome = channel.began.result()
    if isinstance(outcome, Begun):
        return pid
    reason = "normal" if isinstance(outcome, Nothing) else outcome.reason
    _take_back(pid, reason)
    if isinstance(outcome, Nothing):
        return None
    raise StartError(reason)


def _take_back(pid: Pid, reason: object) -> None:
    """Ends a process whose child has not started, so that nobody is told of it but who has started it."""
    process.unlink(pid)
    ref = process.monitor(pid)
    pid.end(reason)
    process.receive(lambda message: isinstance(message, Down) and message.ref is ref)


def _described(start: Any, args: tuple[Any, ...]) -> tuple[str, str, Any]:
    """What a child is called, the module that it starts from, and its class, if it has one."""
    made = getattr(start, "__self__", None)
    called = made if isinstance(made, type) else start
    if called is start and args and callable(args[0]):
        # A function of ours that runs one of the program's.
        called = args[0]
    label = getattr(called, "__qualname__", type(called).__name__).rpartition(".")[2]
    module = getattr(called, "__module__", None) or "__main__"
    kind = called if isinstance(called, type) and issubclass(called, GenServer) else None
    return label, module, kind


def _proxy_for(label: str, kind: Any) -> type[Proxy]:
    return _proxy_class(label, getattr(kind, "mailbox", None), getattr(kind, "trap_exit", False))


@functools.lru_cache(maxsize=256)
def _proxy_class(label: str, mailbox: Any, traps: bool) -> type[Proxy]:
    options: dict[str, Any] = {"far_traps": traps}
    if isinstance(mailbox, Bounded):
        options["_way"] = BoundedPlacedPid
        options["mailbox"] = mailbox
    return type(label, (Proxy,), options)


def _owner_of(name: str) -> bytes:
    """Who has a name here, for a child that misses it or would take it, pickled."""
    pid = process.whereis(name)
    if pid is None:
        # This one may be a placed child itself.
        return pickle.dumps(names_elsewhere.in_parent(name))
    actor = pid.actor
    what = actor._what if isinstance(actor, LibraryServer) else f"a {pid.kind}"
    return pickle.dumps(names_elsewhere.Owner(what, getattr(actor, "_one_per_tree", False)))
