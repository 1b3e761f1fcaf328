"""The side door for resprout's own rooms: what an engine is built from that keeps locks for several
processes.
"""

from .ledger.changes import WaiterShed, WaiterTimedOut
from .ledger.holds import Claim, Hold
from .ledger.ledger import Ledger
from .ledger.lost import EngineDown, LockLost
from .ledger.values import too_heavy
from .ledger.wait_queue import WaitQueue
from .lock.engines import Engine, Steps, engines
from .lock.settings import Settings
from .lock.table import cores

__all__ = [
    "Claim",
    "Engine",
    "EngineDown",
    "Hold",
    "Ledger",
    "LockLost",
    "Settings",
    "Steps",
    "WaitQueue",
    "WaiterShed",
    "WaiterTimedOut",
    "cores",
    "engines",
    "too_heavy",
]
