"""The process of an engine: what can crash, and is started again. Its link talks to the server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..actors import Crash, Ok, process
from ..actors.engine import LibraryServer
from ..throttle.engine import EngineDown
from .driver import ConnectionLost, find_driver
from .handle import open_handle
from .link import Link
from .settings import EngineSettings, without_secrets

if TYPE_CHECKING:
    from ..actors import Pid


class EngineServer(LibraryServer):
    """Owns the link, and is asked nothing."""

    _what = "the process of an engine"
    _use = "the functions of resprout.throttle and resprout.cluster"

    def init(self, settings: EngineSettings) -> Any:
        connect = find_driver(settings)
        handle = open_handle(settings)
        handle.answered_by(self.pid)
        link = Link(handle, connect, partial(process.spawn, _end, self.pid))
        process.own(link, Link.stop)
        try:
            link.start()
        except ConnectionLost as error:
            raise EngineDown(settings.name, without_secrets(str(error), settings.url)) from None
        return Ok(handle)


def _end(pid: Pid, error: BaseException) -> None:
    process.exit(pid, Crash(error))
