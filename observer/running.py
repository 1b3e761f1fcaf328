"""`resprout run`: an Application with a display, chaos and a report around it."""

from __future__ import annotations

import logging
import random
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import attrs

from ..actors import CallTimeout, ConfigError, NoProcess, Pid, process
from ..supervision import Application
from . import report
from .chaos import How, Rules
from .checking import INVALID, CheckOptions, job_mistake
from .job import Job
from .logs import logging_to
from .look import Lookout
from .report import Chaos, Outcome
from .saboteur import Saboteur
from .screen import Look, Screen, screen_for
from .specs import temporary, unknown_names
from .tally import Tally, signals_seen
from .watch import Watch

__all__ = ["RunOptions", "reason_of", "run_tree"]

logger = logging.getLogger("resprout.observer")

FAILED = 1
"""The exit status of a run that came to a bad end."""


@attrs.frozen
class RunOptions:
    """What to run, and what to show of it.

    Args:
        tree: The tree file.
        settings: Values of the variables in it.
        report: Where the report goes, if anywhere.
        chaos: How many times children are taken down.
        seed: Of the choice of victims; None takes another each time.
        rules: Who may be a victim.
        look: How the run is shown.
    """

    tree: Path
    settings: Mapping[str, str] = attrs.field(factory=dict)
    report: Path | None = None
    chaos: int = 0
    seed: int | None = None
    rules: Rules = attrs.field(factory=Rules)
    look: Look = "auto"


def run_tree(options: RunOptions) -> int:
    """Runs a tree until it ends; call it in the main thread, where signals come.

    Returns:
        The exit status: that of `Application.run`, or 2 if nothing was started because something is wrong
        with the file or the options.
    """
    try:
        application = Application.load(options.tree, options.settings)
    except ConfigError as error:
        return _refuse(str(error))
    wrong = _mistakes(options, application)
    if wrong:
        application.tree.close()
        return _refuse("\n".join(f"resprout: {sentence}" for sentence in wrong))
    return _Run(options, application).run()


def _mistakes(options: RunOptions, application: Application) -> list[str]:
    found = unknown_names(options.rules, application.tree.children)
    if options.report is not None and (reason := report.unwritable(options.report)) is not None:
        found.append(f"the report cannot be written: {reason}")
    if (mistake := job_mistake(application)) is not None:
        found.append(f"{CheckOptions(options.tree).label}: {mistake}")
    return found


def _refuse(text: str) -> int:
    print(text, file=sys.stderr)
    return INVALID


