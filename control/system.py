"""A running system as those see it who look from outside: its data, and what can be done to it.

The control socket and the observer's page ask the same functions. They may be called in any thread but one in
which an event loop runs; those that act wait for what they do.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from ..actors import Pid
from ..supervision import Application
from . import actions, locks, processes, registries
from .errors import Refusal
from .past import Past
from .places import find

__all__ = ["PageOpener", "RunningSystem"]


class PageOpener(Protocol):
    """Opens pages for browsers, and keeps them open; see `RunningSystem.observe`."""

    def __call__(
        self, port: int | None, allow_actions: bool | None, page: str | None, close: bool
    ) -> dict[str, Any]:
        """Opens a page, has one go on, or closes it."""


class RunningSystem:
    """One application while it runs.

    Args:
        application: Which.
        past: What is kept of it, by default from `attach` on.

    Attributes:
        application, past: The same.
        crash_log: Of the past: listens to crashes.
        log_book: Of the past: keeps log records.
        tcp: Where it answers on TCP, if it does.
        open_page: Opens pages for browsers, if that can be.
        addresses: Those of the pages that its tree has, and whether they act, by who serves them.
    """

    def __init__(self, application: Application, past: Past | None = None) -> None:
        self.application = application
        self.past = Past() if past is None else past
        self.crash_log = self.past.crash_log
        self.log_book = self.past.log_book
        self.open_page: PageOpener | None = None
        self.tcp: str | None = None
        self.addresses: dict[Pid, tuple[str, bool]] = {}

    def attach(self) -> None:
        """Begins to listen; may be repeated."""
        self.past.attach()

    def detach(self) -> None:
        """Ends that; what was kept is kept."""
        self.past.detach()

    @property
    def _root(self) -> Pid | None:
        """The root of the tree, while it lives."""
        root = self.application.root
        return root if root is not None and root.alive else None

    # Data -----------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What it is, and how its children are, in numbers."""
        root = self._root
        starting = [] if root is not None else self.application.starting()
        begun = self.application.root is not None
        return {
            "name": self.application.name,
            "os_pid": os.getpid(),
            "state": "running" if root is not None else "ended" if begun else "starting",
            "since": self.past.since,
            "seconds": round(self.past.seconds, 3),
            "version": _version(),
            "python": platform.python_version(),
            "tcp": self.tcp,
            "program": sys.argv[0] if sys.argv else "",
            "counts": processes.counted(root),
            "crashes": self.crash_log.total,
            "starting": ["/".join(map(str, each.path)) for each in starting],
        }

    def ps(self, **options: Any) -> dict[str, Any]:
        """A page of the processes; see `processes.rows`."""
        return processes.rows(self._root, **options)

    def info(self, process: str) -> dict[str, Any]:
        """All that is known of a process."""
        told = processes.info(self._root, process)
        return {**told, "last_crash": self.crash_log.last_of(told["path"])}

    def locks(self, lock: str | None = None) -> list[dict[str, Any]]:
        """Every lock, or one."""
        return locks.locks(lock)

    def registries(self) -> list[dict[str, Any]]:
        """Every registry."""
        return registries.registries()

    def registry(self, registry: str, **options: Any) -> dict[str, Any]:
        """A page of the entries of a registry; see `registries.entries`."""
        return registries.entries(registry, **options)

    def crashes(self, limit: int = 20) -> list[dict[str, Any]]:
        """The crashes of late, folded."""
        return self.crash_log.crashes(limit)

    def logs(self, child: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The log records of late, of all or of a child and what is below it."""
        return self.log_book.records(None if child is None else self.child_path(child), limit)

    def child_path(self, child: str) -> str:
        """The path of a child of the tree.

        Raises:
            Refusal: There is none.
        """
        return find(self._root, child).label

    def observe(
        self,
        port: int | None = None,
        allow_actions: bool | None = None,
        page: str | None = None,
        close: bool = False,
    ) -> dict[str, Any]:
        """Opens a page for a browser, which has to be asked for again and again.

        Args:
            port: Of 127.0.0.1; by default a free one.
            allow_actions: Whether the page may act. With neither of both the page that the tree has is told
                of, if it has one.
            page: What an earlier answer called the page that is to go on.
            close: Whether that is to end instead.

        Raises:
            Refusal: It cannot be opened, or there is no such page.
        """
        if self.open_page is None:
            raise Refusal("cannot_observe", "this system opens no pages")
        return self.open_page(port, allow_actions, page, close)

    # Actions --------------------------------------------------------------------------------------

    def restart(self, process: str) -> dict[str, Any]:
        """Stops a child in order and starts it again."""
        return actions.restart(self._root, process)

    def terminate(self, process: str) -> dict[str, Any]:
        """Stops a child in order; it stays down."""
        return actions.terminate(self._root, process)

    def start(self, process: str) -> dict[str, Any]:
        """Starts a child that is down."""
        return actions.start(self._root, process)

    def suspend(self, process: str) -> dict[str, Any]:
        """Has a process leave its messages alone."""
        return actions.suspend(self._root, process)

    def resume(self, process: str) -> dict[str, Any]:
        """Has a suspended process go on."""
        return actions.resume(self._root, process)

    def call(self, process: str, message: Any, timeout: float = 5.0, tuples: bool = False) -> dict[str, Any]:
        """Calls a server."""
        return actions.call(self._root, process, message, timeout, tuples)

    def send(self, process: str, message: Any, cast: bool = False, tuples: bool = False) -> dict[str, Any]:
        """Sends a message, or casts."""
        return actions.send(self._root, process, message, cast, tuples)

    def resize(self, lock: str, num_slots: int) -> dict[str, Any]:
        """Changes the slots of a lock."""
        return actions.resize(lock, num_slots)

    def pause(self, lock: str, off: bool = False) -> dict[str, Any]:
        """Lets nobody into a lock any more, or again."""
        return actions.pause(lock, off)

    def reload(self, dry_run: bool = False) -> dict[str, Any]:
        """Reads the tree file again and applies the difference."""
        return actions.reload(self.application, dry_run)

    def stop(self) -> dict[str, Any]:
        """Begins to stop the whole tree, in order; does not wait for the end."""
        return actions.stop(self.application)


@functools.cache
def _version() -> str:
    try:
        return version("resprout")
    except PackageNotFoundError:
        return "(not installed)"
