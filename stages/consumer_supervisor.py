"""Consumer supervisors: a child for each event, and no more of them at once than are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, cast

from ..actors import GenServer, Pid, process
from ..actors.engine import check_alive
from ..supervision import ChildSpec, DynamicSpec, child_spec
from ..supervision.engine import (
    STARTING,
    Origin,
    SupervisorClient,
    TerminateChild,
    aask,
    above,
    ask,
    blocks,
    read_options,
    spec_of_module,
)
from .consumer_server import ConsumerSpec, ConsumerSupervisorServer, StartWith, started
from .options import subscriptions

_OPTIONS: Final = ("strategy", "max_restarts", "max_seconds", "subscribe_to")


class ConsumerSupervisor(SupervisorClient):
    """Starts a child for each event of its producers, at most `max_demand` of a subscription at once.

    The event is the last argument of the child's start. A child that ends has done with its event; when no
    more than `min_demand` are left, the supervisor asks for as many as have ended. For work that is to be
    done by processes of their own, each of which may crash alone; for anything else a `Consumer` costs less.

        ```python
        class Printers(ConsumerSupervisor):
            def init(self, arg):
                child = ChildSpec("printer", (Task.start_link, (print,), {}), restart="temporary")
                subscription = ("numbers", {"max_demand": 50, "cancel": "transient"})
                return ConsumerSupervisor.init_spec(child, subscribe_to=[subscription])

        stages.from_iterable(range(3), name="numbers")
        printers = Printers.start_link()
        ConsumerSupervisor.stop(printers)
        ```

    Children are `"temporary"`, or `"transient"`: then one that crashes is started again for the same event,
    and counts as running. When a producer ends, so does the supervisor with all its children, unless it has
    subscribed with `cancel="transient"` or `"temporary"`.

    Semantics: Elixir's ConsumerSupervisor.
    """

    def init(self, arg: Any) -> Any:
        """Says what the supervisor is; runs in its process.

        Returns:
            `ConsumerSupervisor.init_spec(...)`, or `IGNORE`.
        """
        return arg

    @staticmethod
    def init_spec(
        child: object,
        *,
        subscribe_to: Iterable[Any] = (),
        strategy: Literal["one_for_one"] = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
    ) -> ConsumerSpec:
        """What an `init` returns; the options are those of `start_link`.

        Raises:
            SpecError, ValueError, TypeError: An option is wrong.
        """
        dynamic = DynamicSpec(strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds)
        return ConsumerSpec(child_spec(child), subscriptions(subscribe_to), dynamic)

    @classmethod
    def start_link(
        cls, arg: Any = None, *, name: Any = None, timeout: float | None = None, **options: Any
    ) -> Any:
        """Starts a supervisor, linked to the current process, and subscribes it.

        Args:
            arg: The spec of its children, in any form; or for a class with an `init` of its own what that is
                called with.
            name: A name for it.
            timeout: Seconds that its `init` may take; None, the default, means for ever.
            options: `subscribe_to`: its producers, each a server argument or a pair of one and the options of
                `subscribe`; `max_restarts` and `max_seconds`: how often children may be started again.

        Returns:
            Its Pid; None if its `init` returned `IGNORE`.

        Raises:
            SpecError: The spec of the children is wrong; they are `"permanent"`, say.
            ValueError, TypeError: An option is wrong.
            StartError: Its `init` failed, or a producer is not there.
            AlreadyStarted: The name is taken.
        """
        check_alive()
        return ConsumerSupervisorServer.launch(_origin(cls, arg, options), name=name, timeout=timeout)

    @classmethod
    async def astart_link(
        cls, arg: Any = None, *, name: Any = None, timeout: float | None = None, **options: Any
    ) -> Any:
        """The form of `start_link` for coroutines."""
        check_alive()
        origin = _origin(cls, arg, options)
        return await ConsumerSupervisorServer.alaunch(origin, name=name, timeout=timeout)

    @classmethod
    def child_spec(cls, arg: Any = None, **options: Any) -> ChildSpec:
        """The spec of this supervisor as a child of another one; what `start_link` takes, and fields of the
        spec.

        Raises:
            SpecError: An option is unknown or wrong.
        """
        if cls.init is not ConsumerSupervisor.init:
            return spec_of_module(cls, ConsumerSupervisor, arg, options, _OPTIONS)
        given = read_options(cls.__name__, None, options, (*_OPTIONS, *STARTING))
        cls.init_spec(arg, **given.only(_OPTIONS))
        return given.spec(cls.start_link, arg)

    @staticmethod
    def start_child(supervisor: Any, *args: Any) -> Pid | None:
        """Starts a child for nobody's event, with these arguments behind those of the spec. It counts towards
        no demand.

        Raises:
            StartError: It did not start.
        """
        blocks("ConsumerSupervisor.start_child")
        return cast("Pid | None", started(GenServer.call(supervisor, StartWith(args), None)))

    @staticmethod
    async def astart_child(supervisor: Any, *args: Any) -> Pid | None:
        """The form of `start_child` for coroutines."""
        check_alive()
        return cast("Pid | None", started(await GenServer.acall(supervisor, StartWith(args), None)))

    @staticmethod
    def terminate_child(supervisor: Any, pid: Pid) -> None:
        """Stops a child; its event counts as done.

        Raises:
            NotFound: That is not a child of it.
        """
        form = "ConsumerSupervisor.terminate_child"
        blocks(form)
        ask(supervisor, TerminateChild(process.whereis(pid) or pid), form)

    @staticmethod
    async def aterminate_child(supervisor: Any, pid: Pid) -> None:
        """The form of `terminate_child` for coroutines."""
        check_alive()
        await aask(supervisor, TerminateChild(process.whereis(pid) or pid))


def _origin(cls: type[ConsumerSupervisor], arg: Any, options: dict[str, Any]) -> Origin:
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(
                f"{cls.__name__}.start_link has no option {name!r}; it has: {', '.join(_OPTIONS)}"
            )
    if cls.init is ConsumerSupervisor.init:
        spec = arg if isinstance(arg, ConsumerSpec) else cls.init_spec(arg, **options)
        return Origin(cls, None, spec, above(cls, None))
    if options:
        raise TypeError(
            f"{cls.__name__} has an init of its own: give {next(iter(options))!r} to init_spec there"
        )
    return Origin(cls, arg, None, above(cls, arg))
