"""One run of uvicorn from start to end, on the loop of its tree or with a thread and loop of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ...actors import Future, Pid, process
from ...actors.engine import explain, watch_loop
from .listener import Listener

if TYPE_CHECKING:
    import uvicorn

Loop = Literal["tree", "own"]
_PATIENCE = 1.0  # seconds for code that was told that its server is dead
MISSING = "serving web applications needs uvicorn: pip install 'resprout[asgi]'"


@attrs.frozen
class AsgiOptions:
    """What an `AsgiServer` serves, and where.

    Args:
        app: An ASGI application, or with `factory` a function that makes one for each start.
        listener: Where it listens; it stays open when the server ends.
        factory: Whether `app` is such a function.
        options: Further options of `uvicorn.Config`.
        loop: The event loop that it runs on: `"tree"`, the one on which the coroutines of its tree run, or
            `"own"`, one in a thread of its own, for an application that blocks its loop.
    """

    app: Callable[..., Any]
    listener: Listener
    factory: bool = False
    options: Mapping[str, Any] = attrs.field(factory=dict)
    loop: Loop = "tree"


class Serving:
    """One server from start to end, run by a process of its own, whose death ends it.

    As a resource of that process it is told of the death in whatever thread; there it only wakes its loop.
    What else lives on that loop goes on.

    Attributes:
        accepting: Completed when requests are accepted, or with the reason why they never will be.
    """

    def __init__(self, options: AsgiOptions) -> None:
        self._options = options
        self.accepting: Future[None] = Future()
        self._given_up = False
        self._pid: Pid | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._served: asyncio.Task[None] | None = None
        self._lifespan: asyncio.Task[Any] | None = None

    def start_link(self) -> Pid:
        """Starts the process, linked to the current one; does not wait until it accepts requests."""
        # Here, in a thread: it takes long, and the loop has others to serve.
        _load_uvicorn(self._options)

        # Named for reports and lists of processes.
        async def web_server() -> None:
            self._pid = process.current()
            await self._serve_to_the_end()

        def web_server_of_its_own_loop() -> None:
            self._pid = process.current()
            self._run_a_loop()

        own = self._options.loop == "own"
        for each in (web_server, web_server_of_its_own_loop):
            each.__qualname__ = "web_server"
        pid = process.spawn_link(web_server_of_its_own_loop if own else web_server)
        pid.attach(self)
        return pid

    def finish(self) -> None:
        """Accepts no more requests and ends when the running ones have ended."""
        if self._server is not None:
            self._server.should_exit = True

    def owner_died(self, pid: Pid, reason: object) -> None:
        """Drops everything at once."""
        self._given_up = True
        self.accepting.try_set_exception(
            RuntimeError(f"the server ended before it accepted requests: {reason}")
        )
        # In this order: who sets the loop looks afterwards whether it was given up.
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._cancel)
            except RuntimeError:
                pass  # The loop is closed already.

    def owner_left(self, pid: Pid) -> None:
        """Nothing of it runs any more."""

    # In the loop -----------------------------------------------------------------------------------

    def _run_a_loop(self) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            try:
                loop.run_until_complete(self._serve_to_the_end())
            finally:
                loop.run_until_complete(_leave_empty(loop))
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    async def _serve_to_the_end(self) -> None:
        """Serves until told to finish, or until the process is dead."""
        try:
            with self._options.listener.open() as listening:
                served = self._served = asyncio.ensure_future(self._serve(listening))
                # What ends all tasks at the end of a loop, as asyncio.run does, leaves those that serve
                # others to be stopped in order after that.
                asyncio._unregister_task(served)
                self._loop = asyncio.get_running_loop()
                watch_loop(self._loop)
                if self._given_up:
                    self._cancel()
                await _until_done(served, self._cancel)
                await _until_done(asyncio.ensure_future(self._drop_the_rest(served)))
            if not self._given_up:  # Else its reason is told.
                served.result()
        except BaseException as error:
            self.accepting.try_set_exception(error)
            raise
        finally:
            self.accepting.try_set_exception(RuntimeError("the server ended before it accepted requests"))

    async def _serve(self, listening: socket.socket) -> None:
        try:
            self._server = self._make_server()
            await self._server.serve(sockets=[listening])
        except SystemExit:
            # So uvicorn says that the application did not start; it has logged why.
            raise RuntimeError("the application failed at its start (see the log of uvicorn.error)") from None

    def _make_server(self) -> uvicorn.Server:
        import uvicorn

        serving = self

        class Server(uvicorn.Server):
            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                # They are the program's, also where its loop runs in the main thread.
                yield

            def install_signal_handlers(self) -> None:
                """What uvicorn had before `capture_signals`."""

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                serving._note_lifespan(self.lifespan)
                await super().startup(sockets=sockets)
                if self.started:
                    serving.accepting.try_set(None)

        class Config(uvicorn.Config):
            def load(self) -> None:
                super().load()
                # Here it has one interface, whatever it had.
                self.loaded_app = serving._explained(self.loaded_app)

        options = self._options
        app = options.app() if options.factory else options.app
        return Server(Config(app, **_given(options)))

    def _explained(self, app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """The application; its errors, which uvicorn logs, say what to do where one has to know of loops."""

        async def web_application(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except Exception as error:
                if self._pid is not None:
                    explain(self._pid, error)
                raise

        return web_application

    def _note_lifespan(self, lifespan: Any) -> None:
        """Have the task known in which the application lives, which uvicorn keeps to itself."""
        live: Callable[[], Awaitable[None]] | None = getattr(lifespan, "main", None)
        if live is None:
            return

        async def main() -> None:
            self._lifespan = asyncio.current_task()
            await live()

        lifespan.main = main

    def _cancel(self) -> None:
        self._stop_listening()
        if self._loop is not None and self._served is not None and not self._served.done():
            self._served.cancel()
            # Once more, should somebody have swallowed it.
            self._loop.call_later(0.1, self._cancel)

    def _stop_listening(self) -> None:
        """At once: what comes now is the successor's."""
        for listening in getattr(self._server, "servers", ()):
            listening.close()

    async def _drop_the_rest(self, served: asyncio.Task[None]) -> None:
        """Closes what a server leaves behind, above all one that was not asked to finish."""
        server = self._server
        if server is not None and (served.cancelled() or served.exception() is not None):
            self._stop_listening()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await _cancelled(server.server_state.tasks)
            if server.started:
                # What the application opened at its start is its own to close.
                closing = asyncio.ensure_future(server.lifespan.shutdown())
                await asyncio.wait([closing], timeout=_PATIENCE)
                await _cancelled([closing])
        await _cancelled([self._lifespan])


