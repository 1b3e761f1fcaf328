"""The server of a page: in a tree, or opened for somebody who asks for it again and again."""

from __future__ import annotations

import functools
import secrets
from typing import Any

import attrs

from ...actors import Down, NoReply, Pid, StartError, Stop, process
from ...supervision.tree_kinds import AsgiOptions, AsgiServer, Listener
from ..errors import Refusal
from ..noted import system_above
from ..system import RunningSystem
from ..words import label
from .page_options import HOST, PageOptions, new_token
from .site import Site

__all__ = ["LEASE", "PageServer", "Pages"]

LEASE = 15.0
"""Seconds for which a page that was asked for is kept open."""


@attrs.frozen
class _GoOn:
    """Somebody still wants it."""


@attrs.frozen
class _Close:
    """It is to end."""


@attrs.frozen
class _Over:
    """Nobody does, unless there was a `_GoOn` since."""

    number: int


class PageServer(AsgiServer):
    """Serves the page of a running system on a loop of its own."""

    _what = "the server of a page"
    _use = "a browser"

    def init(self, arg: Any) -> Any:
        """Starts serving what a `PageOptions` says; over when requests are accepted."""
        assert isinstance(arg, PageOptions)
        system = arg.system or system_above(self.pid)
        if system is None:
            return Stop("expected to be part of an application that runs, such as of `resprout run`")
        system.attach()
        self._page, self._system = arg, system
        self._site = Site(system, arg.token, arg.allow_actions, arg.pause)
        self._leases = 0
        started = super().init(AsgiOptions(self._site.app, arg.listener, loop="own", options=_OPTIONS))
        port = self.listens_at[1]
        self.address_with_token = f"http://{HOST}:{port}/{arg.token}/"
        if arg.lease is None:
            system.addresses[self.pid] = (self.address_with_token, arg.allow_actions)
        self._lend()
        return started

    def _lend(self) -> None:
        if self._page.lease is not None:
            self._leases += 1
            process.send_after(self.pid, _Over(self._leases), self._page.lease)

    def handle_info(self, message: Any, state: Any) -> Any:
        """Goes on, or ends when nobody has asked for that."""
        match message:
            case _GoOn():
                self._lend()
            case _Close():
                return Stop("shutdown", state)
            case _Over(number) if number == self._leases:
                return Stop("normal", state)
            case _Over():
                pass
            case _:
                return super().handle_info(message, state)
        return NoReply(state)

    def terminate(self, reason: object, state: Any) -> None:
        """Ends the streams of pages that are open, and then itself."""
        self._system.addresses.pop(self.pid, None)
        self._site.streams.close()
        super().terminate(reason, state)


_OPTIONS = {
    "lifespan": "off",
    "proxy_headers": False,
    "ws": "none",
    "timeout_graceful_shutdown": 2,
    "limit_concurrency": 64,
}


class Pages:
    """Opens the pages that are asked for, and ends them with the application.

    Args:
        system: What they show.
    """

    def __init__(self, system: RunningSystem) -> None:
        self._system = system
        self._pages: dict[str, tuple[Pid, str, bool]] = {}

    def __call__(
        self, port: int | None, allow_actions: bool | None, page: str | None, close: bool
    ) -> dict[str, Any]:
        """See `RunningSystem.observe`."""
        if page is not None:
            return self._asked_again(page, close)
        there = next((each for pid, each in self._system.addresses.copy().items() if pid.alive), None)
        if there is not None and port is None and allow_actions is None:
            url, acts = there
            return {"page": None, "url": url, "allow_actions": acts, "seconds": None}
        listener = Listener(HOST, port or 0)
        options = PageOptions(listener, new_token(), bool(allow_actions), self._system, lease=LEASE)
        try:
            pid = PageServer.start(options)
        except StartError as error:
            reason = getattr(error.reason, "exception", error.reason)
            why = getattr(reason, "strerror", None) or label(reason)
            raise Refusal("cannot_observe", f"the page cannot be opened: {why}") from error
        finally:
            listener.close()
        assert pid is not None
        self._pages = {id: each for id, each in self._pages.items() if each[0].alive}
        id, acts = secrets.token_urlsafe(9), bool(allow_actions)
        self._pages[id] = (pid, pid.actor.address_with_token, acts)
        return self._told(id)

    def _asked_again(self, id: str, close: bool) -> dict[str, Any]:
        pid, _, _ = self._pages.get(id) or (None, "", False)
        if pid is None or pid.dead:
            raise Refusal("unknown_page", f"there is no page {id!r}; it may have ended")
        pid.send(_Close() if close else _GoOn())
        return self._told(id)

    def _told(self, id: str) -> dict[str, Any]:
        _, url, acts = self._pages[id]
        return {"page": id, "url": url, "allow_actions": acts, "seconds": LEASE}

    def end(self) -> None:
        """The application has ended."""
        for pid, _, _ in self._pages.values():
            pid.send(_Close())

    def join(self, timeout: float = 3.0) -> None:
        """Waits a moment until none is left."""
        for pid, _, _ in self._pages.values():
            ref = process.monitor(pid)
            process.receive(functools.partial(_is_down, ref), timeout=timeout)


def _is_down(ref: Any, message: object) -> bool:
    return isinstance(message, Down) and message.ref is ref
