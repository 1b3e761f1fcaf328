"""What a job is, what a worker is, and what may come of a job."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, TypeAlias

import attrs

State: TypeAlias = Literal[
    "scheduled",  # its time is still to come
    "available",  # the next one who has a hand free takes it
    "executing",  # somebody has taken it
    "retryable",  # it has failed, and waits for another attempt
    "completed",
    "discarded",  # it has failed too often
    "cancelled",  # it is not to be tried again
]
FINAL: tuple[State, ...] = ("completed", "discarded", "cancelled")


@attrs.frozen
class Job:
    """A row of the table, as it was when it was read.

    Args:
        id: Its number.
        worker: The name of the class that carries it out.
        args: What that needs to know, in JSON's types.
        state: Where it is in its life.
        attempt: How often somebody has taken it.
        max_attempts: How often that may be.
        errors: Why the attempts so far have failed.
        conflict: It was there before, so it was not inserted again.
    """

    id: int
    worker: str
    args: dict[str, Any]
    state: State
    attempt: int
    max_attempts: int
    errors: tuple[str, ...]
    conflict: bool = False


@attrs.frozen
class Snooze:
    """Not now, but in so many seconds; that is no failure."""

    seconds: float


@attrs.frozen
class Cancel:
    """Never: there is no reason to do it any more."""

    reason: str


@attrs.frozen
class Discard:
    """Never: it would fail each time."""

    reason: str


@attrs.frozen
class Unique:
    """There is one job of a worker with the same arguments at a time.

    Args:
        period: For so many seconds after it was inserted.
        states: As long as it is in one of these.
        keys: Only these arguments count; None for all of them.
    """

    period: float = math.inf
    states: tuple[State, ...] = ("scheduled", "available", "executing", "retryable", "completed")
    keys: tuple[str, ...] | None = None

    def what_counts(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments that count."""
        return args if self.keys is None else {key: args[key] for key in self.keys}


class Worker:
    """Carries out the jobs that have the name of its class."""

    max_attempts = 20
    unique: Unique | None = None

    known: ClassVar[dict[str, type[Worker]]] = {}

    def __init_subclass__(cls) -> None:
        Worker.known[cls.__name__] = cls

    def perform(self, job: Job) -> Snooze | Cancel | Discard | None:
        """Do it. It may be done again, since it is not known of an attempt that died how far it came.

        Raises:
            Exception: It failed; it is tried again, if it was not the last attempt.
            LookupError: The program has no such worker, as an older or newer one may have had.
        """
        raise LookupError(f"there is no worker {job.worker!r} that performs jobs")

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt."""
        return float(min(0.02 * 2 ** min(attempt, 20), 60.0))  # snoozes are attempts, too