def _given(options: AsgiOptions) -> dict[str, Any]:
    # Logging is the program's own affair.
    return {"log_config": None, "access_log": False, **options.options}


def _load_uvicorn(options: AsgiOptions) -> None:
    """Imports uvicorn, and those of its modules that it will import for these options."""
    try:
        import uvicorn
    except ImportError:
        raise RuntimeError(MISSING) from None

    async def nobody(scope: Any, receive: Any, send: Any) -> None:
        """Is never called."""

    uvicorn.Config(nobody, **{**_given(options), "interface": "asgi3"}).load()


async def _leave_empty(loop: asyncio.AbstractEventLoop) -> None:
    """Ends what still runs in a loop of one's own."""
    await _cancelled(asyncio.all_tasks() - {asyncio.current_task()})
    await loop.shutdown_asyncgens()


async def _until_done(task: asyncio.Task[None], when_cancelled: Callable[[], None] | None = None) -> None:
    """Waits for the end of a task, also if that wait is cancelled, as by the death of its process."""
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            if when_cancelled is not None:
                when_cancelled()


async def _cancelled(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    left = [task for task in tasks if task is not None and not task.done()]
    if not left:
        return
    logging.getLogger("uvicorn.error").addFilter(_quiet)  # Adding it again changes nothing.
    _quiet.tasks.update(left)
    try:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_PATIENCE)
    finally:
        _quiet.tasks.difference_update(left)


class _Quiet(logging.Filter):
    """Drops what uvicorn logs about requests that were cancelled since their server is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[Any]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError):
            return True
        try:
            return asyncio.current_task() not in self.tasks
        except RuntimeError:
            return True  # It is no loop that logs.


_quiet = _Quiet()
