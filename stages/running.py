"""How a stage runs: what is put before the callbacks of a subclass, so that a server does a stage's work.

A stage's object is of a class that is made once for each subclass and stands in front of it: the mailbox's
items come to the methods here, which take a step of the core and call the subclass's own callbacks where the
core says so. The state of the server is that of the callbacks alone.
"""

from __future__ import annotations

import logging
import types
from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, Final

import attrs

from ..actors import NOTHING, BadReturn, NoReply, NotFound, Ok, Pid, Ref, Reply, Stop, process, telemetry
from ..actors.engine import Bursts, Cast, OkWithOptions, ReplyWithEvents, kernel
from .core import Core
from .errors import SubscriptionCycle
from .messages import CountBuffered, GetDemand, LookAgain, PutBehind, SetDemand, SubscribeTo
from .options import StageSettings
from .outside import Invoke, StageKind

DISCARDED: Final = ("resprout", "stages", "discarded")
OVERRIDDEN: Final = frozenset({"init", "handle_call", "handle_cast", "handle_info", "handle_continue"})
PRODUCING: Final = ("dispatcher", "demand", "buffer_size", "buffer_keep")
OPTIONS: Final[dict[StageKind, tuple[str, ...]]] = {
    "producer": PRODUCING,
    "producer_consumer": ("dispatcher", "buffer_size", "buffer_keep", "subscribe_to"),
    "consumer": ("subscribe_to",),
}
logger = logging.getLogger("resprout.stages")


@attrs.frozen
class Configured:
    """The argument of an init, with options that count more than those that it gives, and more producers."""

    arg: Any
    options: Mapping[str, Any]


@attrs.frozen
class _Several:
    """More than one token to continue with, since more than one callback wanted that."""

    tokens: tuple[Any, ...]


class Surroundings:
    """What the core of a stage does beyond itself: the `Outside` of it."""

    __slots__ = ("_actor", "_bursts", "kind", "producers")

    def __init__(self, actor: Running) -> None:
        self._actor = actor
        self._bursts = Bursts()
        self.kind = actor._kind
        self.producers: tuple[Pid, ...] = ()
        """Whom the stage is subscribed to. Replaced whole, as others read it."""

    @property
    def me(self) -> Pid:
        """The stage."""
        return self._actor.pid

    def send(self, pid: Pid, message: object) -> None:
        """Send a message."""
        pid.send(message)

    def find(self, server: Any) -> Pid | None:
        """The living process behind a server argument; None if there is none.

        Raises:
            SubscriptionCycle: It gets its events from this stage.
            ValueError: It is a consumer.
        """
        try:
            pid = process.whereis(server)
        except NotFound:
            # The registry of a Via is not there.
            pid = None
        if pid is None:
            return None
        if kind_of(pid) == "consumer":
            raise ValueError(f"expected a producer to subscribe to, got: {pid}, which is a consumer")
        before = self.producers
        # Noted before the look, so that of two who close a circle at the same time one sees the other.
        self.producers = (*before, pid)
        chain = _way(pid, self.me)
        if chain:
            self.producers = before
            raise SubscriptionCycle((self.me, *chain))
        return pid

    def monitor(self, pid: Pid) -> Ref:
        """Be told of its death."""
        return process.monitor(pid)

    def demonitor(self, ref: Ref) -> None:
        """Be told no more."""
        process.demonitor(ref, flush=True)

    def subscribed_to(self, pids: Sequence[Pid]) -> None:
        """These are the producers now."""
        self.producers = tuple(pids)

    def warn_of_demand(self, text: str) -> None:
        """Write what a dispatcher says of its consumers to the log: the first of a burst, and how many."""
        held = self._bursts.tell("demand", kernel.clock.now())
        if held is not None:
            self.warn("%s%s", text, f" (and {held} times before)" if held else "")

    def warn(self, text: str, *args: object) -> None:
        """Write a line to the log."""
        logger.warning("stage %s: " + text, self.me, *args)

    def discarded(self, count: int) -> None:
        """Tell of events that were dropped: by telemetry, and in the log as the callback says."""
        if telemetry.enabled(DISCARDED):
            telemetry.emit(DISCARDED, {"count": count}, {"pid": self.me})
        actor = self._actor
        if not actor.format_discarded(count, actor._core.state):
            return
        held = self._bursts.tell(DISCARDED, kernel.clock.now())
        if held is not None:
            more = f" (and {held} times before)" if held else ""
            total = actor._core.buffer.dropped
            self.warn("dropped %d events from its full buffer%s; %d so far", count, more, total)


