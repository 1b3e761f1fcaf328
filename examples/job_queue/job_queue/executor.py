"""The process of one job: it has the worker perform it, and writes down what came of that."""

from __future__ import annotations

from .job import Cancel, Discard, Job, Snooze, Worker
from .table import Table

DIED = "its process died"


def execute(job: Job, database: str) -> None:
    """Carry out one attempt.

    A process that dies in the middle of it is started again by its supervisor, with the same job. It finds
    that the attempt was begun by its former self, which died of it: so that has failed.
    """
    table, worker = Table(database), Worker.known.get(job.worker, Worker)()
    backoff = worker.backoff(job.attempt)
    if not table.begin(job):
        table.fail(job, DIED, backoff)
        return
    try:
        outcome = worker.perform(job)
    except Exception as error:
        table.fail(job, f"{type(error).__name__}: {error}", backoff)
        return
    match outcome:
        case Snooze():
            table.snooze(job, outcome)
        case Cancel() | Discard():
            table.give_up(job, outcome)
        case _:
            table.complete(job)
