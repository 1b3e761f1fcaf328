"""The side door for resprout's own rooms: what an engine is built from that keeps locks for several
processes.
"""

from .jobs import Job
from .ledger.changes import WaiterShed, WaiterTimedOut
from .ledger.holds import Claim, Hold
from .ledger.ledger import Ledger
from .ledger.lost import EngineDown, LockLost
from .ledger.values import Fairness, OnLost, Outcome, too_heavy
from .ledger.wait_queue import WaitQueue
from .lock.combiner import Combiner
from .lock.engines import Engine, Steps, engines
from .lock.lock_core import LockCore
from .lock.remote import RemoteClaim, claims_of, pause_from_afar, resize_from_afar
from .lock.settings import Settings
from .lock.table import cores, table

__all__ = [
    "Claim",
    "Combiner",
    "Engine",
    "EngineDown",
    "Fairness",
    "Hold",
    "Job",
    "Ledger",
    "LockCore",
    "LockLost",
    "OnLost",
    "Outcome",
    "RemoteClaim",
    "Settings",
    "Steps",
    "WaitQueue",
    "WaiterShed",
    "WaiterTimedOut",
    "claims_of",
    "cores",
    "engines",
    "pause_from_afar",
    "resize_from_afar",
    "table",
    "too_heavy",
]
