"""`resprout run`: an Application with a display, chaos and a report around it."""

from __future__ import annotations

import logging
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import attrs

from ..actors import CallTimeout, ConfigError, Crash, NoProcess, Pid, StartError, process
from ..actors.engine import in_words
from ..monitoring import service_told_of
from ..supervision import Application
from . import report
from .chaos import How, Rules
from .checking import INVALID, CheckOptions, job_mistake, tree_kept
from .display import restarts_text
from .farewell import Farewell
from .job import Job
from .logs import LogOptions, logging_from_the_start, logging_to, unwritable_log
from .look import Lookout
from .ports import PortReports, port_obstacle
from .report import Chaos, Outcome
from .saboteur import Saboteur
from .screen import Look, Screen, screen_for
from .snapshot import Snapshot
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
        log: What of the log is shown, and where else it goes.
        overlays: What is laid over the tree file.
        socket, control_tcp: Where the tree answers commands, as of `Application.load`.
    """

    tree: Path
    settings: Mapping[str, str] = attrs.field(factory=dict)
    report: Path | None = None
    chaos: int = 0
    seed: int | None = None
    rules: Rules = attrs.field(factory=Rules)
    look: Look = "auto"
    log: LogOptions = attrs.field(factory=LogOptions)
    overlays: Sequence[str] = ()
    socket: Path | bool | None = None
    control_tcp: int | None = None


def run_tree(options: RunOptions) -> int:
    """Runs a tree until it ends; call it in the main thread, where signals come.

    Returns:
        The exit status: that of `Application.run`, or 2 if nothing was started because something is wrong
        with the file or the options.
    """
    with logging_from_the_start(options.log, quiet=options.look == "quiet"):
        return _load_and_run(options)


def _load_and_run(options: RunOptions) -> int:
    try:
        application = Application.load(
            options.tree,
            options.settings,
            overlays=options.overlays,
            socket=options.socket,
            control_tcp=options.control_tcp,
        )
    except ConfigError as error:
        return _refuse(str(error))
    with tree_kept():
        wrong = _mistakes(options, application)
        if wrong:
            application.tree.close()
            return _refuse("\n".join(f"resprout: {sentence}" for sentence in wrong))
        return _Run(options, application).run()


def _mistakes(options: RunOptions, application: Application) -> list[str]:
    found = unknown_names(options.rules, application.tree.children)
    if options.report is not None and (reason := report.unwritable(options.report)) is not None:
        found.append(f"the report cannot be written: {reason}")
    if options.log.file is not None and (reason := unwritable_log(options.log.file)) is not None:
        found.append(f"the log cannot be written: {reason}")
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
        self._holding: list[PortReports] = []
        self._farewell = Farewell(lambda: application.begun)

    def run(self) -> int:
        """Runs it and tells how it ended."""
        with self._farewell.protected():
            return self._run(monotonic())

    def _run(self, began: float) -> int:
        obstacles = self._application.tree.obstacles()
        if obstacles:
            self._application.tree.close()
            return self._not_started(obstacles, began)
        log = self._options.log
        logging_here = logging_to(
            self._screen.log_handler(log),
            log,
            chaos=self._chaos is not None,
            quiet=self._options.look == "quiet",
            alone=self._screen.alone,
            held=self._held,
        )
        with logging_here:
            try:
                job: Job | None = self._application.job
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                self._application.tree.close()
                outcome = self._stopped(began)
                if outcome is None:
                    logger.exception("the job could not be made")
                    outcome = self._failed(f"the job could not be made: {_first_line(Crash(error))}", began)
                return self._tell(outcome, "")
            try:
                outcome = self._observe(job, began)
            except (KeyboardInterrupt, SystemExit):
                outcome = self._stopped(began)
                if outcome is None:
                    raise
                return self._tell(outcome, "")
            outcome, words = _with_job(outcome, job, self._application.root is not None)
        obstacle = port_obstacle(self._application)
        if obstacle is not None:
            return self._not_started([obstacle], began)
        return self._tell(outcome, words)

    def _not_started(self, obstacles: list[str], began: float) -> int:
        """Tells what keeps the tree from starting, a line each, in place of what crashed of it or would."""
        for sentence in obstacles:
            print(f"resprout: {sentence}", file=sys.stderr)
        return self._reported(self._failed("; ".join(obstacles), began))

    def _stopped(self, began: float) -> Outcome | None:
        """The outcome of a run that a signal has ended before its tree began; None if none has."""
        number = self._farewell.stopped_by
        if number is None or self._application.begun:
            return None
        outcome = self._failed(f"stopped by {number.name} before the tree started", began)
        return attrs.evolve(outcome, exit_status=128 + number)

    def _failed(self, reason: str, began: float) -> Outcome:
        """The outcome of a run whose tree has not started."""
        name, seconds = self._application.name, monotonic() - began
        return Outcome(name, seconds, self._tally.restarts, FAILED, reason, chaos=self._chaos)

    def _held(self, handler: logging.Handler) -> PortReports:
        self._holding.append(PortReports(self._application, handler))
        return self._holding[-1]

    def _observe(self, job: Job | None, began: float) -> Outcome:
        """Runs the tree with everything around it; no thread of the observer is left when this returns."""
        application = self._application
        with ExitStack() as stack:
            seen = stack.enter_context(signals_seen())
            lookout = Lookout(
                application.name, lambda: application.root, job, self._tally, seen, application.starting
            )
            saboteur = self._saboteur(lookout)
            watch = Watch(lambda: self._look(lookout), self._screen)
            on_exit = None if saboteur is None else saboteur.has_died
            stack.enter_context(self._tally.attached(on_exit))
            stack.callback(watch.stop)
            watch.start()
            stack.enter_context(service_told_of(application))
            if saboteur is not None:
                stack.callback(saboteur.stop)
                saboteur.start()
            status = application.run()
            self._farewell.begin()
            signals = seen()
            if "SIGHUP" in signals:
                # The shell of a closed terminal sends another one when it ends; the report is to be written.
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return Outcome(
            application.name,
            monotonic() - began,
            self._tally.restarts,
            status,
            reason_of(status, signals, application, self._tally),
            () if saboteur is None else saboteur.crashes,
            self._chaos,
            addresses=self._tally.addresses,
        )

    def _look(self, lookout: Lookout) -> Snapshot:
        for each in self._holding:
            each.settle()
        return lookout.look()

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
    failed = application.start_error
    if failed is not None:
        why = failed.reason if type(failed) is StartError else Crash(failed)
        return f"the tree did not start: {_first_line(why)}"
    if signals:
        again = " and at once by another" if len(signals) > 1 and status > 128 else ""
        return f"stopped by {signals[0]}{again}"
    if status == 0:
        return "finished"
    if tally.gave_up is not None:
        event = tally.gave_up
        return (
            f"a supervisor gave up: more than {restarts_text(event.max_restarts)} among its children in "
            f"{event.max_seconds:g} s, last of child {event.id!r}: {_first_line(event.reason)}"
        )
    try:
        return f"the root ended with {_first_line(application.wait(0.0))}"
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
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        # It may exit, or hang until somebody has interrupted it; the rest is told all the same.
        logger.exception("the job could not report")
        failed = {"job_error": in_words(Crash(error))}
        return attrs.evolve(outcome, fields=failed, exit_status=outcome.exit_status or FAILED), ""


def _first_line(reason: object) -> str:
    """A reason in words that fit a table: the whole of it has been logged."""
    return in_words(reason).partition("\n")[0]
