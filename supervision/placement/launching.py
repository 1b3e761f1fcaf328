"""Starting an OS process for a child: multiprocessing's fork server, or its spawn where there is none.

Never a plain fork, which would copy locks that other threads hold. There is a fork server for each module
that children start from, with that module loaded, so that a start takes milliseconds. multiprocessing's own
fork server is left alone: it is the program's, and ours ignores the signals of the process group.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import sys
from multiprocessing import process as mp_process
from multiprocessing import reduction, spawn, util
from multiprocessing.context import set_spawning_popen
from typing import Any

from ...actors import ResproutError
from ...actors.engine import elsewhere, lock
from . import far
from .preload import TOLD

UNGUARDED = 97
"""The exit code of a process that imports `__main__` for its start and comes upon a start there."""
PRELOAD = [f"{__package__}.preload"]
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class MainNotGuarded(ResproutError, RuntimeError):
    """A placed child is of a class in `__main__`, which starts its tree when it is imported."""

    def __init__(self) -> None:
        super().__init__(
            "the child's start is in __main__, which its OS process has to import, and which would start "
            "the tree once more there. Put the start of the tree under a guard:\n\n"
            '    if __name__ == "__main__":\n'
            "        main()\n\n"
            "or the class into a module of its own"
        )


def launch(sockets: tuple[Any, Any], ticket: bytes, module: str, needs_main: bool) -> Any:
    """Starts an OS process that runs `far.main`.

    Args:
        sockets: The child's ends of the pipes.
        ticket: What it is told.
        module: What its start is in; it is loaded in the fork server.
        needs_main: Whether it has to import the program's `__main__`.

    Returns:
        A Popen of multiprocessing: `pid`, `sentinel`, `poll()`.

    Raises:
        OSError: There is no room for another process.
    """
    if getattr(mp_process.current_process(), "_inheriting", False):
        # This process is a child that imports the program for its own start. What calls us here would go
        # on to use a tree that there must be one of: whoever has started this process tells it.
        os._exit(UNGUARDED)
    context: Any = multiprocessing.get_context(METHOD)
    process = context.Process(target=far.main, args=(*sockets, ticket), name="resprout-placed")
    # Not by process.start(): multiprocessing would wait for it when the interpreter ends, before the trees
    # are stopped.
    if METHOD == "spawn":
        return process._Popen(process)
    return _popen(process, _server_for(module), needs_main)


_servers: dict[str, Any] = {}
_one_start = lock()


def _server_for(module: str) -> Any:
    from multiprocessing.forkserver import ForkServer

    with _one_start:
        server = _servers.get(module)
        if server is None:
            server = _servers[module] = ForkServer()
            server.set_forkserver_preload(PRELOAD)
        modules = [] if module == "__main__" else [module]
        before = os.environ.get(TOLD)
        os.environ[TOLD] = json.dumps((sys.path, modules, sorted(elsewhere.likely)))
        try:
            server.ensure_running()
        finally:
            if before is None:
                os.environ.pop(TOLD, None)
            else:
                os.environ[TOLD] = before
    return server


def stop_servers() -> None:
    """Ends the fork servers, which otherwise end with this process; for tests, when no child is left."""
    with _one_start:
        while True:
            if not _servers:
                break
            _servers.popitem()[1]._stop()


def _popen(process: Any, server: Any, needs_main: bool) -> Any:
    from multiprocessing import forkserver, popen_forkserver

    class Popen(popen_forkserver.Popen):
        """multiprocessing's, on a fork server of ours; the program is only imported if it is needed."""

        _fds: list[int]

        def _launch(self, process_obj: Any) -> None:
            told = spawn.get_preparation_data(process_obj.name)
            if not needs_main:
                told.pop("init_main_from_name", None)
                told.pop("init_main_from_path", None)
            buffer = io.BytesIO()
            set_spawning_popen(self)
            try:
                reduction.dump(told, buffer)
                reduction.dump(process_obj, buffer)
            finally:
                set_spawning_popen(None)
            self.sentinel, writing = server.connect_to_new_process(self._fds)
            # The child knows by this end that its parent lives (multiprocessing.parent_process).
            kept = os.dup(writing)
            self.finalizer = util.Finalize(self, _close_all, (kept, self.sentinel))
            with open(writing, "wb", closefd=True) as pipe:
                pipe.write(buffer.getbuffer())
            self.pid = forkserver.read_signed(self.sentinel)

    return Popen(process)


def _close_all(*fds: int) -> None:
    for fd in fds:
        os.close(fd)


def _forget_servers() -> None:
    """In a forked child: the fork servers are the parent's, and end with it."""
    for server in _servers.values():
        alive = server._forkserver_alive_fd
        if alive is not None:
            os.close(alive)
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_servers)
