"""Where control sockets are, and how one is made, found and checked."""

from __future__ import annotations

import errno
import itertools
import os
import re
import secrets
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

try:
    import fcntl
except ImportError:  # Windows, which has no such sockets either
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "CAN_LISTEN",
    "Socket",
    "bound",
    "connected",
    "folders",
    "here",
    "hung_up",
    "listed",
    "owner_of",
    "place_of",
    "plain",
    "token_beside",
    "usable_folder",
]

CAN_LISTEN = hasattr(socket, "AF_UNIX")
"""Whether this system has Unix sockets."""
_FOLDER = "resprout"
_SUFFIX = ".sock"
_LONGEST_NAME = 40
_SHORTEST_NAME = 8
_REST = 20
"""Bytes of a file's name besides that of the system."""
_LONGEST_PATH = 100
"""Bytes: less than what every system takes for the path of a socket."""
_FOR_A_MOMENT = "."
"""What names begin with which a socket has while it is made."""
_MOMENT = 60.0
"""Seconds after which that was none: its program was killed."""
_TURN = 2.0
"""Seconds after which a socket is removed though somebody else is at that."""
_LOCAL_PEERCRED = 1
_SOL_LOCAL = 0


@attrs.frozen
class Socket:
    """A control socket in the file system.

    Args:
        path: Where.
        name: Of the system that listens there.
        os_pid: Of its program; None if its file does not say it.
    """

    path: Path
    name: str
    os_pid: int | None

    @property
    def label(self) -> str:
        """What tells it from others of the same name."""
        return self.path.name.removesuffix(_SUFFIX)

    def is_called(self, name: str) -> bool:
        """Whether that is the name of the system, of which a long one is cut."""
        whole = plain(name)
        return whole == self.name or (len(self.name) >= _SHORTEST_NAME and whole.startswith(self.name))


def folders() -> list[Path]:
    """Where sockets may be, the best place first."""
    run = os.environ.get("XDG_RUNTIME_DIR", "")
    shared = os.environ.get("TMPDIR") or "/tmp"  # in a folder of one's own there
    found = [Path(run) / _FOLDER] if run.startswith("/") else []
    return [*found, Path(shared) / f"{_FOLDER}-{os.geteuid()}"]


def usable_folder() -> Path:
    """The folder for a new socket, made if need be: the user's own, and nobody else's.

    Raises:
        OSError: There is none.
    """
    problem: OSError | None = None
    for folder in folders():
        try:
            _own_folder(folder)
            return folder
        except OSError as error:
            problem = error
    assert problem is not None
    raise problem


def _own_folder(folder: Path) -> None:
    if _room(folder) < _SHORTEST_NAME:
        raise OSError(errno.ENAMETOOLONG, "the path of the folder is too long for sockets", str(folder))
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EACCES, "not a folder that only its user may write to", str(folder))


def _room(folder: Path) -> int:
    """Bytes that the name of a system may have there."""
    return min(_LONGEST_NAME, _LONGEST_PATH - _REST - len(os.fsencode(folder)))