def kind_of(pid: Pid) -> StageKind | None:
    """What kind of stage a process is, if it is one."""
    actor = pid.actor
    return actor._kind if isinstance(actor, Running) else None


def _way(start: Pid, end: Pid) -> tuple[Pid, ...]:
    """How one stage is subscribed to another; empty if it is not."""
    came_by: dict[Pid, Pid | None] = {start: None}
    to_see = [start]
    while to_see:
        pid = to_see.pop()
        if pid is end:
            way = [pid]
            while (before := came_by[way[-1]]) is not None:
                way.append(before)
            return tuple(reversed(way))
        surroundings = getattr(pid.actor, "_surroundings", None)
        for producer in getattr(surroundings, "producers", ()):
            if producer not in came_by:
                came_by[producer] = pid
                to_see.append(producer)
    return ()


class Running:
    """Stands before the callbacks of a stage; see the module."""

    _kind: ClassVar[StageKind]
    _core: Core
    _given: Any = None
    """The state that the server has, as far as is known here."""
    _surroundings: Surroundings
    pid: Pid
    format_discarded: Any

    def __init_subclass__(cls) -> None:
        """Those of the stage are told of its own class, with its keywords, and not of the one in front."""

    # What the server calls ------------------------------------------------------------------------

    def init(self, arg: Any) -> Any:
        return self._drive(self._begin(arg))

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return self._drive(self._called(message, from_, state))

    def handle_cast(self, message: Any, state: Any) -> Any:
        return self._drive(self._was_cast(message, state))

    def handle_info(self, message: Any, state: Any) -> Any:
        return self._drive(self._took(message, state))

    def handle_continue(self, token: Any, state: Any) -> Any:
        return self._drive(self._continued(token, state))

    def cut_off(self, item: Any) -> None:
        """An interrupt has hit the handling of an item: what it left half done is mended before anything else
        is done, and a message between stages that was not taken is taken again.
        """
        core = getattr(self, "_core", None)
        if core is None:
            return
        core.was_cut = True
        pid: Any = self.pid
        if pid.state is self._given:
            pid.state = self._given = core.state
        first = pid._saved or pid.mailbox()
        if core.is_to_be_taken_again(item.message if isinstance(item, Cast) else item):
            first.appendleft(item)
        first.appendleft(LookAgain())

    # Steps ----------------------------------------------------------------------------------------

    def _drive(self, steps: Generator[Invoke, Any, Any]) -> Any:
        try:
            invoke = next(steps)
            while True:
                invoke = steps.send(self._invoke(invoke))
        except StopIteration as done:
            return done.value

    def _invoke(self, invoke: Invoke) -> Any:
        """Call a callback of the subclass."""
        whose: Any = super() if invoke.name in OVERRIDDEN else self
        return getattr(whose, invoke.name)(*invoke.args)

    def _begin(self, arg: Any) -> Generator[Invoke, Any, Any]:
        more: Mapping[str, Any] = {}
        if arg.__class__ is Configured:
            arg, more = arg.arg, arg.options
        result = yield Invoke("init", (arg,))
        if result.__class__ is not Ok and result.__class__ is not OkWithOptions:
            return result
        kind = self._kind
        size = 10_000 if kind == "producer" else "infinity"
        options = {**({} if result.__class__ is Ok else result.more), **more}
        if more and result.__class__ is not Ok and "subscribe_to" in result.more:
            options["subscribe_to"] = [*result.more["subscribe_to"], *more.get("subscribe_to", ())]
        settings = StageSettings.of(options, OPTIONS[kind], size, f"a {kind}")
        self._surroundings = Surroundings(self)
        core = self._core = Core(kind, self, self._surroundings, settings, result.state)
        for to, subscription in settings.subscribe_to:
            told, stop = yield from core.subscribe_to(SubscribeTo(to, subscription.mapping))
            if isinstance(told, Exception):
                raise told
            if stop is not None:
                return Stop(stop.reason)
        return Ok(core.state, result.timeout, result.continue_with)

    def _ready(self, state: Any) -> Core:
        core = self._core
        core.state = state
        self._given = state
        core.timeout = None
        core.tokens = []
        return core

    def _finish(self, stop: Stop[Any] | None) -> Stop[Any] | NoReply[Any]:
        core = self._core
        self._keep_state()
        return NoReply(core.state, core.timeout, self._token()) if stop is None else stop

    def _keep_state(self) -> None:
        # Before it is returned, as what was sent belongs to it: an interrupt may come in between.
        pid: Any = self.pid
        pid.state = self._given = self._core.state

    def _token(self) -> Any:
        tokens = self._core.tokens
        if not tokens:
            return NOTHING
        return tokens[0] if len(tokens) == 1 else _Several(tuple(tokens))

    def _took(self, message: Any, state: Any) -> Generator[Invoke, Any, Any]:
        core = self._ready(state)
        steps = core.received(message)
        if steps is None:
            return (yield from self._user("handle_info", message, state))
        return self._finish((yield from steps))

    def _continued(self, token: Any, state: Any) -> Generator[Invoke, Any, Any]:
        core = self._ready(state)
        later: tuple[Any, ...] = ()
        if token.__class__ is _Several:
            token, *later = token.tokens  # type: ignore[assignment]  # a list is as good
        stop = core.settle("handle_continue", (yield Invoke("handle_continue", (token, state))))
        core.tokens += later
        return self._finish(stop)

    def _user(self, name: str, *args: Any) -> Generator[Invoke, Any, Any]:
        return self._finish(self._core.settle(name, (yield Invoke(name, args))))

    def _was_cast(self, message: Any, state: Any) -> Generator[Invoke, Any, Any]:
        core = self._ready(state)
        match message:
            case SetDemand():
                return self._finish((yield from core.set_demand(message)))
            case PutBehind():
                core.put_behind(message.message)
                return self._finish(None)
            case SubscribeTo():
                told, stop = yield from core.subscribe_to(message)
                if isinstance(told, Exception):
                    self._surroundings.warn("it was not subscribed to %r: %s", message.to, told)
                return self._finish(stop)
            case _:
                return (yield from self._user("handle_cast", message, state))

    def _called(self, message: Any, from_: Any, state: Any) -> Generator[Invoke, Any, Any]:
        core = self._ready(state)
        match message:
            case SubscribeTo():
                told, stop = yield from core.subscribe_to(message)
                if isinstance(told, Exception):
                    if stop is not None:
                        self._surroundings.warn("it ends, as it was to subscribe to %r: %s", message.to, told)
                    from_.answer_error(told)
                else:
                    from_.answer(told)
                return self._finish(stop)
            case PutBehind():
                core.put_behind(message.message)
                return Reply(None, core.state)
            case GetDemand() if self._kind == "producer":
                return Reply(core.mode, core.state)
            case CountBuffered() if self._kind != "consumer":
                return Reply(core.kept, core.state)
            case GetDemand() | CountBuffered():
                from_.answer_error(TypeError(f"{self.pid} is a {self._kind}, which knows nothing of that"))
                return NoReply(core.state)
            case _:
                return (yield from self._asked(message, from_, state))

    def _asked(self, message: Any, from_: Any, state: Any) -> Generator[Invoke, Any, Any]:
        core = self._core
        result = yield Invoke("handle_call", (message, from_, state))
        kind = result.__class__
        if kind is Reply or kind is ReplyWithEvents:
            core.went_on("handle_call", result, kind is ReplyWithEvents)
            self._keep_state()
            return Reply(result.value, core.state, core.timeout, self._token())
        if kind is Stop:
            return result
        if result is None:
            allowed = "Reply(value, state), NoReply(state) or Stop(reason, state, reply=...)"
            raise BadReturn(self, "handle_call", result, allowed)
        return self._finish(core.settle("handle_call", result))


