"""What a server is made of: its class options, and the callbacks that its subclasses override."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal

from typing_extensions import TypeVar

from ..vocabulary.messages import NoReply, Ok, Stop
from ..vocabulary.pykka_types import ActorBase

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeAlias

    from ..vocabulary.messages import Constant, Reply

State = TypeVar("State", default=Any)
Request = TypeVar("Request", default=Any)
Answer = TypeVar("Answer", default=Any)
logger = logging.getLogger("resprout")
CALLBACKS = ("init", "handle_call", "handle_cast", "handle_info", "handle_continue", "terminate")


if TYPE_CHECKING:
    # The base's callbacks are the type of both kinds, plain functions and coroutine functions.
    _T = TypeVar("_T")
    _Result: TypeAlias = _T | Awaitable[_T]


class Callbacks(ActorBase, Generic[State, Request, Answer]):
    """The side of a `GenServer` that its engine sees; users meet it as part of that."""

    trap_exit: ClassVar[bool] = False
    blocking: ClassVar[bool] = True
    mailbox: ClassVar[Any] = None
    loop: ClassVar[Literal["here", "runtime"] | None] = None
    _stops_children: ClassVar[bool] = False
    """Whether those that it has started are stopped in order when it is stopped."""
    _async: ClassVar[bool | None] = None
    _proxied: ClassVar[bool] = True
    """Whether Pykka's proxies may reach into it; otherwise their messages are like any other."""
    _way: ClassVar[Any] = None
    """The class of its Pid, where that is none of the three usual ones."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._async = None

    @classmethod
    def is_async(cls) -> bool:
        """Whether any callback is a coroutine function."""
        known = cls.__dict__.get("_async")
        if known is None:
            known = any(inspect.iscoroutinefunction(getattr(cls, name)) for name in CALLBACKS)
            cls._async = known
        return bool(known)

    def _ask_far(self, call: Any, what: str, args: tuple[Any, ...]) -> bool:
        """Have a request of `sys` answered by another process that this one stands for, if it does."""
        return False

    def _told_to_stop(self, reason: object, state: Any, by_parent: bool) -> Any:
        """What comes of a stop that was asked for, or of the parent's exit signal."""
        return Stop(reason, state)

    # -- callbacks -----------------------------------------------------------

    def init(self, arg: Any, /) -> _Result[Ok[State] | Stop[State] | Constant]:
        """Make the first state. Runs in the new process, before the start function returns.

        Returns:
            ``Ok(state)``, ``IGNORE``, or ``Stop(reason)``. By default ``Ok(arg)``.
        """
        if isinstance(arg, type) and issubclass(arg, Callbacks) and Callbacks in type(self).__bases__:
            # Elixir's start_link(module, arg), which would start a server without callbacks here.
            raise TypeError(f"expected the class to start itself, as in {arg.__name__}.start_link(...)")
        return Ok(arg)

    def handle_call(
        self, message: Request, from_: Any, state: State, /
    ) -> _Result[Reply[Answer, State] | NoReply[State] | Stop[State]]:
        """Answer a request: ``Reply``, ``NoReply`` (answer later with ``GenServer.reply(from_, value)``) or
        ``Stop``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} got the call {message!r} but defines no handle_call"
        )

    def handle_cast(self, message: Request, state: State, /) -> _Result[NoReply[State] | Stop[State]]:
        """Handle a request that wants no answer: ``NoReply`` or ``Stop``."""
        raise NotImplementedError(
            f"{type(self).__name__} got the cast {message!r} but defines no handle_cast"
        )

    def handle_info(self, message: Any, state: State, /) -> _Result[NoReply[State] | Stop[State]]:
        """Handle any other message (sends, ``Down``, ``Exited``, ``TIMEOUT``): ``NoReply`` or ``Stop``."""
        logger.warning("%s got a message that it does not handle: %r", self._pid, message)
        return NoReply(state)

    def handle_continue(self, token: Any, state: State, /) -> _Result[NoReply[State] | Stop[State]]:
        """Go on after a result with ``continue_with=token``, before any message: ``NoReply`` or ``Stop``."""
        raise NotImplementedError(
            f"{type(self).__name__} continues with {token!r} but defines no handle_continue"
        )

    def terminate(self, reason: Any, state: State, /) -> Any:
        """Clean up. Called when a callback stopped or raised, and for a trapping server when its parent ends
        or tells it to.

        Not called when the process is killed, or dies of an exit signal that it does not trap.
        """

    def format_status(self, state: State, /) -> Any:
        """What crash reports and ``sys.get_status`` show for the state; override it to hide secrets."""
        return state
