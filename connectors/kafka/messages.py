"""What the processes of a group subscriber say to each other, and what they know of each other."""

from __future__ import annotations

from typing import Any

import attrs

from ...actors import Pid
from ...actors.engine import Notice
from .assignment import Assignment, Run
from .options import GroupOptions


@attrs.define
class Family:
    """The processes of one subscriber: each that starts says who it is, and its supervisor restarts them all
    together.
    """

    options: GroupOptions
    partitions: Pid | None = None
    """The supervisor of the partitions' processes."""
    dead_letters: Any = None
    """The Pid of the process that writes dead letters."""


@attrs.frozen
class Turn(Notice):
    """The coordinator to itself: look after the consumer once more."""


@attrs.frozen
class Fetched(Notice):
    """The coordinator to a partition's process: the next messages, in order."""

    messages: tuple[Any, ...]


@attrs.frozen
class TookOver(Notice):
    """A restarted process of a partition to the coordinator: it goes on, and was given nothing so far."""

    assignment: Assignment
    run: Run


@attrs.frozen
class GetPositions:
    """To the coordinator: how far is each partition?"""


@attrs.frozen
class DeadLetter:
    """To the process that writes dead letters: a message, and why it could not be handled."""

    message: Any
    error: Exception
