"""What the example counts where its handlers are in several OS processes: in files, which all of them see.

A process may be killed at any moment, so nobody is trusted to count down: a handler at work holds the lock of
a file (`flock`), which the operating system gives back for those that are gone.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType

from . import measure


class SharedCounter(measure.Counter):
    """A file that gets one byte longer each time."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    @property
    def value(self) -> int:
        return os.fstat(self._file).st_size

    def up(self) -> None:
        os.write(self._file, b".")


class SharedGauge(measure.Gauge):
    """A folder of files. Who comes in locks the first that is free, so there are as many as were needed.

    While one looks for a free file nobody else does, so those that hold the files in front of it were all
    inside when it began to look.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._turn = folder.with_suffix(".turn")
        self._held: list[int] = []

    @property
    def inside(self) -> int:
        with _locked(self._turn):
            free = [file for name in os.listdir(self._folder) if (file := _lock(self._folder / name))]
            inside = self.most - len(free)
            for file in free:
                os.close(file)
        return inside

    @property
    def most(self) -> int:
        return len(os.listdir(self._folder))

    def __enter__(self) -> None:
        with _locked(self._turn):
            self._held.append(next(file for n in count() if (file := _lock(self._folder / str(n)))))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._held.pop())


def _lock(path: Path) -> int | None:
    """The file, locked until it is closed; None if somebody else has it."""
    file = os.open(path, os.O_CREAT | os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def share() -> str:
    """Begins to count in files, once in a run; they go when this program ends.

    Returns:
        Where, for those that join.
    """
    folder = mkdtemp()
    atexit.register(shutil.rmtree, folder)
    join(folder)
    return folder


def join(folder: str) -> None:
    """Counts there, together with all others that do."""
    measure.handled = SharedCounter(Path(folder, "handled"))
    measure.running = SharedGauge(Path(folder, "running"))
