"""A worker: takes a request, makes sure that nobody else is at work on that user, and carries it out."""

from __future__ import annotations

import time

import attrs

from resprout import AlreadyRegistered, GenServer, NoReply, Ok, ProcessExit, Registry, Stop

from .backlog import Done, PutBack, Take
from .ledger import ledger
from .requests import Request
from .story import RemoteTrouble

REGISTRY = "syncs"


@attrs.frozen
class SyncNext:
    """Told by a worker to itself: through its mailbox, so that it hears others between two syncs."""


class SyncWorker(GenServer):
    """Syncs users until there is nothing left to do, then stops as "normal".

    It does not clean up behind itself: when it crashes, the registry forgets its key, and the backlog takes
    its request back. When it is killed in the middle of a sync, whose remote call knows nothing of that and
    goes on for a moment, the key stays taken until the call is over, since the registry lingers.
    """

    def init(self, arg: object) -> Ok:
        GenServer.cast(self.pid, SyncNext())
        return Ok(None)

    def handle_cast(self, message: SyncNext, state: None) -> NoReply | Stop:
        try:
            request = GenServer.call("backlog", Take(), timeout=None)
        except ProcessExit:
            return Stop("shutdown", state)
        if request is None:
            return Stop("normal", state)
        try:
            Registry.register(REGISTRY, request.user, request.number)
        except AlreadyRegistered:
            GenServer.cast("backlog", PutBack(request))
        else:
            sync(request)
            Registry.unregister(REGISTRY, request.user)
            GenServer.cast("backlog", Done(request))
        GenServer.cast(self.pid, SyncNext())
        return NoReply(state)


def sync(request: Request) -> None:
    """Carries a request out, once, though a worker may crash before that, in the middle or after it."""
    first = ledger.is_first(request)
    with ledger.visit(request.user):
        if ledger.is_done(request):
            return
        if first and request.trouble == "before":
            time.sleep(request.seconds / 2)
            raise RemoteTrouble("cut off before the sync")
        time.sleep(request.seconds)  # the remote call
        ledger.carry_out(request)
    if first and request.trouble == "after":
        raise RemoteTrouble("cut off after the sync")
