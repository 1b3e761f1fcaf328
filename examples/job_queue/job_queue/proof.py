"""What `resprout run` shows of the work, and the proof at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from resprout.observer import Progress

from .executor import DIED
from .job import FINAL, Job, Worker
from .mails import KINDS
from .table import LOST, Table

ENDS = {
    "Newsletter": "completed",
    "Misaddressed": "discarded",
    "Unsubscribed": "cancelled",
    "TooLong": "discarded",
}


class NotExact(Exception):
    """The proof has failed; so the run fails."""


@attrs.frozen
class Result:
    """What came of a run.

    Args:
        expected: How many jobs there should be in the end, those that earlier runs have left included.
        ended_before: How many had ended before the run began.
        states: How many are in which state.
        wrong: Those that are there twice, ended as they should not, or have attempts that nobody can explain.
        attempts: All attempts at all jobs.
        died: How many attempts failed since their process died.
        lost: How many failed since their node was lost.
    """

    expected: int
    ended_before: int
    states: dict[str, int]
    wrong: list[str]
    attempts: int
    died: int
    lost: int


class Proof:
    """Looks at the table from outside the tree.

    Args:
        database: The file.
        twenties: How many times twenty mails there are.

    Raises:
        ValueError: That is negative.
    """

    def __init__(self, database: str, twenties: int) -> None:
        if twenties < 0:
            raise ValueError(f"expected twenties to be 0 or more, got: {twenties}")
        self._table = Table(database)
        self._table.create()
        self._asked = twenties * sum(KINDS.values())
        self._ended_before = ended(self._table.counts())

    def progress(self) -> Progress:
        """How many jobs have ended."""
        counts = self._table.counts()
        return Progress(ended(counts), max(self._asked, sum(counts.values())), unit="jobs")

    def result(self) -> Result:
        """Looks at every job."""
        jobs = self._table.jobs()
        times = Counter((job.worker, job.args["number"]) for job in jobs)
        errors = Counter(error for job in jobs for error in job.errors)
        return Result(
            expected=max(self._asked, len(jobs)),
            ended_before=self._ended_before,
            states=dict(Counter(job.state for job in jobs)),
            wrong=[
                f"{job.worker} {job.args['number']}"
                for job in jobs
                if times[job.worker, job.args["number"]] > 1 or not is_right(job)
            ],
            attempts=sum(job.attempt for job in jobs),
            died=errors[DIED],
            lost=errors[LOST],
        )

    def report(self) -> dict[str, object]:
        """The result as `--report` writes it.

        Raises:
            NotExact: A job is wrong.
        """
        result = self.result()
        if result.wrong:
            raise NotExact(f"{len(result.wrong)} jobs are wrong, such as {result.wrong[0]}")
        return attrs.asdict(result)

    def summary(self) -> str:
        """The result for people."""
        result = self.result()
        if not result.expected:
            return "nothing to do: there are no jobs"
        if result.ended_before == result.expected:
            return f"nothing left to do: all {result.expected} jobs had ended before"
        states = ", ".join(f"{number} {state}" for state, number in sorted(result.states.items()))
        return (
            f"{ended(result.states)} of {result.expected} jobs have ended, each is there once: {states}\n"
            f"{result.attempts} attempts, {result.died} processes died in one, "
            f"{result.lost} were rescued from a lost node"
        )


def ended(states: Mapping[str, int]) -> int:
    """How many jobs are in a state that they stay in."""
    return sum(states.get(state, 0) for state in FINAL)


def is_right(job: Job) -> bool:
    """Whether it has ended as its kind should, if it has, and every attempt is accounted for."""
    snoozed = job.max_attempts - Worker.known[job.worker].max_attempts
    known = len(job.errors) + snoozed + (job.state in ("completed", "executing"))
    return job.attempt == known and (job.state == ENDS[job.worker] or job.state not in FINAL)