class RunningOnLoop(Running):
    """The same for callbacks of which one is a coroutine function."""

    async def init(self, arg: Any) -> Any:
        return await self._adrive(self._begin(arg))

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return await self._adrive(self._called(message, from_, state))

    async def handle_cast(self, message: Any, state: Any) -> Any:
        return await self._adrive(self._was_cast(message, state))

    async def handle_info(self, message: Any, state: Any) -> Any:
        return await self._adrive(self._took(message, state))

    async def handle_continue(self, token: Any, state: Any) -> Any:
        return await self._adrive(self._continued(token, state))

    async def _adrive(self, steps: Generator[Invoke, Any, Any]) -> Any:
        try:
            invoke = next(steps)
            while True:
                result = self._invoke(invoke)
                if hasattr(result, "__await__"):
                    result = await result
                invoke = steps.send(result)
        except StopIteration as done:
            return done.value


def running(stage: type, on_loop: bool) -> type:
    """The class of a stage's objects: it stands in front of the stage's own, and has its name."""
    made: type | None = stage.__dict__.get("_in_front")
    if made is None:
        names = {each: getattr(stage, each) for each in ("__module__", "__qualname__", "__doc__")}
        bases = (RunningOnLoop if on_loop else Running, stage)
        made = types.new_class(stage.__name__, bases, exec_body=lambda space: space.update(names))
        # Kept on the stage, so that it goes with it. Two threads may both come here: one class too many.
        stage._in_front = made  # type: ignore[attr-defined]
    return made
