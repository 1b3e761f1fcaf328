"""A web application as a supervised child: uvicorn, with its own thread and event loop."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from ...actors import ChildSpec, Exited, Future, Ok, Pid, SpecError, Stop, is_orderly, process
from ...actors.engine import LibraryServer
from .kinds import Common
from .listener import Listener
from .mistakes import did_you_mean
from .references import Reference, refused

if TYPE_CHECKING:
    import uvicorn

_PATIENCE = 1.0  # seconds for code that was told that its server is dead
_MISSING = "serving web applications needs uvicorn: pip install 'resprout[asgi]'"


@attrs.frozen
class AsgiOptions:
    """What an `AsgiServer` serves, and where.

    Args:
        app: An ASGI application, or with `factory` a function that makes one for each start.
        listener: Where it listens; it stays open when the server ends.
        factory: Whether `app` is such a function.
        options: Further options of `uvicorn.Config`.
    """

    app: Callable[..., Any]
    listener: Listener
    factory: bool = False
    options: Mapping[str, Any] = attrs.field(factory=dict)


class AsgiServer(LibraryServer):
    """Serves an ASGI application under a supervisor.

    A crash of the server refuses no connection: its successor serves the same listening socket. Requests
    that it was working on are lost. Told to stop, it accepts no more and finishes the running requests, for
    as long as its shutdown time lets it. The application has an event loop in a thread of its own, so one
    that blocks its loop delays nobody else, not even its successor.

    Start it with `AsgiServer.start_link(AsgiOptions(app, Listener(host, port)))`; it is started when requests
    are accepted. `AsgiServer.address(server)` tells where.
    """

    trap_exit = True
    _what = "a web server"
    _use = "AsgiServer.address, or an HTTP client"

    def init(self, arg: AsgiOptions) -> Any:
        """Starts serving; over when requests are accepted."""
        serving = _Serving(arg)
        thread = process.spawn_link(_named(serving.run))
        serving.accepting.result()
        self.listens_at = arg.listener.address
        return Ok(_State(serving, thread))

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
        """Ends with the thread that serves."""
        if isinstance(message, Exited) and message.pid is state.thread and state.thread.dead:
            return Stop(message.reason, state)
        return super().handle_info(message, state)

    def terminate(self, reason: object, state: _State) -> None:
        """Finishes what runs if there is time for that; a server that crashed drops it."""
        if not is_orderly(reason):
            process.exit(state.thread, "kill")
        elif state.thread.alive:
            state.serving.finish()
            process.receive(lambda message: isinstance(message, Exited) and message.pid is state.thread)


def _named(run: Callable[[], None]) -> Callable[[], None]:
    """Under a name that says something in reports and lists of processes."""

    def web_server() -> None:
        run()

    web_server.__qualname__ = "web_server"
    return web_server


@attrs.frozen
class _State:
    serving: _Serving
    thread: Pid


class _Serving:
    """One server from start to end, run by a process of its own, whose death ends it.

    As a resource of that process it is told of the death in whatever thread; there it only wakes its loop.
    """

    def __init__(self, options: AsgiOptions) -> None:
        self._options = options
        self.accepting: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Serves until told to finish, or until the process is dead."""
        try:
            with self._options.listener.open() as listening:
                self._task = self._loop.create_task(self._serve(listening))
                process.current().attach(self)
                self._run_loop(self._task)
        except BaseException as error:
            self.accepting.try_set_exception(error)
            raise
        finally:
            self._loop.close()
            self.accepting.try_set_exception(RuntimeError("the server ended before it accepted requests"))

    def _run_loop(self, task: asyncio.Task[None]) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass  # The process is dead, and its reason told.
        finally:
            with _quietly():
                self._loop.run_until_complete(self._drop_the_rest(task))
            asyncio.set_event_loop(None)

    async def _serve(self, listening: socket.socket) -> None:
        try:
            self._server = _server(self._options, self.accepting)
            await self._server.serve(sockets=[listening])
        except SystemExit:
            # So uvicorn says that the application did not start; it has logged why.
            raise RuntimeError("the application failed at its start (see the log of uvicorn.error)") from None

    async def _drop_the_rest(self, served: asyncio.Task[None]) -> None:
        """Closes what a server leaves behind, above all one that was not asked to finish."""
        server = self._server
        if server is not None and (served.cancelled() or served.exception() is not None):
            for listening in getattr(server, "servers", ()):
                listening.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await _cancelled(server.server_state.tasks)
            if server.started:
                # What the application opened at its start is its own to close.
                await asyncio.wait([asyncio.ensure_future(server.lifespan.shutdown())], timeout=_PATIENCE)
        await _cancelled(asyncio.all_tasks() - {asyncio.current_task()})
        await self._loop.shutdown_asyncgens()

    def finish(self) -> None:
        """Accepts no more requests and ends when the running ones have ended."""
        if self._server is not None:
            self._server.should_exit = True

    def owner_died(self, pid: Pid, reason: object) -> None:
        """Drops everything at once."""
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:
            pass  # The loop is closed already.

    def owner_left(self, pid: Pid) -> None:
        """The thread is through."""

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            # Once more, should somebody have swallowed it.
            self._loop.call_later(0.1, self._cancel)


async def _cancelled(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    left = [task for task in tasks if task is not None]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_PATIENCE)


class _Quiet(logging.Filter):
    """Drops what uvicorn logs about requests that were cancelled since their server is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
        return not cancelled or record.thread not in self.threads


_quiet = _Quiet()


@contextmanager
def _quietly() -> Iterator[None]:
    logging.getLogger("uvicorn.error").addFilter(_quiet)  # Adding it again changes nothing.
    me = threading.get_ident()
    _quiet.threads.add(me)
    try:
        yield
    finally:
        _quiet.threads.discard(me)


def _server(options: AsgiOptions, accepting: Future[None]) -> uvicorn.Server:
    try:
        import uvicorn
    except ImportError:
        raise RuntimeError(_MISSING) from None

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                accepting.try_set(None)

    app = options.app() if options.factory else options.app
    # Logging is the program's own affair.
    given: dict[str, Any] = {"log_config": None, "access_log": False, **options.options}
    return Server(uvicorn.Config(app, **given))


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
        options: Further options of `uvicorn.Config`.
    """

    asgi: str
    app: Reference
    host: str = "127.0.0.1"
    port: int = attrs.field(default=8000)
    factory: bool = False
    name: str | None = None
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
            raise SpecError(self.asgi, "asgi", _MISSING)
        self._check_options()
        self._check_app()
        names = common.variables.get("port", ())
        self.listener.advice = (
            f"with --set {names[0]}=..." if names else f"in the tree file, port: of {self.asgi!r}"
        )
        options = AsgiOptions(self.app.target, self.listener, self.factory, self.options)
        start = (AsgiServer.start_link, (options,), {"name": self.name or self.asgi})
        return [ChildSpec(common.id or self.asgi, start)]

    def obstacle(self) -> str | None:
        """Why nobody could listen there now."""
        return self.listener.obstacle()

    def _check_options(self) -> None:
        import uvicorn

        known = list(inspect.signature(uvicorn.Config).parameters)
        own = ("app", "host", "port", "factory")
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
