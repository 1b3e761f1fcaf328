"""GenServer: a process that keeps a state and answers requests, one at a time.

Semantics: Elixir's ``GenServer``, OTP gen_server(3).
"""

from __future__ import annotations

from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, overload

from typing_extensions import TypeVar

from ..processes.ambient import current
from ..processes.pid import Pid
from ..processes.resolving import resolve
from ..processes.resources import disown, own
from ..runtime.call import Call
from ..runtime.call_cycles import begin, check, suspects
from ..runtime.future import Future
from ..runtime.parking import check_timeout, forbid_loop, need_loop
from ..runtime.thread_state import check_alive, dead_but_running, task_of
from ..vocabulary.child_spec import FIELDS, ChildSpec, child_spec
from ..vocabulary.errors import CallCycle, NoProcess, NotFound, SelfCall, ServerExit, no_process
from ..vocabulary.messages import DONE, Done
from ..vocabulary.pykka_types import ActorBase
from .callbacks import Answer, Callbacks, Request, State
from .dispatch import StopRequest, request_stop
from .runnable import is_itself
from .serving import serve
from .starting import astart_server, early_pid, start_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from typing_extensions import Unpack

    from ..vocabulary.child_fields import ChildFields, NamedChildFields
    from ..vocabulary.messages import Named
    from ..vocabulary.pykka_types import ForeignActorRef

# The same of whoever is called, in functions that belong to no server.
Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Arg = TypeVar("Arg", contravariant=True)
Given = TypeVar("Given")


if TYPE_CHECKING:
    _OfSomebody: TypeAlias = str | Named | ForeignActorRef


class Starts(Protocol[Arg]):
    """A server whose init takes such an argument, for type checkers."""

    def init(self, arg: Arg, /) -> Any:
        """See `GenServer.init`."""


