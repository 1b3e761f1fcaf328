"""The jobs of this example, mails to many people, with everything that may happen to a mail."""

from __future__ import annotations

import time

from resprout import process, supervision

from .job import FINAL, Cancel, Discard, Job, Snooze, Unique, Worker
from .table import Table

ONCE = Unique(states=("scheduled", "available", "executing", "retryable", *FINAL), keys=("number",))


class Newsletter(Worker):
    """A mail that arrives in the end, whatever happens at its first attempt."""

    unique = ONCE

    def perform(self, job: Job) -> Snooze | None:
        time.sleep(job.args["seconds"])  # the mail server takes its time
        number = job.args["number"]
        if job.attempt == 1:
            if number % 10 == 0:
                raise ConnectionError("the mail server is down")
            if number % 10 == 1:
                return Snooze(0.1)  # the mail server wants us to come again later
            if number % 40 == 2:
                process.exit("the mail program has crashed")
        return None


class Misaddressed(Worker):
    """A mail that fails at each attempt."""

    unique, max_attempts = ONCE, 3

    def perform(self, job: Job) -> None:
        raise LookupError("there is nobody of that name")


class Unsubscribed(Worker):
    """A mail that nobody wants any more."""

    unique = ONCE

    def perform(self, job: Job) -> Cancel:
        return Cancel("unsubscribed")


class TooLong(Worker):
    """A mail that no mail server would take."""

    unique = ONCE

    def perform(self, job: Job) -> Discard:
        return Discard("too long")


KINDS = {Newsletter: 16, Misaddressed: 2, Unsubscribed: 1, TooLong: 1}
"""Of twenty mails so many are of each kind."""


def enqueue(database: str, twenties: int = 5, seconds: float = 0.01) -> None:
    """Insert all jobs, each of them twice; those that are there already stay as they are."""
    table = Table(database)
    table.create()
    kinds = [kind for kind, many in KINDS.items() for _ in range(many)]
    for number, kind in enumerate(kinds * twenties):
        for _ in range(2):
            table.insert(kind, {"number": number, "seconds": seconds})
    supervision.ready()  # now the queue may start