class _Run:
    """One run, from the job to the report."""

    def __init__(self, options: RunOptions, application: Application) -> None:
        self._options = options
        self._application = application
        self._screen: Screen = screen_for(options.look, sys.stdout)
        self._tally = Tally(lambda: application.root)
        seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
        self._chaos = Chaos(options.chaos, seed) if options.chaos else None

    def run(self) -> int:
        """Runs it and tells how it ended."""
        began = monotonic()
        obstacles = self._application.tree.obstacles()
        if obstacles:
            return self._not_started(obstacles, began)
        with logging_to(self._screen.log_handler(), chaos=self._chaos is not None):
            try:
                job: Job | None = self._application.job
            except Exception as error:
                logger.exception("the job could not be made")
                self._application.tree.close()
                outcome = Outcome(
                    self._application.name,
                    monotonic() - began,
                    0,
                    FAILED,
                    f"the job could not be made: {error}",
                    chaos=self._chaos,
                )
                return self._tell(outcome, "")
            outcome = self._observe(job, began)
            outcome, words = _with_job(outcome, job, self._application.root is not None)
        return self._tell(outcome, words)

    def _not_started(self, obstacles: list[str], began: float) -> int:
        """Tells what keeps the tree from starting, a line each, rather than have its children crash."""
        for sentence in obstacles:
            print(f"resprout: {sentence}", file=sys.stderr)
        self._application.tree.close()
        name, reason = self._application.name, "; ".join(obstacles)
        outcome = Outcome(name, monotonic() - began, 0, FAILED, reason, chaos=self._chaos)
        return self._reported(outcome)

    def _observe(self, job: Job | None, began: float) -> Outcome:
        """Runs the tree with everything around it; no thread of the observer is left when this returns."""
        lookout = Lookout(
            self._application.name, lambda: self._application.root, job, lambda: self._tally.restarts
        )
        saboteur = self._saboteur(lookout)
        watch = Watch(lookout.look, self._screen)
        with ExitStack() as stack:
            seen = stack.enter_context(signals_seen())
            on_exit = None if saboteur is None else saboteur.has_died
            stack.enter_context(self._tally.attached(on_exit))
            stack.callback(watch.stop)
            watch.start()
            if saboteur is not None:
                stack.callback(saboteur.stop)
                saboteur.start()
            status = self._application.run()
            signals = seen()
            if "SIGHUP" in signals:
                # The shell of a closed terminal sends another one when it ends; the report is to be written.
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return Outcome(
            self._application.name,
            monotonic() - began,
            self._tally.restarts,
            status,
            reason_of(status, signals, self._application, self._tally),
            () if saboteur is None else saboteur.crashes,
            self._chaos,
        )

    def _saboteur(self, lookout: Lookout) -> Saboteur | None:
        if self._chaos is None:
            return None
        rules = self._options.rules
        return Saboteur(
            lambda: None if self._tally.ending else lookout.glance(),
            lookout.progress,
            take_down,
            wanted=self._chaos.wanted,
            seed=self._chaos.seed,
            rules=attrs.evolve(rules, spare=rules.spare | temporary(self._application.tree.children)),
        )

    def _tell(self, outcome: Outcome, words: str) -> int:
        status = self._reported(outcome)
        self._screen.summary(outcome, words)
        return status

    def _reported(self, outcome: Outcome) -> int:
        """Writes the report, if one is wanted; the exit status."""
        status = outcome.exit_status
        if self._options.report is not None:
            try:
                report.write(self._options.report, report.as_json(outcome))
            except (OSError, ValueError) as error:
                print(f"resprout: the report cannot be written: {error}", file=sys.stderr)
                status = status or FAILED
        return status


def take_down(victim: object, how: How, error: Exception) -> bool:
    """Ends a process as chaos wants it.

    Returns:
        False if it had ended by itself.
    """
    assert isinstance(victim, Pid)
    if not victim.alive:
        return False
    if how == "kill":
        process.exit(victim, "kill")
        return True
    try:
        process.inject(victim, error)
    except NoProcess:
        return False
    return True


def reason_of(status: int, signals: list[str], application: Application, tally: Tally) -> str:
    """Why a run ended, in words."""
    if signals:
        again = " and at once by another" if len(signals) > 1 and status > 128 else ""
        return f"stopped by {signals[0]}{again}"
    if status == 0:
        return "finished"
    if application.root is None:
        return "the tree did not start"
    if tally.gave_up is not None:
        event = tally.gave_up
        return (
            f"child {event.id!r} exceeded {event.max_restarts} restarts in {event.max_seconds:g} s, "
            "and its supervisor gave up"
        )
    try:
        return f"the root ended with {application.wait(0.0)!r}"
    except CallTimeout:
        return "the root did not end"


def _with_job(outcome: Outcome, job: Job | None, started: bool) -> tuple[Outcome, str]:
    """The outcome with the job's own fields, and its words; a job that fails at that fails the run."""
    if job is None:
        return outcome, ""
    if not started:
        # Nothing of what it counts has happened, so its words would tell of something else.
        return outcome, ""
    try:
        return attrs.evolve(outcome, fields=job.report()), job.summary()
    except Exception as error:
        logger.exception("the job could not report")
        failed = {"job_error": f"{type(error).__name__}: {error}"}
        return attrs.evolve(outcome, fields=failed, exit_status=outcome.exit_status or FAILED), ""