def plain(name: str) -> str:
    """The name of a system, as its file has it."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", name).lstrip(".") or "application"


def here(name: str, folder: Path) -> Iterator[Path]:
    """Where a system of this program may be in a folder, one place after the other, should one be taken."""
    cut = plain(name)[: _room(folder)]
    yield folder / f"{cut}-{os.getpid()}{_SUFFIX}"
    for number in range(2, 1_000):
        yield folder / f"{cut}.{number}-{os.getpid()}{_SUFFIX}"


def bound(path: Path) -> socket.socket:
    """A socket that listens at a path, which only its user may open.

    It gets its name when it listens: who finds the name never finds one that does not answer yet. What a dead
    process has left there is removed.

    Raises:
        FileExistsError: Somebody listens there, or it is no socket.
        OSError: It cannot be made.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        wanted = f"the path of a socket has at most {_LONGEST_PATH} bytes"
        raise OSError(errno.ENAMETOOLONG, wanted, str(path))
    if os.path.lexists(path) and not _is_removed(path):
        raise FileExistsError(errno.EEXIST, "somebody listens there, or it is no socket", str(path))
    unnamed = _unused(path.parent)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(os.fspath(unnamed))
        try:
            os.chmod(unnamed, 0o600)
            made.listen(16)
            made.setblocking(False)
            _name(unnamed, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(unnamed)
    except BaseException:
        made.close()
        raise
    return made


_numbers = itertools.count()


def _unused(folder: Path) -> Path:
    """A name for a moment that nobody else takes, in whatever program or thread."""
    return folder / f"{_FOR_A_MOMENT}{secrets.token_hex(3)}{next(_numbers):x}"


def _name(unnamed: Path, path: Path) -> None:
    """Gives it its name; not by a rename, which would take the place of somebody's who came meanwhile."""
    try:
        os.link(unnamed, path)
    except FileExistsError:
        raise
    except OSError:
        # There are no links in this file system.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "somebody listens there", str(path)) from None
        os.rename(unnamed, path)


def _is_removed(path: Path) -> bool:
    """Removes a socket that was left by a process which has ended; whether nobody is there now."""
    if not is_dead(path):
        return not os.path.lexists(path)
    with _alone_in(path.parent):
        # Somebody may have removed it meanwhile, and taken its place; nobody does while a dead one is there.
        if is_dead(path):
            os.unlink(path)
            return True
    return not os.path.lexists(path)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Nobody else, in this program or another one, removes a socket in a folder meanwhile.

    It is not waited for without end: in a folder of all users anybody could keep others from it.
    """
    if fcntl is None:
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        until = time.monotonic() + _TURN
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    break
                time.sleep(0.001)
            except OSError:
                break  # This file system knows no locks.
        yield
    finally:
        # Not by closing it alone: a process that was forked meanwhile has it open as well.
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_UN)
        os.close(opened)


def token_beside(path: Path) -> Path:
    """The file with the token of the system whose socket that is, if it answers on TCP as well."""
    return path.with_name(f"{path.name.removesuffix(_SUFFIX)}.token")


def place_of(path: Path) -> tuple[int, int] | None:
    """What tells a socket from another one that has its path later; None if there is nothing."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_dead(path: Path) -> bool:
    """Whether a socket is there, and was left by a process that has ended."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(os.fspath(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def listed() -> list[Socket]:
    """The sockets of running systems of this user; those that dead processes have left are removed."""
    found = []
    for folder in folders():
        with suppress(OSError):
            if os.lstat(folder).st_uid != os.geteuid():
                continue
            for path in sorted(folder.glob(f"*{_SUFFIX}")):
                name, _, number = path.name.removesuffix(_SUFFIX).rpartition("-")
                if not name or not number.isdigit():
                    continue
                if _is_removed(path):
                    token_beside(path).unlink(missing_ok=True)
                else:
                    found.append(Socket(path, name, int(number)))
            _tidy(folder)
    return found


def _tidy(folder: Path) -> None:
    """Removes what programs have left that were killed while they made a socket."""
    long_ago = time.time() - _MOMENT  # noqa: TID251 -- as files have it
    for path in folder.glob(f"{_FOR_A_MOMENT}*"):
        with suppress(OSError):
            if os.lstat(path).st_mtime < long_ago and is_dead(path):
                path.unlink()


def connected(path: Path, timeout: float) -> socket.socket:
    """A connection to a socket.

    Raises:
        OSError: Nobody listens there.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect(os.fspath(path))
    except BaseException:
        made.close()
        raise
    return made


def hung_up(peer: socket.socket) -> bool:
    """Whether the other end of a connection is closed; with TCP, which does not tell that from the end of
    what it sends, whether it sends nothing more.
    """
    try:
        if peer.family == socket.AF_INET:
            return not peer.recv(1, socket.MSG_PEEK)
        peer.send(b"")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def owner_of(peer: socket.socket) -> int | None:
    """The user at the other end of a connection, as the system tells; None where it does not."""
    if hasattr(socket, "SO_PEERCRED"):
        told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, user, _ = struct.unpack("3i", told)
        return int(user)
    if sys.platform == "darwin" or sys.platform.startswith("freebsd"):
        told = peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, struct.calcsize("=2I"))
        version, user = struct.unpack("=2I", told)
        return int(user) if version == 0 else None
    return None
