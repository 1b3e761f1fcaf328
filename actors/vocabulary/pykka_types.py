"""The one file that tames Pykka: what resprout's processes, refs and futures take over from it, and what
they replace.

Pykka keeps three hooks for implementors of actor types (``_create_actor_inbox``, ``_create_future``,
``_start_actor_loop``) and an ActorRef that copies five attributes of the actor. We keep the types, so that
``isinstance(pid, pykka.ActorRef)``, ``tell``, ``ask``, ``stop`` and ``proxy`` work, and compute the
attributes instead of storing them: an idle process must be small, and needs neither a uuid nor a
threading.Event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import pykka
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop

if TYPE_CHECKING:
    # The ref of an actor that knows nothing of resprout.
    ForeignActorRef: TypeAlias = pykka.ActorRef[pykka.ThreadingActor]

ActorStop = _ActorStop
ACTOR_LOOP = pykka.Actor._actor_loop.__code__
"""The function in which the thread of a Pykka actor stays."""
PYKKA_MESSAGES = frozenset({ProxyCall, ProxyGetAttr, ProxySetAttr, _ActorStop})
T = TypeVar("T")


class Stopped:
    """Looks like the ``threading.Event`` that Pykka keeps as ``actor_stopped``."""

    __slots__ = ("_pid",)

    def __init__(self, pid: Any) -> None:
        self._pid = pid

    def is_set(self) -> bool:
        return not self._pid.alive


class Inbox:
    """Looks like the inbox that Pykka's refs put envelopes into."""

    __slots__ = ("_pid",)

    def __init__(self, pid: Any) -> None:
        self._pid = pid

    def put(self, envelope: Any, /) -> None:
        """Deliver an envelope of Pykka's."""
        self._pid.put_envelope(envelope.message, envelope.reply_to)

    def get(self) -> Any:
        raise NotImplementedError("a resprout process takes its messages itself")

    def empty(self) -> bool:
        return bool(self._pid.mailbox_length() == 0)


class RefBase(pykka.ActorRef[pykka.Actor]):
    """A pykka.ActorRef whose attributes are computed."""

    __slots__ = ()

    if not TYPE_CHECKING:
        # Pykka declares them as attributes, so a type checker would not let properties stand in for them.
        actor_class = property(lambda self: type(self.actor) if self.actor is not None else pykka.Actor)
        actor_urn = property(lambda self: f"urn:resprout:{self.id}")
        actor_inbox = property(lambda self: Inbox(self))
        actor_stopped = property(lambda self: Stopped(self))
        _actor_weakref = property(lambda self: lambda: self.actor)
        _actor = property(lambda self: self.actor)


class ActorBase(pykka.Actor):
    """A pykka.Actor that a Pid runs; constructing it costs nothing."""

    __slots__ = ("_pid",)
    _pid: Any

    def __init__(self) -> None:
        # Pykka's own makes a uuid, an Event and a ref; the Pid is all three.
        pass

    if TYPE_CHECKING:

        def _known(self) -> Any:
            """Its Pid, which `GenServer` makes for code in ``__init__``, where a Pykka actor has its ref."""

    else:
        actor_urn = property(lambda self: self._known().actor_urn)
        actor_inbox = property(lambda self: self._known().actor_inbox)
        actor_stopped = property(lambda self: self._known().actor_stopped)
        _actor_ref = property(lambda self: self._known())

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise NotImplementedError("a resprout process has its inbox in its Pid")

    def _start_actor_loop(self) -> None:
        raise NotImplementedError("start it with MyServer.start or MyServer.start_link")

    def handle_pykka(self, message: Any) -> Any:
        """Let Pykka carry out a message of its own (proxy access)."""
        return self._handle_receive(message)

    def stop(self) -> None:
        self._known().stop(block=False)


class FutureBase(pykka.Future[T]):
    """A pykka.Future without its constructor, which would give every future a ``__dict__``."""

    __slots__ = ()
    _get_hook = None

    if TYPE_CHECKING:

        def __init__(self) -> None: ...


class ForeignRef(RefBase):
    """The attributes of a ref that stands for one of Pykka's own: those of that one, so a proxy finds the
    actor.
    """

    __slots__ = ()

    if not TYPE_CHECKING:
        actor_class = property(lambda self: self.ref.actor_class)
        actor_urn = property(lambda self: self.ref.actor_urn)
        actor_inbox = property(lambda self: self.ref.actor_inbox)
        actor_stopped = property(lambda self: self.ref.actor_stopped)
        _actor_weakref = property(lambda self: self.ref._actor_weakref)
        _actor = property(lambda self: self.ref._actor_weakref())


def ask_foreign(ref: Any, message: object, reply_to: Any) -> None:
    """Put a request into the inbox of a Pykka actor, which completes ``reply_to``."""
    ref.actor_inbox.put(Envelope(message, reply_to=reply_to))


def constructed_by(start: object) -> type | None:
    """The class whose constructor gets what ``start`` gets; None if that is not the ``start`` of a Pykka
    actor.
    """
    owner = getattr(start, "__self__", None)
    if not (isinstance(owner, type) and issubclass(owner, pykka.Actor)):
        return None
    return owner if getattr(start, "__func__", None) is pykka.Actor.start.__func__ else None  # type: ignore[attr-defined]  # it is a class method


def is_foreign(ref: object) -> bool:
    """Tell whether ref belongs to a Pykka actor that knows nothing of resprout."""
    return isinstance(ref, pykka.ActorRef) and not isinstance(ref, RefBase)
