"""The queue: who asks for work gets a request, and a request comes back unless it was carried out."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from resprout import Down, GenServer, NoReply, Ok, Ref, Stop, process

from .ledger import ledger
from .requests import Request, make_requests
from .story import tell

BACK_AFTER = 1.0
"""Seconds until a user that somebody else is at work on comes up again."""


@attrs.frozen
class Take:
    """A worker asks for a request, and waits until there is one. The answer None says that all is done."""


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


@attrs.frozen
class Loan:
    """A request that a worker has, and the monitor that tells of the end of that worker."""

    request: Request
    ref: Ref


@attrs.define
class Desk:
    """The state.

    Args:
        left: How many requests were not carried out yet.
        queue: Those that nobody has.
        out: Those that a worker has, by their numbers.
        idle: Workers that wait.
    """

    left: int
    queue: deque[Request]
    out: dict[int, Loan] = attrs.field(factory=dict)
    idle: deque[Any] = attrs.field(factory=deque)


class Backlog(GenServer):
    """Hands out the requests and ends as "normal" when all were carried out.

    It never waits for anything, so it runs on the thread of whoever sends to it. A worker that dies is
    noticed by its monitor; what it had goes back on the queue at once. Should the backlog itself crash, the
    next one finds in the ledger what is left.
    """

    blocking = False

    def init(self, arg: dict[str, object]) -> Ok:
        requests = make_requests(int(str(arg["seed"])), int(str(arg["count"])))
        left = deque(request for request in requests if not ledger.is_done(request))
        return Ok(Desk(len(left), left))

    def handle_call(self, message: Take, from_: Any, desk: Desk) -> NoReply | Stop:
        desk.idle.append(from_)
        return self._hand_out(desk)

    def handle_cast(self, message: Done | PutBack, desk: Desk) -> NoReply | Stop:
        loan = desk.out.pop(message.request.number, None)
        if loan is None:
            # From before a crash of the backlog, or of a worker that was given up: it is on the queue.
            return NoReply(desk)
        process.demonitor(loan.ref, flush=True)
        if isinstance(message, PutBack):
            ledger.put_back()
            process.send_after(self.pid, Again(message.request), BACK_AFTER)
        else:
            desk.left -= 1
        return self._hand_out(desk)

    def handle_info(self, message: Again | Down, desk: Desk) -> NoReply | Stop:
        if isinstance(message, Again):
            desk.queue.append(message.request)
        else:
            self._take_back(message, desk)
        return self._hand_out(desk)

    def _take_back(self, down: Down, desk: Desk) -> None:
        for loan in list(desk.out.values()):
            if loan.ref is down.ref:
                del desk.out[loan.request.number]
                ledger.gave_up()
                desk.queue.append(loan.request)
                tell(loan.request, down.reason)

    def _hand_out(self, desk: Desk) -> NoReply | Stop:
        while desk.queue and desk.idle:
            worker, request = desk.idle.popleft(), desk.queue.popleft()
            # Of a worker that died while it waited, this tells at once.
            desk.out[request.number] = Loan(request, process.monitor(worker.pid))
            GenServer.reply(worker, request)
        if desk.left:
            return NoReply(desk)
        for worker in desk.idle:
            GenServer.reply(worker, None)
        return Stop("normal", desk)
