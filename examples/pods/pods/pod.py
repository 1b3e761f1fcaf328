"""A pod, in an OS process of its own: takes the lock that all pods have in common, and pays."""

from __future__ import annotations

from resprout import GenServer, Ok, Reply, cluster, throttle

from .account import pay
from .payment import Payment

LOCK = "account"
SHARED = "pods.account"
"""What the lock is called where PostgreSQL keeps it, since the tree's has the other name."""


class Pod(GenServer):
    """Pays what it is called with. It cleans up nothing: when it is killed, its slot is free again.

    Args:
        account: The file.
        database: The URL of a PostgreSQL server; empty for the lock of the tree, through the pipe.
    """

    def init(self, arg: dict[str, str]) -> Ok:
        self.account = arg["account"]
        self.lock = join(arg["database"]) if arg["database"] else LOCK
        return Ok(None)

    def handle_call(self, payment: Payment, from_: object, state: None) -> Reply:
        with throttle.slot(self.lock) as grant:
            pay(self.account, payment, grant.token)
        return Reply("paid", state)


def join(database: str) -> str:
    """Has this pod take part in a lock on PostgreSQL, as one on another machine would."""
    cluster.Engine.start_link(database, name="shared")
    throttle.new(SHARED, 1, engine="shared")
    return SHARED
