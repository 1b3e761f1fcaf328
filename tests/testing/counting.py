"""What is watched, stopped and crashed in these tests."""

from __future__ import annotations

from typing import Any

from resprout import GenServer, NoReply, Ok, Reply


class Counter(GenServer):
    """Counts the calls that it gets, from its argument on."""

    def init(self, arg: int | None) -> Any:
        return Ok(arg or 0)

    def handle_call(self, message: object, from_: object, state: int) -> Any:
        return Reply(state, state + 1)

    def handle_info(self, message: object, state: int) -> Any:
        return NoReply(state)
