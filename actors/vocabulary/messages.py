"""The values that processes exchange with the runtime: notices, callback results, and two small Protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypedDict, runtime_checkable

import attrs
from typing_extensions import TypeVar, Unpack

from ..primitives.atomic import counter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What a result carries. Covariant: a Reply[bool, int] is a Reply[int, int | None].
Answer = TypeVar("Answer", default=Any, covariant=True)
State = TypeVar("State", default=Any, covariant=True)


class Constant:
    """A named singleton; compares by identity and prints as its name."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name


class Done:
    """What an asynchronous form returns that has nothing to wait for: to be awaited, or not."""

    __slots__ = ()

    def __await__(self) -> Iterator[None]:
        return iter(())


DONE = Done()


IGNORE: Final = Constant("IGNORE")
"""Returned by ``init``: do not start, and that is no error (``:ignore``)."""
TIMEOUT: Final = Constant("TIMEOUT")
"""What ``handle_info`` gets when the ``timeout`` of the last result passed without a message
(``:timeout``).
"""
NOTHING: Final = Constant("NOTHING")
"""No value given, where None could be one."""

_ref_ids = counter(1)


class Notice:
    """The base of messages that a bounded mailbox takes beyond its limit, since they must arrive.

    For what our own servers tell of themselves, seldom; see ``resprout.actors.servers.bounded``.
    """

    __slots__ = ()


class Ref:
    """One monitor: unique, hashable, compared by identity."""

    __slots__ = ("flushed", "id", "target", "watcher")

    def __init__(self, watcher: Any, target: Any) -> None:
        self.flushed = False
        self.id = next(_ref_ids)
        self.watcher = watcher
        self.target = target

    def __repr__(self) -> str:
        return f"#Ref<{self.id}>"


@attrs.frozen
class Down:
    """What a monitor delivers, once: ``{:DOWN, ref, :process, pid, reason}``."""

    ref: Ref
    pid: Any
    reason: object


class TaskReply(tuple[Ref, Any]):
    """The message with a task's result: a plain ``(ref, result)``, of a class of its own so that one which
    comes after nobody wants it any more can be thrown away on arrival.
    """

    __slots__ = ()


@attrs.frozen
class TaskExit:
    """What stands in the place of a result that did not come: ``{:exit, reason}``.

    Attributes:
        reason: why: an exit reason, or ``"timeout"`` for an item of a stream that took too long. In a stream
            with ``zip_input_on_exit`` the pair of the item and that.
    """

    reason: object


@attrs.frozen
class Exited:
    """What an exit signal becomes for a process that traps exits: ``{:EXIT, pid, reason}``."""

    pid: Any
    reason: object


_NO_EVENTS: Final[tuple[Any, ...]] = ()


class StageOptions(TypedDict, total=False):
    """What the ``Ok`` of a stage may say beside the state; see ``resprout.stages``."""

    dispatcher: Any
    demand: Literal["forward", "accumulate"]
    buffer_size: Any
    buffer_keep: Literal["first", "last"]
    subscribe_to: Iterable[Any]


class _More:
    """What a result says that only a stage can be told."""

    __slots__ = ("more",)
    more: Any


# The four results below are made once a message, so they are mutable (a frozen attrs instance costs 0.4 us
# more) and treated as immutable. What only stages may say makes a result one of another class, which no
# other server takes: so nobody looks for it in vain, and nothing that was said is passed over.
@attrs.define(init=False)
class Ok(_More, Generic[State]):
    """``init`` succeeded: ``{:ok, state}``.

    Args:
        state: the server's first state; None if it is left out.
        timeout: seconds without a message after which ``handle_info(TIMEOUT, state)`` is called.
        continue_with: calls ``handle_continue(token, state)`` before any message.
        options: of a stage only: ``dispatcher``, ``subscribe_to`` and so on; see ``resprout.stages``.
    """

    # A type checker wants the first state; `Ok()` says None, as nothing is lost by it.
    state: State  # type: ignore[misc]  # of __attrs_init__, which nobody calls
    timeout: float | None = None
    continue_with: Any = NOTHING

    if TYPE_CHECKING:

        def __init__(
            self,
            state: State,
            timeout: float | None = None,
            continue_with: Any = NOTHING,
            **options: Unpack[StageOptions],
        ) -> None: ...

    else:

        def __init__(self, state=None, timeout=None, continue_with=NOTHING, **options):
            self.state = state
            self.timeout = timeout
            self.continue_with = continue_with
            if options:
                for name in options:
                    if name not in StageOptions.__annotations__:
                        raise TypeError(f"Ok has no argument {name!r}")
                self.more = options
                self.__class__ = OkWithOptions


