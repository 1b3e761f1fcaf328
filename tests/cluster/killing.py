"""An engine and what stands on it in a tree, whose processes are killed one after the other under load."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

from resprout import ChildSpec, Pid, Supervisor, cluster, process

from ..waiting import until

TIMES = 200


def tree_of(url: str, child: ChildSpec) -> Pid:
    """An engine `shared` and a child, under a supervisor `inner`, under another one."""
    engine = cluster.Engine.child_spec(url, name="shared", ttl=3.0)
    options = {"strategy": "one_for_one", "max_restarts": 10_000, "max_seconds": 1.0}
    inner = ChildSpec(
        "inner",
        (Supervisor.start_link, ([engine, child],), {"name": "inner", **options}),
        type="supervisor",
    )
    top: Pid = Supervisor.start_link([inner], **options)  # type: ignore[arg-type]  # one dict for both
    until(lambda: process.whereis(child.id) is not None)
    return top


def kill_while_they_work(
    name: str, threads: Sequence[threading.Thread], done: threading.Event, counts: Sequence[int]
) -> None:
    """Kill the process of that name, the engine's, and their supervisor, by chance; nobody hangs by that.

    Args:
        threads: Who works, until `done`.
        counts: How much they have done: it goes on.
    """
    for thread in threads:
        thread.start()
    try:
        for number in range(TIMES):
            victim = "inner" if number % 20 == 19 else random.choice([name, name, "shared"])
            pid = process.whereis(victim)
            if pid is not None:
                process.exit(pid, "kill")
            until(lambda: process.whereis(victim) not in (None, pid))  # noqa: B023  # at once
            if number % 4 == 0:
                before = sum(counts)
                until(lambda: sum(counts) > before)  # noqa: B023  # at once
    finally:
        done.set()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "somebody hangs"
