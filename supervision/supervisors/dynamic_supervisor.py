"""Dynamic supervisors: any number of children that come and go, known by their Pids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, cast

from ...actors import ChildSpec, NotFound, Pid, SpecError, child_spec, process
from ...actors.engine import check_alive
from .child_options import (
    STARTING,
    not_none,
    read_options,
    refuse_beside_init,
    refuse_beside_spec,
    spec_of_module,
)
from .client import SupervisorClient, aask, ask, astart, call_quietly
from .dynamic_server import DynamicSupervisorServer
from .options import DynamicSpec
from .self_containment import above
from .server import Origin
from .values import GetChildSpec, StartChild, TerminateChild

_OPTIONS: Final = ("strategy", "max_children", "max_restarts", "max_seconds", "extra_arguments")


class DynamicSupervisor(SupervisorClient):
    """Starts children on demand, starts them again when they end, and stops them all at once.

    For children whose number is not known beforehand: connections, sessions, jobs. Not for a fixed set of
    children that depend on each other: that is what a `Supervisor` is for. It is empty when it starts, also
    when it is itself restarted (but for the `children` of a `DynamicSpec`), and forgets children that are not
    restarted. Any operation on a child costs
    the same for any number of children.

        ```python
        class Sessions(DynamicSupervisor):
            def init(self, arg):
                return DynamicSupervisor.init_spec(max_children=1000)

        Sessions.start_link(name="sessions")
        session = DynamicSupervisor.start_child("sessions", (Agent, dict))
        DynamicSupervisor.terminate_child("sessions", session)
        DynamicSupervisor.stop("sessions")
        ```

    Semantics: Elixir's DynamicSupervisor.
    Differs from OTP: `which_children` lists in start order.
    """

    def init(self, arg: Any) -> Any:
        """Says what the supervisor is; runs in its process.

        Returns:
            `DynamicSupervisor.init_spec(...)`, or `IGNORE`.
        """
        return arg if isinstance(arg, DynamicSpec) else DynamicSpec()

    @staticmethod
    def init_spec(
        *,
        strategy: Literal["one_for_one"] = "one_for_one",
        max_children: int | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        extra_arguments: Iterable[Any] = (),
    ) -> DynamicSpec:
        """What an `init` returns; the options are those of `start_link`.

        Raises:
            SpecError: An option is wrong.
        """
        return DynamicSpec(
            strategy=strategy,
            max_children=max_children,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            extra_arguments=extra_arguments,
        )

    @classmethod
    def start_link(
        cls,
        arg: Any = None,
        *,
        strategy: Literal["one_for_one"] | None = None,
        max_children: int | None = None,
        max_restarts: int | None = None,
        max_seconds: float | None = None,
        extra_arguments: Iterable[Any] | None = None,
        name: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """Starts a supervisor without children, linked to the current process.

        Args:
            arg: For a class with an `init` of its own, what that is called with; for others nothing, or a
                `DynamicSpec` instead of the options.
            strategy: `"one_for_one"`, the only one there is.
            max_children: How many children there may be at once; None, the default, means any number.
            max_restarts: How many restarts are fine ... (3 by default)
            max_seconds: ... within so many seconds (5.0 by default). One more and it stops all children and
                exits.
            extra_arguments: Put before the arguments of each child's start.
            name: A name for it: a str or a `Via`.
            timeout: Seconds that its `init` may take; None, the default, means for ever.

        Returns:
            Its Pid; None if its `init` returned `IGNORE`.

        Raises:
            SpecError: An option is wrong. Nothing was started.
            StartError: Its `init` failed.
            AlreadyStarted: The name is taken.
        """
        check_alive()
        options = not_none(
            strategy=strategy,
            max_children=max_children,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            extra_arguments=extra_arguments,
        )
        origin = _origin(cls, arg, options)
        return DynamicSupervisorServer.launch(origin, name=name, timeout=timeout)

    @classmethod
    async def astart_link(
        cls, arg: Any = None, *, name: Any = None, timeout: float | None = None, **options: Any
    ) -> Any:
        """The form of `start_link` for coroutines; the options are the same."""
        check_alive()
        origin = _origin(cls, arg, options)
        return await DynamicSupervisorServer.alaunch(origin, name=name, timeout=timeout)

    @classmethod
    def child_spec(cls, arg: Any = None, **options: Any) -> ChildSpec:
        """The spec of this supervisor as a child of another one.

        Args:
            arg: A mapping of options, so that `(DynamicSupervisor, {"name": "sessions", "max_children": 2})`
                is a child. For a class with an `init` of its own, what that is called with.
            options: What `start_link` takes, as keyword arguments, and fields of the spec. What both have
                (`max_restarts`, `max_seconds`) is for `start_link`. The id is the `name`, if one is given,
                or else the name of the class.

        Raises:
            SpecError: An option is unknown or wrong; the message names it.
            TypeError: An option is for the `init` of the class to give.
        """
        if cls.init is not DynamicSupervisor.init:
            return spec_of_module(cls, DynamicSupervisor, arg, options, _OPTIONS)
        if isinstance(arg, DynamicSpec):
            given = read_options(cls.__name__, None, options, (*_OPTIONS, *STARTING))
            refuse_beside_spec(cls, arg, list(given.only(_OPTIONS)))
            return given.spec(cls.start_link, arg)
        given = read_options(cls.__name__, arg, options, (*_OPTIONS, *STARTING))
        DynamicSpec(**given.only(_OPTIONS))
        return given.spec(cls.start_link)

    @staticmethod
    def start_child(supervisor: Any, spec: object) -> Pid | None:
        """Starts a child.

        Args:
            supervisor: A Pid or a name.
            spec: Its spec, in any form; the id tells people what it is and need not be unique.

        Returns:
            Its Pid; None if its start said that there is no process.

        Raises:
            SpecError: The spec is wrong.
            MaxChildren: There are too many already.
            StartError: It did not start.
        """
        check_alive()
        return cast(
            "Pid | None", ask(supervisor, StartChild(child_spec(spec)), "DynamicSupervisor.start_child")
        )

    @staticmethod
    async def astart_child(supervisor: Any, spec: object) -> Pid | None:
        """The form of `start_child` for coroutines. If it is cancelled, the child is stopped again."""
        return cast("Pid | None", await astart(supervisor, spec, _take_back))

    @staticmethod
    def terminate_child(supervisor: Any, pid: Any) -> None:
        """Stops a child, which is forgotten.

        Raises:
            NotFound: That is not a child of it.
        """
        check_alive()
        ask(supervisor, TerminateChild(_pid(pid)), "DynamicSupervisor.terminate_child")

    @staticmethod
    async def aterminate_child(supervisor: Any, pid: Any) -> None:
        """The form of `terminate_child` for coroutines. If it is cancelled, the child is stopped all the
        same.
        """
        check_alive()
        await aask(supervisor, TerminateChild(_pid(pid)))

    @staticmethod
    def get_child_spec(supervisor: Any, pid: Any) -> ChildSpec:
        """The spec of a child.

        Raises:
            NotFound: That is not a child of it.
        """
        check_alive()
        return cast("ChildSpec", ask(supervisor, GetChildSpec(_pid(pid)), "DynamicSupervisor.get_child_spec"))

    @staticmethod
    async def aget_child_spec(supervisor: Any, pid: Any) -> ChildSpec:
        """The form of `get_child_spec` for coroutines."""
        check_alive()
        return cast("ChildSpec", await aask(supervisor, GetChildSpec(_pid(pid))))


def _origin(cls: type[DynamicSupervisor], arg: Any, options: dict[str, Any]) -> Origin:
    if cls.init is DynamicSupervisor.init:
        if isinstance(arg, DynamicSpec):
            refuse_beside_spec(cls, arg, list(options))
        elif arg is not None:
            problem = f"{cls.__name__} has no init that takes it: give the options as keyword arguments"
            raise SpecError(
                cls.__name__, "arg", f"expected a DynamicSpec or nothing, got: {arg!r}; {problem}"
            )
        spec = DynamicSpec(**options) if arg is None else arg
        return Origin(cls, None, spec, above(cls, None))
    refuse_beside_init(cls, DynamicSupervisor, list(options))
    return Origin(cls, arg, None, above(cls, arg))


def _take_back(server: Any, spec: ChildSpec, started: Pid | None) -> None:
    if started is not None:
        call_quietly(server, TerminateChild(started))


def _pid(child: Any) -> Pid:
    """The Pid of a child: itself, or the one behind a foreign actor's reference or a name.

    Raises:
        NotFound: There is none.
        TypeError: It is nothing that has a Pid.
    """
    pid = child if isinstance(child, Pid) else process.whereis(child)
    if pid is None:
        raise NotFound(f"no process is named {child!r}")
    return pid
