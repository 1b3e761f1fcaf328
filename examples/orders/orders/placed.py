"""The consumers in OS processes of their own, with `--set source=placed`; the lock is the one of the tree."""

from __future__ import annotations

from typing import Any

from resprout import ChildSpec, Ok, Supervisor, Via, process, throttle

from . import across, database, measure, store
from .consumer import THROTTLE, PartitionConsumer
from .files import PARTITIONS


class Consumers(Supervisor):
    """Ends when the last consumer has stopped at the end of its partition.

    Its argument goes on to the consumers: `topic` is the folder to read from, if it is another one.
    """

    def init(self, arg: dict[str, str] | None) -> object:
        measure.num_slots = throttle.lock_info(THROTTLE).num_slots
        url = database.engine().url.render_as_string(hide_password=False)
        options = {"url": url, "counted": across.share(), **(arg or {})}
        return Supervisor.init_spec(
            [_consumer(str(number), options) for number in range(PARTITIONS)],
            strategy="one_for_one",
            auto_shutdown="all_significant",
            max_restarts=200,
        )


def _consumer(partition: str, options: dict[str, str]) -> ChildSpec:
    return ChildSpec(
        f"consumer-{partition}",
        start=(
            PlacedConsumer.start_link,
            ({"partition": partition, **options},),
            {"name": Via("partitions", partition)},
        ),
        restart="transient",
        significant=True,
        placement="process",
    )


class PlacedConsumer(PartitionConsumer):
    """Has one connection of its own, as those of the tree's pool are in another OS process.

    `args` has besides `url`, the database, and `counted`, the folder where all of them are counted.
    """

    def init(self, arg: dict[str, Any]) -> Ok:
        across.join(arg["counted"])
        database.own = process.own(store.connect(arg["url"], size=1), store.close)
        return super().init(arg)
