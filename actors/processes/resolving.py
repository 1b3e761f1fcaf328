"""From a server argument (a Pid, a local name, a Named, a foreign ref) to the process behind it."""

from __future__ import annotations

from typing import NoReturn

from ..runtime.forked import first_use, was_there
from ..runtime.thread_state import check_alive, dead_but_running
from ..vocabulary.errors import NameInParent, NoProcess, StalePid, no_process
from ..vocabulary.messages import Named
from ..vocabulary.pykka_types import is_foreign
from .elsewhere import in_parent
from .foreign import stand_in
from .names import names
from .pid import Pid


def not_a_server(server: object) -> NoReturn:
    """Refuse something that is no server argument."""
    raise TypeError(f"expected a Pid, a registered name (str) or a Via, got: {server!r}")


def not_a_pid(given: object, wanted: str = "expected pid to be a Pid") -> NoReturn:
    """Refuse something that is no Pid, where no name will do. A process elsewhere says so itself."""
    refuse = getattr(given, "not_here", None)
    if refuse is not None:
        refuse()
    raise TypeError(f"{wanted}, got: {given!r}")


def resolve(server: object) -> Pid:
    """Find the process behind a server argument.

    Raises:
        NoProcess: nobody has that name.
        TypeError: it is neither a Pid nor a name.
    """
    if isinstance(server, Pid):
        return server
    if dead_but_running:
        check_alive()
    pid = whereis(server)
    if pid is None:
        raise nobody(server)
    return pid


def nobody(server: object) -> NoProcess:
    """Make the error for a server argument behind which there is no living process."""
    if isinstance(server, Pid):
        return no_process(server)
    if was_there("process", server):
        return StalePid(server)
    owner = in_parent(server)
    return NoProcess(server) if owner is None else NameInParent(server, owner.what)


def whereis(server: object) -> Pid | None:
    """Find the living process behind a name; None when there is none."""
    if isinstance(server, str):
        pid = names.get(server)
        if pid is None and first_use():
            pid = names.get(server)
        return pid if pid is not None and not pid.dead else None
    if isinstance(server, Pid):
        return server if server.alive else None
    if isinstance(server, Named):
        found: Pid | None = server.whereis_name()
        return found
    if not is_foreign(server):
        not_a_server(server)
    foreign = stand_in(server)
    return foreign if foreign is not None and not foreign.dead else None
