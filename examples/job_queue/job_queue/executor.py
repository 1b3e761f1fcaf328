"""The process of one job: it has the worker perform it, and writes down what came of that."""

from __future__ import annotations

import logging

from .job import Cancel, Discard, Job, Snooze, Worker
from .table import Table

DIED = "its process died"
logger = logging.getLogger(__name__)


def execute(job: Job, database: str) -> None:
    """Carry out one attempt.

    A process that dies in the middle of it is started again by its supervisor, with the same job. It finds
    that the attempt was begun by its former self, which died of it: so that has failed. One that ends in good
    order (`process.exit("normal")`) is not started again, so it says so itself.
    """
    table = Table(database)
    if not table.begin(job):
        table.fail(job, DIED, backoff(job))
        return
    try:
        outcome = Worker.known.get(job.worker, Worker)().perform(job)
    except Exception as error:
        table.fail(job, f"{type(error).__name__}: {error}", backoff(job))
        return
    except BaseException:
        table.fail(job, DIED, backoff(job))
        raise
    match outcome:
        case Snooze():
            table.snooze(job, outcome)
        case Cancel() | Discard():
            table.give_up(job, outcome)
        case _:
            table.complete(job)


def backoff(job: Job) -> float:
    """Seconds until the next attempt, as the worker wants it, or as any worker would if that fails, too."""
    try:
        return float(Worker.known.get(job.worker, Worker)().backoff(job.attempt))
    except Exception:
        logger.exception("%s.backoff(%d) has failed", job.worker, job.attempt)
        return Worker().backoff(job.attempt)
