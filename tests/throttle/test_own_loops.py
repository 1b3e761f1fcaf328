"""Locks of the library's own tree, when they are first used on an event loop of the user's."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from resprout import Application, GenServer, Ok, Reply, Supervisor, throttle


class Uses(GenServer):
    """Uses a lock, by all that it has loops and threads for."""

    async def init(self, arg: Any) -> Any:
        throttle.new("from a tree", 2)
        return Ok(arg)

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        async def where() -> str:
            return threading.current_thread().name

        async with throttle.slot("from a tree"):
            here = threading.current_thread().name

        return Reply([here, await throttle.aexecute("from a tree", where)], state)


def test_locks_of_the_library_outlive_the_loop_in_which_they_were_made(tmp_path, monkeypatch):
    (tmp_path / "tree.yaml").write_text("children:\n  - {worker: uses, start: 'uses_of_locks:Uses'}\n")
    (tmp_path / "uses_of_locks.py").write_text(
        f"from {__name__} import Uses as Base\nclass Uses(Base): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def main() -> Any:
        async with Application.load(tmp_path / "tree.yaml") as application:
            (uses,) = [
                child.pid for child in await asyncio.to_thread(Supervisor.which_children, application.root)
            ]
            return await GenServer.acall(uses, "where")

    assert asyncio.run(main()) == [threading.current_thread().name, "resprout-loop"]
    assert throttle.run("from a tree", lambda: "still there") == "still there"
    throttle.stop_lock("from a tree")