class GenServer(Callbacks[State, Request, Answer], Generic[State, Request, Answer]):
    """Subclass it, override the callbacks you need, and start it.

    Use it for anything that owns state or a resource. When there is neither, a plain function is better; for
    a piece of state with no behaviour use ``Agent``; for one computation use ``Task``.

    Each callback gets the state and returns the next one in a result: ``Ok``, ``Reply``, ``NoReply``,
    ``Stop`` or ``IGNORE``. A callback that raises ends the process with ``Crash(exception)``. Callbacks may
    be coroutine functions; such a server runs on an event loop (see ``loop``).

    Example:
        >>> class Counter(GenServer):
        ...     def init(self, start):
        ...         return Ok(start)
        ...     def handle_call(self, message, from_, state):
        ...         return Reply(state + 1, state + 1)
        >>> counter = Counter.start(41)
        >>> counter.call("next")
        42
        >>> counter.stop()
        True

    Class options:
        trap_exit: exit signals of linked processes come as ``Exited`` messages (the parent's ends the server
            in order).
        blocking: False is a promise that callbacks never block; they then run on the sender's thread.
        mailbox: a ``Bounded(size, on_full=...)``; None for a mailbox without limit, as in OTP.
        loop: of a server with coroutine callbacks, ``"here"`` for the event loop where it, or its tree, was
            started, ``"runtime"`` for the runtime's own; by default here when it was started in a coroutine.

    Keyword arguments of the class are fields of its child spec, Elixir's ``use GenServer, restart:
    :transient``:

        >>> class Import(GenServer, restart="transient", shutdown=30.0): ...
        >>> Import.child_spec().restart
        'transient'
    """

    _fields: ClassVar[Mapping[str, Any]] = {}
    """The keyword arguments of the class that are fields of its child spec, without those of its bases."""

    def __init_subclass__(cls, **fields: Unpack[ChildFields]) -> None:
        own = {name: value for name, value in fields.items() if name in FIELDS}
        try:
            super().__init_subclass__(**{name: fields[name] for name in fields.keys() - own})  # type: ignore[literal-required]  # a mixin's
        except TypeError:
            if len(own) == len(fields):
                raise
            # Nobody knows it: probably a misspelt field.
            own = dict(fields)
        if own:
            child_spec({"id": cls.__name__, "start": cls.start_link, **own})
            cls._fields = own

    @property
    def pid(self) -> Pid:
        """The Pid of this process, in ``__init__``, too."""
        return self._known()

    def _known(self) -> Pid:
        # By ``__getattr__`` it would be had without a call, and every look at a callback would be slower.
        try:
            return self._pid  # type: ignore[no-any-return]  # Pykka's side knows no Pid
        except AttributeError:
            return early_pid(self)

    @staticmethod
    def _create_future() -> Any:
        return Future()

    own = staticmethod(own)
    """What the server opens and holds dies with it: ``GenServer.own(thing, close=None) -> thing``, in a
    callback; see ``process.own``.
    """
    disown = staticmethod(disown)
    """See ``process.disown``."""

    # -- starting ------------------------------------------------------------

    @overload  # type: ignore[override]  # Pykka's start takes what the constructor takes
    @classmethod
    def start(
        cls: type[Starts[None]], *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @overload
    @classmethod
    def start(
        cls: type[Starts[Given]], arg: Given, *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @classmethod
    def start(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """Start a server that is linked to nobody.

        Args:
            arg: what init gets.
            name: a local name (str) or a Via, registered before init runs.
            timeout: seconds that init may take, None for ever.

        Returns:
            The Pid; None when init returned IGNORE.

        Raises:
            StartError: init failed, with its reason.
            AlreadyStarted: the name is taken.
            TypeError: name is neither a str nor a Via. Whatever else a name's register_name raises
                (``UnknownRegistry``, the ValueError of a registry with duplicate keys) comes as it is.
        """
        if dead_but_running:
            check_alive()
        return start_server(cls(), arg, name, timeout, link=False)

    @overload
    @classmethod
    def start_link(
        cls: type[Starts[None]], *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @overload
    @classmethod
    def start_link(
        cls: type[Starts[Given]], arg: Given, *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @classmethod
    def start_link(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """Start a server linked to the current process, as a child of a supervisor is; otherwise like start.

        Differs from OTP: when init fails, the starter gets the StartError only, and no exit signal besides.
        """
        check_alive()
        return start_server(cls(), arg, name, timeout, link=True)

    @overload
    @classmethod
    async def astart(
        cls: type[Starts[None]], *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @overload
    @classmethod
    async def astart(
        cls: type[Starts[Given]], arg: Given, *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @classmethod
    async def astart(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """The form of start for coroutines."""
        check_alive()
        return await astart_server(cls(), arg, name, timeout, link=False)

    @overload
    @classmethod
    async def astart_link(
        cls: type[Starts[None]], *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @overload
    @classmethod
    async def astart_link(
        cls: type[Starts[Given]], arg: Given, *, name: str | Named | None = None, timeout: float | None = None
    ) -> Pid[Request, Answer]: ...

    @classmethod
    async def astart_link(cls, arg: Any = None, *, name: Any = None, timeout: float | None = None) -> Any:
        """The form of start_link for coroutines."""
        check_alive()
        return await astart_server(cls(), arg, name, timeout, link=True)

    @overload
    @classmethod
    async def aserve(
        cls: type[Starts[None]],
        *,
        name: str | Named | None = None,
        timeout: float | None = None,
        shutdown: float | None = 5.0,
        task_status: Any = None,
    ) -> None: ...

    @overload
    @classmethod
    async def aserve(
        cls: type[Starts[Given]],
        arg: Given,
        *,
        name: str | Named | None = None,
        timeout: float | None = None,
        shutdown: float | None = 5.0,
        task_status: Any = None,
    ) -> None: ...

    @classmethod
    async def aserve(
        cls,
        arg: Any = None,
        *,
        name: Any = None,
        timeout: float | None = None,
        shutdown: float | None = 5.0,
        task_status: Any = None,
    ) -> None:
        """Start a server and be it: the coroutine runs as long as the server does, so that a server is a
        child of an ``asyncio.TaskGroup``: ``group.create_task(Orders.aserve(pool, name="orders"))``.

        When the coroutine is cancelled, as a group does with all of its tasks when one of them has failed,
        the server is stopped in order (its ``terminate`` runs) before the cancellation goes on; cancelled
        once more, or when it takes too long, it is killed. It is not started anew: that is what
        ``resprout.task_group()`` and supervisors do.

        Args:
            arg: what init gets.
            name: a local name (str) or a Via, by which others find it.
            timeout: seconds that init may take, None for ever.
            shutdown: seconds that it may take to stop, None for ever.
            task_status: what anyio gives with ``await group.start(Orders.aserve)``, which then returns the
                Pid when the server has started.

        Raises:
            ServerExit: it crashed, or was killed. One that ends in order is no error.
            StartError, AlreadyStarted: as start.
        """
        check_alive()
        pid = await astart_server(cls(), arg, name, timeout, link=False)
        if pid is not None:
            await serve(pid, shutdown, task_status)

    # -- the client side -----------------------------------------------------

    @overload
    @staticmethod
    def call(server: Pid[Asked, Answered], message: Asked, timeout: float | None = 5.0) -> Answered: ...

    @overload
    @staticmethod
    def call(server: _OfSomebody, message: Any, timeout: float | None = 5.0) -> Any: ...

    @staticmethod
    def call(server: Any, message: Any, timeout: float | None = 5.0) -> Any:
        """Send a request and wait for the answer; see ``Pid.call``."""
        if dead_but_running:
            check_alive()
        return resolve(server).call(message, timeout)

    @overload
    @staticmethod
    async def acall(
        server: Pid[Asked, Answered], message: Asked, timeout: float | None = 5.0
    ) -> Answered: ...

    @overload
    @staticmethod
    async def acall(server: _OfSomebody, message: Any, timeout: float | None = 5.0) -> Any: ...

    @staticmethod
    async def acall(server: Any, message: Any, timeout: float | None = 5.0) -> Any:
        """Send a request and await the answer, in any event loop, without blocking it. Cancelling drops the
        answer.

        Raises:
            CallTimeout, NoProcess, ServerExit: as for call.
        """
        if dead_but_running:
            check_alive()
        if timeout.__class__ is not float or not timeout >= 0.0:
            check_timeout(timeout)
        pid = resolve(server)
        if pid._fate:
            raise no_process(pid)
        loop = _get_running_loop()
        if loop is None or task_of(loop) is None:
            loop = need_loop("GenServer.acall()")
        caller = current(loop)
        if pid is caller:
            raise SelfCall(
                f"{pid} calls itself and would wait for its own answer; call a function instead, or cast"
            )
        looks = caller.starter is not None or suspects
        if looks:
            check(caller, pid)
        call = pid.ask_at_once(message, caller, loop)
        if call._box:
            return call.take()
        if looks:
            try:
                begin(caller, pid, call)
            except CallCycle:
                call.cancel()
                raise
        return await call.await_answer(timeout, loop)

    @overload
    @staticmethod
    def cast(server: Pid[Asked, Any], message: Asked) -> None: ...

    @overload
    @staticmethod
    def cast(server: _OfSomebody, message: Any) -> None: ...

    @staticmethod
    def cast(server: Any, message: Any) -> None:
        """Send a request without waiting. To nobody is no error, as in Elixir."""
        if dead_but_running:
            check_alive()
        try:
            pid = resolve(server)
        except (NoProcess, NotFound):
            # NotFound: the registry of a Via is not there.
            return
        pid.cast(message)

    @overload
    @staticmethod
    def acast(server: Pid[Asked, Any], message: Asked) -> Done: ...

    @overload
    @staticmethod
    def acast(server: _OfSomebody, message: Any) -> Done: ...

    @staticmethod
    def acast(server: Any, message: Any) -> Done:
        """The form of cast for coroutines: an idle server of the same loop handles it at once, up to where
        its callback first waits, with no turn of the loop in between. (After 256 such steps in a row, calls
        included, the next one waits for a turn.) There is nothing to await, and whoever writes ``await`` gets
        None without a wait.
        """
        if dead_but_running:
            check_alive()
        try:
            pid = resolve(server)
        except (NoProcess, NotFound):
            return DONE
        pid.cast_at_once(message)
        return DONE

    @overload
    @staticmethod
    def send_request(server: Pid[Asked, Answered], message: Asked) -> Future[Answered]: ...

    @overload
    @staticmethod
    def send_request(server: _OfSomebody, message: Any) -> Future[Any]: ...

    @staticmethod
    def send_request(server: Any, message: Any) -> Future[Any]:
        """Send a request; the answer comes in the future, as does a NoProcess when there is no such server,
        and a ServerExit when it dies first.
        """
        if dead_but_running:
            check_alive()
        try:
            pid = resolve(server)
        except NoProcess as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed
        return pid.request(message)

    @staticmethod
    def reply(from_: Any, value: Any) -> None:
        """Answer a call from anywhere; the second answer, and one that nobody waits for any more, are
        dropped.
        """
        check_alive()
        if not isinstance(from_, Call):
            raise TypeError(f"expected from_ as handle_call got it, got: {from_!r}")
        from_.answer(value)

    def stop(self: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """End a server in order: it runs terminate and exits with the reason. Returns when it is dead.

        Written ``GenServer.stop(server)``, with any server argument in the place of self; ``self.stop()``
        inside a callback is Pykka's form, which returns at once and ends the server after the callback.

        Raises:
            NoProcess: it was dead already.
            ServerExit: it ended with another reason.
            CallTimeout: it did not end in time; it goes on with that.
        """
        if dead_but_running:
            check_alive()
        if isinstance(self, ActorBase):
            stopping = self._known()
            stopping.deliver(StopRequest(reason))
            return
        forbid_loop("GenServer.stop", "GenServer.astop(...)")
        if timeout is not None:
            check_timeout(timeout)
        pid = resolve(self)
        if pid.dead:
            raise no_process(pid)
        if not pid.stop_here(reason):
            request = _stop_request(pid, reason)
            if not request.done():
                request.wait_for_answer(timeout)
        _check_stopped(pid, reason)

    @staticmethod
    async def astop(server: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """The form of stop for coroutines."""
        check_alive()
        check_timeout(timeout)
        loop = need_loop("GenServer.astop()")
        pid = resolve(server)
        if pid.dead:
            raise no_process(pid)
        await _stop_request(pid, reason).await_answer(timeout, loop)
        _check_stopped(pid, reason)

    @classmethod
    def child_spec(cls, arg: Any = None, **overrides: Unpack[NamedChildFields]) -> ChildSpec:
        """The child spec for a supervisor: id is the class's name, start is start_link(arg), unless the
        keyword arguments of the class say otherwise.

        Args:
            arg: what init gets.
            overrides: any field of ChildSpec; also ``name``, which start_link gets.
        """
        start = {"name": overrides.pop("name")} if "name" in overrides else {}
        fields: dict[str, Any] = {}
        for each in reversed(cls.__mro__):
            # No two classes have one id.
            fields.pop("id", None)
            fields.update(each.__dict__.get("_fields", {}))
        made = {"id": cls.__name__, "start": (cls.start_link, (arg,), start)}
        return child_spec({**made, **fields, **overrides})


def _stop_request(pid: Pid, reason: object) -> Call:
    caller = current()
    if is_itself(caller, pid):
        raise SelfCall(
            f"{pid} stops itself and would wait for its own end; return Stop(reason, state) instead"
        )
    return request_stop(pid, reason, caller, waits=True)


def _check_stopped(pid: Pid, reason: object) -> None:
    ended = pid._fate[0]
    if ended is reason:
        return
    try:
        same = bool(ended == reason)
    except Exception:  # a reason of the user's whose comparison raises is another one
        same = False
    if not same:
        raise ServerExit(ended, pid, ("stop", reason))