@attrs.define
class OkWithOptions(Ok[State]):
    """See there: what only a stage can be told, which is ``more``."""

    more: Any = ()


# In the two below a state that is left out would be a state lost, so that is a TypeError.
@attrs.define(init=False)
class Reply(_More, Generic[Answer, State]):
    """``handle_call`` answers: ``{:reply, value, state}``; ``timeout`` and ``continue_with`` as in Ok. A
    stage may say ``events=[...]``, which are sent first.
    """

    value: Answer  # type: ignore[misc]  # as above
    state: State  # type: ignore[misc]  # as above
    timeout: float | None = None
    continue_with: Any = NOTHING

    def __init__(
        self,
        value: Answer,
        state: State,
        timeout: float | None = None,
        continue_with: Any = NOTHING,
        *,
        events: Iterable[Any] = _NO_EVENTS,
    ) -> None:
        self.value = value
        self.state = state
        self.timeout = timeout
        self.continue_with = continue_with
        if events is not _NO_EVENTS:
            self.more = events
            self.__class__ = ReplyWithEvents


@attrs.define
class ReplyWithEvents(Reply[Answer, State]):
    """See there: what only a stage can be told, which is ``more``."""

    more: Any = ()


@attrs.define(init=False)
class NoReply(_More, Generic[State]):
    """A callback goes on without an answer: ``{:noreply, state}``; answer later with ``GenServer.reply``. A
    stage may say ``events=[...]``, which go to its consumers.
    """

    state: State  # type: ignore[misc]  # as above
    timeout: float | None = None
    continue_with: Any = NOTHING

    def __init__(
        self,
        state: State,
        timeout: float | None = None,
        continue_with: Any = NOTHING,
        *,
        events: Iterable[Any] = _NO_EVENTS,
    ) -> None:
        self.state = state
        self.timeout = timeout
        self.continue_with = continue_with
        if events is not _NO_EVENTS:
            self.more = events
            self.__class__ = NoReplyWithEvents


@attrs.define
class NoReplyWithEvents(NoReply[State]):
    """See there: what only a stage can be told, which is ``more``."""

    more: Any = ()


@attrs.define
class Stop(Generic[State]):
    """End the server: ``{:stop, reason, state}``, with ``reply=`` to answer the call first. From init:
    ``{:stop, reason}``.

    Differs from OTP: without a state, ``terminate`` gets the one that the server has.
    """

    reason: object
    state: State = NOTHING  # type: ignore[assignment]
    reply: Any = NOTHING


class ExitSignal:
    """An exit signal on its way to a process that must die between two messages."""

    __slots__ = ("reason",)

    def __init__(self, reason: object) -> None:
        self.reason = reason


class Resource(Protocol):
    """Something whose life is tied to a process by ``pid.attach``.

    Both methods are called exactly once an attachment, in whatever thread carries the death out: they never
    block, never call user code, and take no blocking lock.
    """

    def owner_died(self, pid: Any, reason: object) -> None:
        """The process is logically dead; comes before anybody else is told."""

    def owner_left(self, pid: Any) -> None:
        """No code of the process runs any more; comes after owner_died."""


@runtime_checkable
class Named(Protocol):
    """A name that somebody else keeps: Elixir's ``{:via, module, term}``."""

    def register_name(self, pid: Any) -> None:
        """Take the name for pid; raises AlreadyRegistered."""

    def unregister_name(self, pid: Any) -> None:
        """Give the name up, if pid has it."""

    def whereis_name(self) -> Any:
        """Return the living process that has the name."""
