"""A web application as a supervised child: uvicorn, on the loop of its tree or with a thread and loop of its
own.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

import attrs

from ...actors import ChildSpec, Exited, Ok, Pid, SpecError, Stop, is_orderly, process
from ...actors.engine import LibraryServer
from .kinds import Common
from .listener import Listener
from .mistakes import did_you_mean
from .references import Reference, refused
from .web_serving import MISSING, AsgiOptions, Loop, Serving


class AsgiServer(LibraryServer):
    """Serves an ASGI application under a supervisor.

    A crash of the server refuses no connection: its successor serves the same listening socket. Requests
    that it was working on are lost. Told to stop, it accepts no more and finishes the running requests, for
    as long as its shutdown time lets it.

    The application runs on the event loop of its tree, as async servers and coroutine workers do, so it may
    use what belongs to that loop, such as a pool of connections. One that blocks delays all of them: it wants
    `loop="own"`, a loop in a thread of its own, where it delays nobody else, not even its successor.

    Start it with `AsgiServer.start_link(AsgiOptions(app, Listener(host, port)))`; it is started when requests
    are accepted. `AsgiServer.address(server)` tells where.
    """

    trap_exit = True
    _what = "a web server"
    _use = "AsgiServer.address, or an HTTP client"

    def init(self, arg: AsgiOptions) -> Any:
        """Starts serving; over when requests are accepted."""
        serving = Serving(arg)
        pid = serving.start_link()
        serving.accepting.result()
        self.listens_at = arg.listener.address
        return Ok(_State(serving, pid))

    @staticmethod
    def address(server: Any) -> tuple[str, int]:
        """The host and port that a running server listens at.

        Raises:
            ValueError: It is not a running `AsgiServer`.
        """
        pid = process.whereis(server)
        actor = getattr(pid, "actor", None)
        if not isinstance(actor, AsgiServer):
            raise ValueError(f"expected a running AsgiServer, got: {server!r}")
        return actor.listens_at

    def handle_info(self, message: Any, state: _State) -> Any:
        """Ends with the process that serves."""
        if isinstance(message, Exited) and message.pid is state.pid and state.pid.dead:
            return Stop(message.reason, state)
        return super().handle_info(message, state)

    def terminate(self, reason: object, state: _State) -> None:
        """Finishes what runs if there is time for that; a server that crashed drops it."""
        if not is_orderly(reason):
            process.exit(state.pid, "kill")
        elif state.pid.alive:
            state.serving.finish()
            process.receive(lambda message: isinstance(message, Exited) and message.pid is state.pid)


@attrs.frozen
class _State:
    serving: Serving
    pid: Pid


@attrs.frozen
class AsgiChild:
    """`asgi: id`: a web application.

    It is registered under `name`, by default its id; `AsgiServer.address(name)` tells its host and port.

    Args:
        asgi: Its id, unless the file says another.
        app: The ASGI application, or a function that makes it.
        host: The address to listen at.
        port: The port; 0 lets the system choose.
        factory: Whether `app` is a function that makes the application, at each start.
        name: The name to register the server under.
        loop: `tree`, the event loop on which the coroutines of the tree run; `own`, one in a thread of its
            own, for an application that blocks.
        options: Further options of `uvicorn.Config`.
    """

    asgi: str
    app: Reference
    host: str = "127.0.0.1"
    port: int = attrs.field(default=8000)
    factory: bool = False
    name: str | None = None
    loop: Loop = "tree"
    options: Mapping[str, object] = attrs.field(factory=dict)
    listener: Listener = attrs.field(
        init=False,
        eq=False,
        default=attrs.Factory(lambda self: Listener(self.host, self.port), takes_self=True),
    )

    @port.validator
    def _check_port(self, attribute: attrs.Attribute[int], value: int) -> None:
        if not 0 <= value <= 65535:
            raise ValueError(f"expected a port from 0 to 65535, got: {value}")

    @property
    def registers(self) -> tuple[object, ...]:
        """The names that it takes."""
        return (self.name or self.asgi,)

    def child_specs(self, common: Common) -> list[ChildSpec]:
        """One spec for the server."""
        if importlib.util.find_spec("uvicorn") is None:
            raise SpecError(self.asgi, "asgi", MISSING)
        self._check_options()
        self._check_app()
        names = common.variables.get("port", ())
        self.listener.advice = (
            f"with --set {names[0]}=..." if names else f"in the tree file, port: of {self.asgi!r}"
        )
        options = AsgiOptions(self.app.target, self.listener, self.factory, self.options, self.loop)
        start = (AsgiServer.start_link, (options,), {"name": self.name or self.asgi})
        return [ChildSpec(common.id or self.asgi, start)]

    def obstacle(self) -> str | None:
        """Why nobody could listen there now."""
        return self.listener.obstacle()

    def _check_options(self) -> None:
        import uvicorn

        known = list(inspect.signature(uvicorn.Config).parameters)
        own = ("app", "host", "port", "factory", "loop")
        for key in self.options:
            if key in own:
                raise SpecError(self.asgi, "options", f"{key} stands beside options:, not in it")
            if key not in known:
                hint = did_you_mean(key, known)
                raise SpecError(self.asgi, "options", f"uvicorn.Config has no option {key!r}{hint}")

    def _check_app(self) -> None:
        """Refuses an application that uvicorn could not call."""
        target, text = self.app.target, self.app.text
        if self.factory:
            problem = refused(target, (), {})
            if problem is not None:
                what = f"expected a function that makes the application without arguments; {text}: {problem}"
                raise SpecError(self.asgi, "app", what)
        elif "interface" not in self.options:
            # ASGI 3, or the older ASGI 2, whose application is called twice.
            problem = refused(target, ({}, None, None), {})
            if problem is not None and refused(target, ({},), {}) is not None:
                made = refused(target, (), {}) is None
                hint = "; say factory: true if it makes the application" if made else ""
                what = f"expected an ASGI application (scope, receive, send); {text}: {problem}{hint}"
                raise SpecError(self.asgi, "app", what)

    def close(self) -> None:
        """Stops listening, when the tree has ended for good."""
        self.listener.close()
