"""What a kind of engine offers: a connection that has said hello, and asks and answers for many locks at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

import attrs

from ..throttle import Rate
from .errors import EngineRefused
from .key_operations import KeyFact, KeyRequest, KeyRow
from .operations import Answer, Granted, Operation, Row
from .settings import EngineSettings

GROUP = "resprout.engines"
EXTRAS = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
}


def utf8(text: str) -> str:
    """A text as every server takes it: what UTF-8 has no way to say becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


@attrs.define
class Request:
    """What one lock asks.

    Attributes:
        poll: it wants to hear what it was granted, and whether others have died meanwhile.
        num_slots: what it has, if it is not known there.
        rate: the same.
    """

    lock: str
    num_slots: int
    operations: Sequence[Operation]
    poll: bool
    rate: Rate | None = None

    def apart(self) -> list[Request]:
        """The same in as many requests as there are things asked."""
        asked = [attrs.evolve(self, operations=[each], poll=False) for each in self.operations]
        return [*asked, attrs.evolve(self, operations=[])] if self.poll else asked


@attrs.frozen
class Greeting:
    """What the engine says when a session begins.

    Attributes:
        session: its number there.
        server: which server it is, for people.
        quiet: for so many seconds it grants nothing, and takes the word of those who hold: it may have lost
            what it had.
        rows: what it has of this process, by lock and ticket.
        keys: what it has of this process, by registry and number; None where it can't keep keys (see
            KeyConnection), so that registries are refused.
        ended: the sessions of this process were found to have ended before, and keys of it given to others;
            so its word is not taken for keys, however quiet it is, and while it is quiet `keys` is empty.
    """

    session: int
    server: str
    quiet: float
    rows: Mapping[str, Mapping[int, Row]]
    keys: Mapping[str, Mapping[int, KeyRow]] | None = None
    ended: bool = False


@attrs.frozen
class Claimant:
    """A claim of anybody."""

    member: int
    ref: int
    node: str
    who: str
    token: int | None
    weight: int
    priority: int
    seconds: float


class ConnectionLost(Exception):
    """The engine did not answer, or not in time.

    Attributes:
        by_request: it lives, and says no to what was asked, so to ask again at once would not help.
    """

    by_request = False


class NotTaken(ConnectionLost):
    """The engine refuses what was asked for what it says, and would do so again. The session goes on."""


class Connection(Protocol):
    """A session. Used by one thread."""

    greeting: Greeting

    def fileno(self) -> int:
        """What is readable when there is something to be read."""

    def step(self, requests: Sequence[Request], timeout: float) -> list[Answer]:
        """Ask for several locks, in the order of their names; none at all is a sign of life.

        Raises:
            NotTaken: one of them is refused; all of them may be asked for again.
            ConnectionLost: there is no answer, and maybe it was done, maybe not.
        """

    def notified(self) -> list[Granted]:
        """What has come in without being asked for. Never blocks.

        Raises:
            ConnectionLost: nothing will come any more.
        """

    def claimants(self, lock: str, timeout: float) -> list[Claimant]:
        """Who has claims on a lock: holders by token, then waiters in their order.

        Raises:
            ConnectionLost: there is no answer.
        """

    def warnings(self, timeout: float) -> list[str]:
        """What of the server is bad for locks.

        Raises:
            ConnectionLost: there is no answer.
        """

    def interrupt(self) -> None:
        """Have whoever waits for an answer meet ConnectionLost; from another thread."""

    def close(self) -> None:
        """End the session."""


class KeyConnection(Connection, Protocol):
    """A session that keeps the keys of registries, too. Its greeting has `keys`.

    One row a key: of which claim (member and ref) it is, with a token that rises with every claim of the key.
    A claim lasts until it is released, or its session has ended as those of locks do: its connection is gone,
    and was for longer than its grace, or it was not heard of for a ttl. What a session says after its member
    has begun another one is refused (ConnectionLost), and nothing of it is done after the greeting of that.

    While the engine is quiet it grants no key, says of none that nobody has it, and takes the word of those
    who own (KeepKey). That a member has ended whose keys go to others is the one thing that no crash may lose
    (see Greeting.ended): or, after a crash that has lost who has them now, both would be believed.
    """

    def keys(self, requests: Sequence[KeyRequest], timeout: float) -> list[list[KeyFact]]:
        """Do operations of several registries, in the order given: one fact for each, as the operation says.

        All of it in one step, or each by itself: but those about one key in their order.

        Raises:
            NotTaken: one of them is refused; all of them may be asked for again.
            ConnectionLost: there is no answer, and maybe it was done, maybe not, or a part of it.
        """


Connect = Callable[[EngineSettings, int, bool, float], Connection]
"""Begin a session: with what settings, of which member, whether it had one before, within how many seconds.

Raises ConnectionLost, or EngineRefused where trying again would not help.
"""


class Administrator(Protocol):
    """Makes, looks at and ends what a kind of engine keeps on a server."""

    def statements(self, settings: EngineSettings, action: str, role: str | None) -> str:
        """What would be run, for somebody who may; with a role, what lets that in."""

    def perform(self, settings: EngineSettings, action: str, role: str | None) -> str:
        """Do it; what came of that, for people.

        Args:
            role: to be let in by what is installed, if any.

        Raises:
            ConnectionLost, EngineRefused: it can't be done.
        """


def find_driver(settings: EngineSettings) -> Connect:
    """Return what connects to engines of a URL's scheme.

    Raises:
        EngineRefused: there is none, or its extra is not installed.
    """
    connect: Connect = _load(settings, GROUP)
    return connect


def find_administrator(settings: EngineSettings) -> Administrator:
    """Return what looks after engines of a URL's scheme.

    Raises:
        EngineRefused: as find_driver.
    """
    administrator: Administrator = _load(settings, f"{GROUP}.administrators")
    return administrator


def _load(settings: EngineSettings, group: str) -> Any:
    points = {point.name: point for point in entry_points(group=group)}
    scheme = settings.scheme
    if scheme not in points:
        known = ", ".join(f"{name}://" for name in sorted(points))
        raise EngineRefused(
            settings.name, f"expected the URL of an engine to begin with {known}, got: {scheme}://"
        )
    try:
        return points[scheme].load()
    except ImportError as error:
        extra = EXTRAS.get(scheme, scheme)
        raise EngineRefused(
            settings.name,
            f"{scheme}:// needs an extra that is not installed ({error}): pip install 'resprout[{extra}]'",
        ) from None
