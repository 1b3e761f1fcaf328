"""The topic as files, which is the default: one consumer per partition, until all of them are at the end."""

from __future__ import annotations

from resprout import ChildSpec, Supervisor, Via

from .consumer import PartitionConsumer

PARTITIONS = 16


class Consumers(Supervisor):
    """Ends when the last consumer has stopped at the end of its partition.

    Its argument goes on to the consumers: `topic` is the folder to read from, if it is another one.
    """

    def init(self, arg: dict[str, str] | None) -> object:
        return Supervisor.init_spec(
            [_consumer(str(number), arg or {}) for number in range(PARTITIONS)],
            strategy="one_for_one",
            auto_shutdown="all_significant",
            max_restarts=200,
        )


def _consumer(partition: str, options: dict[str, str]) -> ChildSpec:
    return ChildSpec(
        f"consumer-{partition}",
        start=(
            PartitionConsumer.start_link,
            ({"partition": partition, **options},),
            {"name": Via("partitions", partition)},
        ),
        restart="transient",  # after a crash, not after the last message
        significant=True,
    )
