"""Group subscribers: the messages of topics, each partition handled in order by a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...actors import Backoff, ChildSpec, GenServer, Pid, child_spec
from ...supervision import ChildInfo, DynamicSupervisor, Supervisor
from ...throttle import lock_info
from .assignment import Position
from .coordinator import Coordinator
from .dead_letters import DeadLetterServer
from .messages import Family, GetPositions
from .options import CLOSING, DEFAULT_BACKOFF, PREFETCH, Commit, GroupOptions

COORDINATOR = "coordinator"
PATIENCE = 60.0
"""Seconds that the coordinator may be in the middle of a rebalance."""


class GroupSubscriber:
    """A member of a consumer group, with a supervised process for each partition that it is assigned.

    For work on the messages of Kafka that must be done at least once each, and in order within a partition.
    It is a child of a supervisor, or is started with `start_link`; what it subscribes to is not changed while
    it runs.

        ```python
        from resprout import throttle
        from resprout.kafka import GroupSubscriber

        def process(message):
            print(message.topic(), message.key(), message.value())

        throttle.new("kafka_consumer_throttle", 2)
        orders = GroupSubscriber(["orders"], "shop", process, throttle="kafka_consumer_throttle")
        spec = orders.child_spec()
        ```

    Args:
        topics: Names of topics, or patterns of names that begin with `^`.
        group: The name of the consumer group.
        handler: A function or coroutine function that is called with each message, a
            `confluent_kafka.Message`. It is done when that returns; what it returns is ignored.
        throttle: The name of a lock; each call of the handler takes a slot of it.
        commit: `"after"`: an offset is committed when its message is done, at least once each. `"before"`: it
            is committed before the message is handed on, at most once each.
        prefetch: How many messages of a partition may be in memory. One that has enough is paused.
        retries: How often the handler is called again for a message that it has raised at.
        backoff: How long to wait before each retry.
        dead_letter: What becomes of a message after that: a topic to which it is written, or a function that
            is called with it and the error. Without, the partition's process crashes with the error.
        drain: Seconds for which running handlers are waited for when their partition is given to another
            member, and at the end.
        commit_interval: Seconds between two commits of what is done; at a rebalance and at the end that
            is committed at once.
        max_restarts: How many restarts of partitions' processes, and of the others, are fine ...
        max_seconds: ... within so many seconds. One more, and the subscriber itself ends.
        config: Options of librdkafka; `bootstrap.servers` is `localhost:9092` unless given.

    Raises:
        SpecError: An option is wrong.
        MissingExtra: confluent-kafka is not installed; it is an ImportError.

    Semantics: brod's `brod_group_subscriber_v2`.
    Differs from brod: the handler is a function without a state, since it may have to go on in another
        incarnation; a retry, dead letters and the lock are here.
    """

    def __init__(
        self,
        topics: Iterable[str],
        group: str,
        handler: Callable[[Any], object],
        *,
        throttle: str | None = None,
        commit: Commit = "after",
        prefetch: int = PREFETCH,
        retries: int = 3,
        backoff: Backoff = DEFAULT_BACKOFF,
        dead_letter: str | Callable[[Any, Exception], object] | None = None,
        drain: float = 5.0,
        commit_interval: float = 1.0,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.options = GroupOptions.of(
            topics,
            group,
            handler,
            throttle=throttle,
            commit=commit,
            prefetch=prefetch,
            retries=retries,
            backoff=backoff,
            dead_letter=dead_letter,
            drain=drain,
            commit_interval=commit_interval,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            config=config,
        )

    def __repr__(self) -> str:
        return f"<GroupSubscriber {self.options.group} of {', '.join(self.options.topics)}>"

    def start_link(self, *, name: Any = None) -> Pid:
        """Start it, linked to the current process. It need not find a broker.

        Args:
            name: A name for its supervisor.

        Returns:
            The Pid of its supervisor; `Supervisor.stop` ends it in order.

        Raises:
            AlreadyStarted: The name is taken.
            LockNotFound: There is no lock of the name given as `throttle`.
        """
        return _start(self.options, name)

    async def astart_link(self, *, name: Any = None) -> Pid:
        """The form of `start_link` for coroutines."""
        children, intensity = _to_start(self.options)
        pid: Pid = await Supervisor.astart_link(children, strategy="one_for_all", name=name, **intensity)
        return pid

    def child_spec(self, *, name: Any = None, **fields: Any) -> ChildSpec:
        """As a child of a supervisor.

        Args:
            name: A name for it.
            fields: Fields of the spec; the id is `kafka:` and the group unless given.

        Raises:
            SpecError: A field is unknown or wrong.
        """
        spec = ChildSpec(f"kafka:{self.options.group}", (_start, (self.options, name), {}), type="supervisor")
        return child_spec(spec, **fields) if fields else spec


def _start(options: GroupOptions, name: Any) -> Pid:
    """Start one; of a child it is the options that say whether it is the same as after another reading."""
    children, intensity = _to_start(options)
    pid: Pid = Supervisor.start_link(children, strategy="one_for_all", name=name, **intensity)
    return pid


def _to_start(options: GroupOptions) -> tuple[list[ChildSpec], dict[str, Any]]:
    if options.throttle is not None:
        # Here, where there is somebody to tell.
        lock_info(options.throttle)
    intensity = {"max_restarts": options.max_restarts, "max_seconds": options.max_seconds}
    return _children(Family(options)), intensity


def _children(family: Family) -> list[ChildSpec]:
    options = family.options
    children = [ChildSpec("partitions", (_start_partitions, (family,), {}), type="supervisor")]
    if isinstance(options.dead_letter, str):
        children.append(ChildSpec("dead_letters", (DeadLetterServer.start_link, (family,), {})))
    # The last, so that it is stopped first: it is the one that lets the others come to an end.
    time = options.drain + 2 * CLOSING
    children.append(ChildSpec(COORDINATOR, (Coordinator.start_link, (family,), {}), shutdown=time))
    return children


def _start_partitions(family: Family) -> Pid:
    options = family.options
    pid: Pid = DynamicSupervisor.start_link(
        max_restarts=options.max_restarts, max_seconds=options.max_seconds
    )
    family.partitions = pid
    return pid


def positions(subscriber: Any) -> tuple[Position, ...]:
    """How far each partition of a running subscriber is, those that are assigned to it now.

    Args:
        subscriber: Its Pid or name.

    Raises:
        NoProcess: It does not run.
        ValueError: It is no group subscriber.
        CallTimeout: Its coordinator is in the middle of a rebalance.
    """
    coordinator = _coordinator_of(subscriber, Supervisor.which_children(subscriber))
    found: tuple[Position, ...] = GenServer.call(coordinator, GetPositions(), PATIENCE)
    return found


async def apositions(subscriber: Any) -> tuple[Position, ...]:
    """The form of `positions` for coroutines."""
    coordinator = _coordinator_of(subscriber, await Supervisor.awhich_children(subscriber))
    found: tuple[Position, ...] = await GenServer.acall(coordinator, GetPositions(), PATIENCE)
    return found


def _coordinator_of(subscriber: Any, children: Iterable[ChildInfo]) -> Pid:
    for child in children:
        if child.id == COORDINATOR and isinstance(child.pid, Pid):
            return child.pid
    raise ValueError(f"expected a running group subscriber, got: {subscriber!r}")
