"""The process of a consumer supervisor: a supervisor of dynamic children that is a consumer as well."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import attrs

from ..actors import ChildSpec, Exited, NoReply, Ok, Reply, SpecError, Stop, process
from ..supervision import DynamicSpec
from ..supervision.engine import DynamicSupervisorServer, Failed, Refused, Siblings, Started
from .client import ask
from .messages import Cancellation, From, Manual
from .options import MAX_DEMAND, SubscriptionOptions
from .portion import Portion
from .stage import Consumer

SHORTEST, LONGEST = 0.05, 5.0
"""Seconds before more events are asked for where not one of the last ones could be started, and at most."""
logger = logging.getLogger("resprout.stages")


@attrs.frozen
class ConsumerSpec:
    """What a consumer supervisor is: the spec of its children, its producers, and how often it restarts."""

    child: ChildSpec
    subscribe_to: tuple[tuple[Any, SubscriptionOptions], ...]
    dynamic: DynamicSpec

    def __attrs_post_init__(self) -> None:
        if self.child.restart == "permanent":
            problem = (
                "expected 'transient' or 'temporary', as a child has done its work when it ends, "
                "got: 'permanent' (which is the default)"
            )
            raise SpecError(self.child.id, "restart", problem)


@attrs.frozen
class StartWith:
    """Start a child with these arguments in the place of an event."""

    args: tuple[Any, ...]


@attrs.frozen
class AskLater:
    """To itself: it is time to ask for events again."""

    from_: From


class ConsumerSupervisorServer(DynamicSupervisorServer, Consumer):
    """See the module. The state of the server is its `Siblings`, as of any supervisor."""

    _use: ClassVar[str] = "the functions of ConsumerSupervisor (which_children, start_child, ...)"

    child: ChildSpec
    portions: dict[From, Portion]
    events: dict[Hashable, From]
    """Of each child that runs for an event, where that came from."""
    pause: float
    """How long to wait where nothing can be started."""

    def begin(self, spec: Any) -> Ok | Stop:
        """Begins empty, and subscribes."""
        if not isinstance(spec, ConsumerSpec):
            problem = f"expected init to return ConsumerSupervisor.init_spec(...) or IGNORE, got: {spec!r}"
            raise SpecError(self.origin.module.__name__, "init", problem)
        self.child = spec.child
        self.portions = {}
        self.events = {}
        self.pause = SHORTEST
        begun = super().begin(spec.dynamic)
        pairs = [(to, options.mapping) for to, options in spec.subscribe_to]
        return begun if isinstance(begun, Stop) else Ok(begun.state, subscribe_to=pairs)

    # As a consumer --------------------------------------------------------------------------------

    def handle_subscribe(
        self, kind: Any, options: Mapping[str, Any], from_: From, state: Siblings
    ) -> Manual[Siblings]:
        """Asks for as many events as there may be children."""
        maximum = options.get("max_demand", MAX_DEMAND)
        self.portions[from_] = Portion(maximum, options.get("min_demand", maximum // 2))
        ask(from_, maximum)
        return Manual(state)

    def handle_cancel(self, reason: Cancellation, from_: From, state: Siblings) -> NoReply[Siblings]:
        """Its children go on."""
        self.portions.pop(from_, None)
        return NoReply(state)

    def handle_events(self, events: list[Any], from_: From, state: Siblings) -> NoReply[Siblings]:
        """Starts a child for each. Where not one can be started it waits, longer each time, before it asks
        for more: a start that always fails shall not go through all that there is at full speed.
        """
        portion = self.portions.get(from_)
        if portion is not None:
            excess = portion.came(len(events))
            if excess:
                logger.warning(
                    "%s got %d events more than it asked for, from %s", self.pid, excess, from_.pid
                )
        failed = sum([self._fails_for(event, from_, state) for event in events])
        if failed < len(events):
            self.pause = SHORTEST
            self._ask_again(from_)
        else:
            process.send_after(self.pid, AskLater(from_), self.pause)
            self.pause = min(LONGEST, 2 * self.pause)
        return NoReply(state)

    def _fails_for(self, event: Any, from_: From, state: Siblings) -> bool:
        """Start a child for an event. Whether that failed."""
        child = state.add(next(self.numbers), self._with_arguments((event,)))
        outcome = self.start_process(child)
        if isinstance(outcome, Started):
            self.events[child.key] = from_
            return False
        if isinstance(outcome, Failed):
            state.table.forget(child)
            self.reporter.child_failed("did not start", child.spec.id, outcome.reason, 0)
        portion = self.portions.get(from_)
        if portion is not None:
            portion.ended(1)
        return isinstance(outcome, Failed)

    def _with_arguments(self, more: tuple[Any, ...]) -> ChildSpec:
        start, args, kwargs = self.child.start
        return attrs.evolve(self.child, start=(start, (*args, *more), kwargs))

    def _ask_again(self, from_: From) -> None:
        portion = self.portions.get(from_)
        if portion is not None:
            ask(from_, portion.ask())

    # As a supervisor ------------------------------------------------------------------------------

    def handle_call(self, message: Any, from_: Any, state: Siblings) -> Any:
        """Also starts children for nobody's event, and looks after those that are told to stop."""
        if isinstance(message, StartWith):
            return Reply(self._start(self._with_arguments(message.args)), state)
        child = state.table.by_pid(getattr(message, "target", None))  # type: ignore[arg-type]  # None is nobody
        result = super().handle_call(message, from_, state)
        return self._looked_after(None if child is None else child.key, result)

    def handle_info(self, message: Any, state: Siblings) -> Any:
        """Also asks for more events when children have ended."""
        if isinstance(message, AskLater):
            self._ask_again(message.from_)
            return NoReply(state)
        key = getattr(message, "key", None)
        if isinstance(message, Exited):
            child = state.table.by_pid(message.pid)
            key = None if child is None else child.key
        return self._looked_after(key, super().handle_info(message, state))

    def handle_cast(self, message: Any, state: Siblings) -> Any:
        """As for messages: a restart that is tried again may end a child for good."""
        return self._looked_after(getattr(message, "key", None), super().handle_cast(message, state))

    def _looked_after(self, key: Hashable, result: Any) -> Any:
        """Note the end of a child, if it has ended for good."""
        if key in self.events and self.siblings.table.get(key) is None:
            from_ = self.events.pop(key)
            portion = self.portions.get(from_)
            if portion is not None and not isinstance(result, Stop):
                portion.ended(1)
                self._ask_again(from_)
        return result


def started(answer: Any) -> Any:
    """What `start_child` returns.

    Raises:
        StartError: It did not start.
    """
    if isinstance(answer, Refused):
        raise answer.error from None
    return answer
