"""A worker, a consumer: makes sure that nobody else is at work on the user it is asked for, and syncs it."""

from __future__ import annotations

import time

from resprout import AlreadyRegistered, GenServer, NoReply, Ok, Registry
from resprout.stages import Consumer, From

from .backlog import Done, PutBack
from .ledger import ledger
from .requests import Request
from .story import RemoteTrouble

REGISTRY = "syncs"


class SyncWorker(Consumer):
    """Syncs the users that its producer hands out, one at a time, and ends with it.

    It does not clean up behind itself: when it crashes, the registry forgets its key, and the backlog takes
    its request back. When it is killed in the middle of a sync, whose remote call knows nothing of that and
    goes on for a moment, the key stays taken until the call is over, since the registry lingers.
    """

    def init(self, arg: object) -> Ok:
        return Ok(None)

    def handle_events(self, events: list[Request], from_: From, state: None) -> NoReply:
        [request] = events  # `max_demand: 1`
        try:
            Registry.register(REGISTRY, request.user, request.number)
        except AlreadyRegistered:
            GenServer.cast(from_.pid, PutBack(request))
        else:
            sync(request)
            Registry.unregister(REGISTRY, request.user)
            GenServer.cast(from_.pid, Done(request))
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
