"""Supervisors: processes that start other processes, and start them again when they crash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from ...actors import ChildSpec, NotFound, Pid, SpecError, child_spec
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
from .options import AutoShutdown, Strategy, SupervisorSpec
from .self_containment import above, check_cycles
from .server import Origin
from .static_server import StaticServer
from .values import (
    DeleteChild,
    GetChildSpec,
    RestartChild,
    StartChild,
    TerminateChild,
)

_OPTIONS: Final = ("strategy", "max_restarts", "max_seconds", "auto_shutdown")


def _take_back(server: Any, spec: ChildSpec, started: Pid | None) -> None:
    call_quietly(server, TerminateChild(spec.id), DeleteChild(spec.id))


class Supervisor(SupervisorClient):
    """Starts children in order, starts them again when they end, and stops them in reverse order.

    Used in one of two ways: `Supervisor.start_link(children, strategy=...)`, or as a class with an `init`
    that says what the supervisor is:

        ```python
        class Services(Supervisor):
            def init(self, start):
                return Supervisor.init_spec([(Agent, lambda: start)], strategy="rest_for_one")

        Services.start_link(0, name="services")
        assert Supervisor.count_children("services").active == 1
        Supervisor.stop("services")
        ```

    Not for children whose number is not known beforehand: that is what a `DynamicSupervisor` is for. All
    functions that take a server wait for as long as the supervisor needs to start or stop a child.

    Semantics: OTP supervisor(3); Elixir's Supervisor.
    Differs from OTP: times are seconds; an error names the spec and the field; `which_children` lists in
    start order.
    """

    def init(self, arg: Any) -> Any:
        """Says what the supervisor is; runs in its process.

        Args:
            arg: What was given to `start_link`.

        Returns:
            `Supervisor.init_spec(...)`, or `IGNORE`.
        """
        return arg if isinstance(arg, SupervisorSpec) else SupervisorSpec(() if arg is None else arg)

    @staticmethod
    def init_spec(
        children: Iterable[object],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
    ) -> SupervisorSpec:
        """What an `init` returns; the options are those of `start_link`.

        Raises:
            SpecError: An option or a child spec is wrong.
        """
        return SupervisorSpec(
            children,
            strategy=strategy,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            auto_shutdown=auto_shutdown,
        )

    @classmethod
    def start_link(
        cls,
        children: Any = None,
        *,
        strategy: Strategy | None = None,
        max_restarts: int | None = None,
        max_seconds: float | None = None,
        auto_shutdown: AutoShutdown | None = None,
        name: Any = None,
        timeout: float | None = None,
    ) -> Any:
        """Starts a supervisor with all its children, linked to the current process.

        Args:
            children: Child specs in start order (a `ChildSpec`, a class with `child_spec`, `(class, arg)` or
                a dict each); for a class with an `init` of its own, what that is called with.
            strategy: Who is restarted with a crashed child: `"one_for_one"` (the default), `"one_for_all"` or
                `"rest_for_one"`.
            max_restarts: How many restarts are fine ... (3 by default)
            max_seconds: ... within so many seconds (5.0 by default). One more and it stops all children and
                exits.
            auto_shutdown: `"never"` (the default), or `"any_significant"` or `"all_significant"`: which ends
                of significant children end it.
            name: A name for it: a str or a `Via`.
            timeout: Seconds that the start of all children may take; None, the default, means for ever.

        Returns:
            Its Pid; None if its `init` returned `IGNORE`.

        Raises:
            SpecError: An option or a child spec is wrong. Nothing was started.
            StartError: A child did not start; those before it were stopped again. The reason is
                `Shutdown(FailedToStartChild(id, reason))`.
            AlreadyStarted: The name is taken.
        """
        check_alive()
        options = not_none(
            strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds, auto_shutdown=auto_shutdown
        )
        origin = _origin(cls, children, options)
        return StaticServer.launch(origin, name=name, timeout=timeout)

    @classmethod
    async def astart_link(
        cls, children: Any = None, *, name: Any = None, timeout: float | None = None, **options: Any
    ) -> Any:
        """The form of `start_link` for coroutines; the options are the same."""
        check_alive()
        origin = _origin(cls, children, options)
        return await StaticServer.alaunch(origin, name=name, timeout=timeout)

    @classmethod
    def child_spec(cls, arg: Any = None, **options: Any) -> ChildSpec:
        """The spec of this supervisor as a child of another one.

        Args:
            arg: The list of its children; or a mapping of options, of which `children` is one, so that
                `(Supervisor, {"children": [...], "strategy": "one_for_all"})` is a child. For a class with
                an `init` of its own, what that is called with.
            options: What `start_link` takes, as keyword arguments, and fields of the spec. What both have
                (`max_restarts`, `max_seconds`) is for `start_link`. The id is the `name`, if one is given,
                or else the name of the class.

        Raises:
            SpecError: An option is unknown or wrong; the message names it.
            TypeError: An option is for the `init` of the class to give.
        """
        if cls.init is not Supervisor.init:
            return spec_of_module(cls, Supervisor, arg, options, _OPTIONS)
        allowed = ("children", *_OPTIONS, *STARTING)
        if isinstance(arg, Mapping):
            given = read_options(cls.__name__, arg, options, allowed)
            arg = given.options.pop("children", None)
        else:
            given = read_options(cls.__name__, None, options, allowed)
            if "children" in given.options:
                if arg is not None:
                    raise SpecError(cls.__name__, "children", f"expected them once, got {arg!r}, too")
                arg = given.options.pop("children")
        if isinstance(arg, SupervisorSpec):
            refuse_beside_spec(cls, arg, list(given.only(_OPTIONS)))
        else:
            SupervisorSpec((), **given.only(_OPTIONS))
        return given.spec(cls.start_link, arg)

    @staticmethod
    def start_child(supervisor: Any, spec: object) -> Pid | None:
        """Starts one more child, last in start order.

        Args:
            supervisor: A Pid or a name.
            spec: Its spec, in any form.

        Returns:
            Its Pid; None if its start said that there is no process.

        Raises:
            SpecError: The spec is wrong.
            AlreadyStarted: A child with that id is running; the error has its Pid.
            AlreadyPresent: A child with that id is listed, but does not run.
            StartError: It did not start; it is not listed.
        """
        check_alive()
        return cast("Pid | None", ask(supervisor, StartChild(child_spec(spec)), "Supervisor.start_child"))

    @staticmethod
    async def astart_child(supervisor: Any, spec: object) -> Pid | None:
        """The form of `start_child` for coroutines. If it is cancelled, the child is stopped again, and not
        listed.
        """
        return cast("Pid | None", await astart(supervisor, spec, _take_back))

    @staticmethod
    def terminate_child(supervisor: Any, id: Any) -> None:
        """Stops a child. It stays listed, unless it is temporary, and is not restarted by itself.

        Raises:
            NotFound: There is no child with that id.
        """
        check_alive()
        ask(supervisor, TerminateChild(hashable(id)), "Supervisor.terminate_child")

    @staticmethod
    async def aterminate_child(supervisor: Any, id: Any) -> None:
        """The form of `terminate_child` for coroutines. If it is cancelled, the child is stopped all the
        same.
        """
        check_alive()
        await aask(supervisor, TerminateChild(hashable(id)))

    @staticmethod
    def restart_child(supervisor: Any, id: Any) -> Pid | None:
        """Starts a listed child that does not run.

        Returns:
            Its Pid; None if its start said that there is no process.

        Raises:
            NotFound: There is no child with that id.
            Running: It runs, or (as `Restarting`) is about to.
            StartError: It did not start; it stays listed.
        """
        check_alive()
        return cast("Pid | None", ask(supervisor, RestartChild(hashable(id)), "Supervisor.restart_child"))

    @staticmethod
    async def arestart_child(supervisor: Any, id: Any) -> Pid | None:
        """The form of `restart_child` for coroutines. If it is cancelled, the child is started all the
        same.
        """
        check_alive()
        return cast("Pid | None", await aask(supervisor, RestartChild(hashable(id))))

    @staticmethod
    def delete_child(supervisor: Any, id: Any) -> None:
        """Takes a child that does not run off the list.

        Raises:
            NotFound: There is no child with that id.
            Running: It runs, or (as `Restarting`) is about to.
        """
        check_alive()
        ask(supervisor, DeleteChild(hashable(id)), "Supervisor.delete_child")

    @staticmethod
    async def adelete_child(supervisor: Any, id: Any) -> None:
        """The form of `delete_child` for coroutines."""
        check_alive()
        await aask(supervisor, DeleteChild(hashable(id)))

    @staticmethod
    def get_child_spec(supervisor: Any, id: Any) -> ChildSpec:
        """The spec of a child.

        Raises:
            NotFound: There is no child with that id.
        """
        check_alive()
        return cast("ChildSpec", ask(supervisor, GetChildSpec(hashable(id)), "Supervisor.get_child_spec"))

    @staticmethod
    async def aget_child_spec(supervisor: Any, id: Any) -> ChildSpec:
        """The form of `get_child_spec` for coroutines."""
        check_alive()
        return cast("ChildSpec", await aask(supervisor, GetChildSpec(hashable(id))))


def _origin(cls: type[Supervisor], children: Any, options: dict[str, Any]) -> Origin:
    if cls.init is Supervisor.init:
        return _plain(cls, children, options)
    return _of_module(cls, children, options)


def hashable(id: Any) -> Any:
    """The id, if it can be one at all.

    Raises:
        NotFound: It can't, so there is no such child.
    """
    try:
        hash(id)
    except TypeError:
        raise NotFound(f"no child has an id that is not hashable: {id!r}") from None
    return id


def _is_plain(start: Any) -> bool:
    """Whether a start function is `start_link` of a class that is given its children directly."""
    module = getattr(start, "__self__", None)
    same = getattr(start, "__func__", None) is Supervisor.start_link.__func__  # type: ignore[attr-defined]
    return same and isinstance(module, type) and getattr(module, "init", None) is Supervisor.init


def _plain(cls: type, children: Any, options: dict[str, Any]) -> Origin:
    children = () if children is None else children
    if isinstance(children, (list, tuple)):
        check_cycles(children, _is_plain)
    if isinstance(children, SupervisorSpec):
        refuse_beside_spec(cls, children, list(options))
    spec = children if isinstance(children, SupervisorSpec) else SupervisorSpec(children, **options)
    return Origin(cls, None, spec, above(cls, spec))


def _of_module(cls: type, arg: Any, options: dict[str, Any]) -> Origin:
    refuse_beside_init(cls, Supervisor, list(options))
    return Origin(cls, arg, None, above(cls, arg))
