"""The queue: a producer of jobs that are due, which takes as many from the table as its workers ask for."""

from __future__ import annotations

import uuid
from typing import Any

import attrs

from resprout import NoReply, Ok, Stop, process
from resprout.stages import Automatic, Producer

from .job import FINAL
from .table import Table


@attrs.frozen
class Look:
    """It is time to look at the table; sent by the clock."""


@attrs.frozen
class Options:
    """How it works.

    Args:
        database: The file.
        poll: Seconds between two looks at the table.
        silence: Seconds without a sign of life after which a node counts as lost, with all that it has taken.
        drain: Whether to stop when there is nothing left to do.
    """

    database: str
    poll: float = 0.05
    silence: float = 1.0
    drain: bool = True


class Queue(Producer):
    """Remembers how many jobs are wanted, and looks for some now and then.

    Each queue that is started is a node of its own. When one dies, alone or with its whole program, others
    miss its sign of life, and make available again what it had taken.
    """

    def init(self, arg: dict[str, Any]) -> Ok:
        self.options = Options(**arg)
        self.node = uuid.uuid4().hex
        self.table = Table(self.options.database)
        self.table.create()
        self.looks = False
        return Ok(0)

    def handle_subscribe(self, kind: str, options: object, from_: object, wanted: int) -> Automatic:
        if not self.looks:  # it begins when the workers are there: the first look may be the last
            self.looks = True
            self.table.give_sign_of_life(self.node)
            process.send(self.pid, Look())
        return Automatic(wanted)

    def handle_demand(self, demand: int, wanted: int) -> NoReply:
        return self._take(wanted + demand)

    def handle_info(self, message: Look, wanted: int) -> NoReply | Stop:
        self.table.give_sign_of_life(self.node)
        self.table.rescue(self.options.silence)
        self.table.stage()
        if self.options.drain and set(self.table.counts()) <= set(FINAL):
            return Stop("normal", wanted)
        process.send_after(self.pid, Look(), self.options.poll)
        return self._take(wanted)

    def _take(self, wanted: int) -> NoReply:
        jobs = self.table.fetch(wanted, self.node) if wanted else []
        return NoReply(wanted - len(jobs), events=jobs)
