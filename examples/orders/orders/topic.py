"""The topic: a folder of partitions, each a JSON Lines file whose line numbers are its offsets.

It stands in for a Kafka client. A consumer asks for the message at an offset, and keeps the offset itself.
"""

from __future__ import annotations

from pathlib import Path

import attrs

FOLDER = Path(__file__).resolve().parents[1] / "topic"
"""The topic that is shipped with the example."""


@attrs.frozen
class Message:
    """One line of a partition as it stands there, not yet understood."""

    partition: int
    offset: int
    raw: bytes

    @property
    def file(self) -> str:
        """The file that the line is in, for whoever looks after dead letters."""
        return file_name(self.partition)

    @property
    def line(self) -> int:
        """The number of the line as editors count, from 1."""
        return self.offset + 1


@attrs.frozen
class Partition:
    """The messages of one partition, in the order in which all events of an order must be handled."""

    number: int
    lines: tuple[bytes, ...] = attrs.field(repr=False)

    def __len__(self) -> int:
        return len(self.lines)

    def message(self, offset: int) -> Message | None:
        """The message at the offset, None when the partition ends before it."""
        return Message(self.number, offset, self.lines[offset]) if offset < len(self.lines) else None


def file_name(partition: int) -> str:
    """The name of a partition's file."""
    return f"partition-{partition:02d}.jsonl"


def read_partition(partition: int, folder: Path = FOLDER) -> Partition:
    """Reads a partition. Only newlines end a line: other separators may stand inside a text."""
    content = (folder / file_name(partition)).read_bytes()
    return Partition(partition, tuple(content.removesuffix(b"\n").split(b"\n")) if content else ())


def read_topic(folder: Path = FOLDER) -> list[Partition]:
    """Reads all partitions of a folder, by number."""
    return [read_partition(number, folder) for number in range(len(list(folder.glob("partition-*.jsonl"))))]
