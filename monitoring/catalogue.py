"""The metrics that there are: their names, what they measure, and what tells one series from another. Pure.

A name is OpenTelemetry's; Prometheus has it as its own rules say: underscores for dots, then the unit, and
`_total` behind a counter. `docs/metrics.md` lists all of them, and a test holds the page against this.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["gauge", "counter", "histogram"]
Labels: TypeAlias = tuple[str, ...]

SECONDS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)
"""Upper bounds of the histograms' buckets."""


@attrs.frozen
class Metric:
    """One metric.

    Attributes:
        name: OpenTelemetry's name.
        kind: `"gauge"`: how it is now; `"counter"`: how often it was so far; `"histogram"`: how long each
            took.
        about: What it measures, in a sentence.
        labels: The names of what tells one series of it from another.
        unit: `"s"` for seconds, or nothing.
    """

    name: str
    kind: Kind
    about: str
    labels: Labels = ()
    unit: str = ""

    @property
    def prometheus(self) -> str:
        """Prometheus' name, without the `_total` of a counter."""
        return self.name.replace(".", "_") + ("_seconds" if self.unit == "s" else "")

    @property
    def shown(self) -> str:
        """Prometheus' name as it stands in queries; behind that of a histogram come `_bucket`, `_sum` and
        `_count`.
        """
        return self.prometheus + ("_total" if self.kind == "counter" else "")


_CHILD = ("child",)
_LOCK = ("lock",)
_PARTITION = ("group", "topic", "partition")

METRICS: Final = (
    Metric("resprout.process.count", "gauge", "Living processes.", ("kind",)),
    Metric("resprout.process.messages", "gauge", "Messages that wait in all mailboxes."),
    Metric("resprout.process.longest_mailbox", "gauge", "Messages that wait in the longest mailbox."),
    Metric("resprout.process.stragglers", "gauge", "Killed processes whose code still runs."),
    Metric("resprout.process.crashes", "counter", "Processes that ended with an exception.", ("kind",)),
    Metric("resprout.child.running", "gauge", "Processes that run for a child.", _CHILD),
    Metric("resprout.child.unready", "gauge", "Children that should be at work and are not.", _CHILD),
    Metric("resprout.child.messages", "gauge", "Messages that wait for a child.", _CHILD),
    Metric("resprout.child.restarts", "counter", "Restarts of a child.", _CHILD),
    Metric("resprout.child.crashes", "counter", "Ends of a child that were not in order.", _CHILD),
    Metric(
        "resprout.child.overruns",
        "counter",
        "Kills of a child that did not end in time.",
        _CHILD,
    ),
    Metric("resprout.supervisor.exhausted", "counter", "Restart budgets that were used up.", _CHILD),
    Metric("resprout.throttle.running", "gauge", "Holders of a lock.", _LOCK),
    Metric("resprout.throttle.waiting", "gauge", "Requests that wait for a lock.", _LOCK),
    Metric("resprout.throttle.used", "gauge", "Slots of a lock that are taken.", _LOCK),
    Metric("resprout.throttle.num_slots", "gauge", "Slots that a lock has.", _LOCK),
    Metric("resprout.throttle.wait", "histogram", "How long slots were waited for.", _LOCK, "s"),
    Metric("resprout.throttle.hold", "histogram", "How long slots were held.", _LOCK, "s"),
    Metric("resprout.throttle.shed", "counter", "Requests refused since the line was full.", _LOCK),
    Metric("resprout.throttle.timeouts", "counter", "Requests that gave up waiting.", _LOCK),
    Metric("resprout.registry.entries", "gauge", "Registrations of living owners.", ("registry",)),
    Metric("resprout.stages.buffered", "gauge", "Events that a stage keeps for later.", ("stage",)),
    Metric("resprout.stages.demand", "gauge", "Events that a stage was asked for and owes.", ("stage",)),
    Metric("resprout.stages.discarded", "counter", "Events that found no room in a buffer.", ("stage",)),
    Metric("resprout.kafka.lag", "gauge", "Messages behind the last one that is done.", _PARTITION),
    Metric("resprout.kafka.committed", "gauge", "The offset that was committed last.", _PARTITION),
    Metric("resprout.kafka.in_flight", "gauge", "Messages in memory that are not done.", _PARTITION),
    Metric("resprout.kafka.retries", "counter", "Messages handled again after an error.", ("group", "topic")),
    Metric("resprout.kafka.dead_letters", "counter", "Messages given up.", ("group", "topic")),
    Metric("resprout.kafka.errors", "counter", "Errors that the client goes on after.", ("group",)),
    Metric("resprout.cluster.connected", "gauge", "Whether an engine has a session, 1 or 0.", ("engine",)),
    Metric("resprout.cluster.locks", "gauge", "Locks that use an engine.", ("engine",)),
    Metric("resprout.cluster.reconnects", "counter", "Sessions of an engine after the first.", ("engine",)),
    Metric("resprout.cluster.lost_grants", "counter", "Grants lost as an engine was away.", ("engine",)),
    Metric("resprout.cluster.tick", "histogram", "How long a request to the server took.", ("engine",), "s"),
    Metric("resprout.pool.threads", "gauge", "Threads of the pool."),
    Metric("resprout.pool.idle", "gauge", "Threads of the pool that have nothing to do."),
    Metric("resprout.pool.backlog", "gauge", "Processes that wait for a thread of the pool."),
    Metric("resprout.loop.lag", "gauge", "How long the slowest event loop took to call back.", unit="s"),
)
BY_NAME: Final = {metric.name: metric for metric in METRICS}
