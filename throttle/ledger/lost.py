"""What goes wrong with a lock that is kept by an engine, beyond one process."""

from __future__ import annotations

from ...actors import NotHeld, ResproutError


class LockLost(NotHeld):
    """A grant is over, though its holder has not given it back: the engine was not heard of for too long, or
    has given the slots to somebody else since then.

    It is raised by ``grant.assert_held()``, and is the exit reason that the holder is sent (the message, with
    ``on_lost="tell"``).

    Attributes:
        name: the lock.
        token: that of the grant.
    """

    def __init__(self, name: object, token: int) -> None:
        super().__init__(name)
        self.token = token
        why = "its engine was not reached in time, or has given the slots to somebody else; acquire it anew"
        self.args = (f"the grant of lock {name!r} with token {token} is void: {why}",)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LockLost) and (self.name, self.token) == (other.name, other.token)

    def __hash__(self) -> int:
        return hash((self.name, self.token))


class EngineDown(ResproutError):
    """The engine of a lock can't be reached.

    Attributes:
        name: the engine.
    """

    def __init__(self, name: object, why: str | None = None) -> None:
        self.name = name
        because = f": {why}" if why else ""
        super().__init__(
            f"engine {name!r} is not reached at the moment{because}; it is tried again until it answers"
        )
