"""The queue, a producer: who asks for work gets a request, and it comes back unless it was carried out."""

from __future__ import annotations

from collections import deque

import attrs

from resprout import NoReply, Ok, Stop, process
from resprout.stages import Cancellation, From, Producer, demand

from .ledger import ledger
from .lending import Lending
from .requests import Request, make_requests
from .story import tell

BACK_AFTER = 1.0
"""Seconds until a user that somebody else is at work on comes up again."""


@attrs.frozen
class Done:
    """A worker has carried a request out."""

    request: Request


@attrs.frozen
class PutBack:
    """A worker cannot carry a request out now, since the user is taken."""

    request: Request


@attrs.frozen
class Again:
    """A request comes up again; sent by the clock."""

    request: Request


@attrs.define
class Desk:
    """The state.

    Args:
        left: How many requests were not carried out yet.
        queue: Those that nobody has.
        lent: Those that a worker has, and which one: noted by the dispatcher.
        demand: How many workers wait for a request.
    """

    left: int
    queue: deque[Request]
    lent: dict[Request, From] = attrs.field(factory=dict)
    demand: int = 0


class Backlog(Producer):
    """Hands out the requests and ends as "normal" when all were carried out.

    It never waits for anything, so it runs on the thread of whoever sends to it. What a worker held when it
    died goes back on the queue at once. Should the backlog itself crash, the next one finds in the ledger
    what is left. It only gathers demand until it is opened: with little to do it would end before the last
    worker has come.
    """

    blocking = False

    def init(self, arg: dict[str, int]) -> Ok:
        requests = make_requests(**arg)
        left = deque(request for request in requests if not ledger.is_done(request))
        desk = Desk(len(left), left)
        return Ok(desk, dispatcher=Lending(desk.lent), demand="accumulate")

    def handle_demand(self, demand: int, desk: Desk) -> NoReply | Stop:
        desk.demand += demand
        return self._hand_out(desk)

    def handle_cast(self, message: Done | PutBack, desk: Desk) -> NoReply | Stop:
        if desk.lent.pop(message.request, None) is None:
            # Nobody has it: the worker was given up meanwhile, and it is on the queue.
            return NoReply(desk)
        if isinstance(message, PutBack):
            ledger.put_back()
            process.send_after(self.pid, Again(message.request), BACK_AFTER)
        else:
            desk.left -= 1
        return self._hand_out(desk)

    def handle_info(self, message: Again, desk: Desk) -> NoReply | Stop:
        desk.queue.append(message.request)
        return self._hand_out(desk)

    def handle_cancel(self, reason: Cancellation, from_: From, desk: Desk) -> NoReply | Stop:
        """A worker has died, and what it held is to be done by another."""
        for request in [request for request, holder in desk.lent.items() if holder == from_]:
            del desk.lent[request]
            ledger.gave_up()
            desk.queue.append(request)
            tell(request, reason.reason)
        return self._hand_out(desk)

    def _hand_out(self, desk: Desk) -> NoReply | Stop:
        if not desk.left:
            ledger.finish()
            return Stop("normal", desk)
        ready = [desk.queue.popleft() for _ in range(min(desk.demand, len(desk.queue)))]
        desk.demand -= len(ready)
        return NoReply(desk, events=ready)


def open_backlog() -> None:
    """Has the backlog hand out requests, now that all its workers have subscribed."""
    demand("backlog", "forward")
