"""A pod, in an OS process of its own: takes the key of a user, and the lock that all pods have in common."""

from __future__ import annotations

from resprout import AlreadyRegistered, GenServer, Ok, Registry, Reply, cluster, throttle

from .account import pay
from .payment import Payment
from .statements import enter

LOCK, KEYS = "account", "users"
SHARED_LOCK, SHARED_KEYS = "pods.account", "pods.users"
"""What they are called where PostgreSQL keeps them, since the tree's have the other names."""


class Pod(GenServer):
    """Pays what it is called with. It cleans up nothing: when it is killed, its slot and its key are free.

    Args:
        account: The file of the account.
        statements: The folder of the statements.
        database: The URL of a PostgreSQL server; empty for the lock and the registry of the tree, through the
            pipe.
    """

    def init(self, arg: dict[str, str]) -> Ok:
        self.account = arg["account"]
        self.statements = arg["statements"]
        self.lock, self.users = join(arg["database"]) if arg["database"] else (LOCK, KEYS)
        return Ok(None)

    def handle_call(self, payment: Payment, from_: object, state: None) -> Reply:
        try:
            Registry.register(self.users, payment.user)
        except AlreadyRegistered:
            return Reply("taken", state)
        enter(self.statements, payment)
        with throttle.slot(self.lock) as grant:
            pay(self.account, payment, grant.token)
        Registry.unregister(self.users, payment.user)
        return Reply("paid", state)


def join(database: str) -> tuple[str, str]:
    """Has this pod take part in a lock and a registry on PostgreSQL, as one on another machine would."""
    cluster.Engine.start_link(database, name="shared")
    throttle.new(SHARED_LOCK, 1, engine="shared")
    Registry.start_link(keys="unique", name=SHARED_KEYS, engine="shared")
    return SHARED_LOCK, SHARED_KEYS
