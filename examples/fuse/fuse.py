"""A circuit breaker, as Erlang's fuse: what has failed too often is left alone until it had time to heal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import evolve, frozen

from resprout import GenServer, NoReply, Ok, Reply


class Blown(Exception):
    """The fuse is open, so nothing was tried."""


@frozen
class _State:
    max_melts: int  # so many of them ...
    seconds: float  # ... within so long are endured; one more opens the fuse,
    reset: float  # and so long after the last melt one caller may try
    melts: tuple[float, ...] = ()
    try_at: float | None = None  # None: closed; ahead: open; past: half open


class Fuse(GenServer):
    """A fuse: `Fuse.child_spec({"max_melts": 5, "seconds": 10, "reset": 60}, name="mail")`."""

    blocking = False  # so coroutines may ask it, too

    def init(self, options: dict[str, Any]) -> Ok:
        return Ok(_State(**options))

    def handle_call(self, ask: str, from_: object, state: _State) -> Reply:
        if state.try_at is None or time.monotonic() < state.try_at:
            return Reply("closed" if state.try_at is None else "open", state)
        return Reply("half", evolve(state, try_at=time.monotonic() + state.reset))  # open for all others

    def handle_cast(self, message: str, state: _State) -> NoReply:
        if message == "reset":
            return NoReply(evolve(state, melts=(), try_at=None))
        now = time.monotonic()
        melts = tuple(melt for melt in state.melts if now - melt < state.seconds) + (now,)
        opens = state.try_at is not None or len(melts) > state.max_melts
        return NoReply(evolve(state, melts=melts, try_at=now + state.reset if opens else None))


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Do what is in the block unless the fuse is open, and tell the fuse how it went."""
    if (answer := GenServer.call(name, "ask")) == "open":
        raise Blown(name)
    try:
        yield
    except Exception:
        GenServer.cast(name, "melt")
        raise
    if answer == "half":
        GenServer.cast(name, "reset")
