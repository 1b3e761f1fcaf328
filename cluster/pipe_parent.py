"""The locks of this process, as one placed child uses them: its claims stand in their lines like any other.

The ledger here decides. What the child holds is its until it says otherwise, or its OS process has ended.
"""

from __future__ import annotations

import pickle
from time import monotonic

from typing_extensions import assert_never

from ..actors import LockNotFound
from ..actors.engine import crossing
from ..supervision.engine import LOCKS, Link
from ..throttle import Holder, Waiter
from ..throttle.engine import (
    Claim,
    EngineDown,
    Hold,
    LockCore,
    Outcome,
    RemoteClaim,
    claims_of,
    cores,
    engines,
    pause_from_afar,
    resize_from_afar,
    table,
)
from .far_pid import FarPid
from .handle import handles
from .ledger import SharedLedger
from .pipe_lock import ParentLock
from .pipe_messages import (
    Claimed,
    Denied,
    Ended,
    Given,
    Listed,
    Look,
    Open,
    Opened,
    Paused,
    Question,
    Resized,
    ToChild,
    ToParent,
    Void,
)
from .settings import this_node


class ChildsClaims:
    """See the module. To the pipe it is a Session, to its claims a Remote.

    Args:
        link: the pipe to the child.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._claims: dict[int, RemoteClaim] = {}
        self._over = False
        self._node = ""

    # What the child says, on the thread of the hub.

    def take(self, body: bytes) -> None:
        """The child has told something."""
        message: ToParent = pickle.loads(body)
        match message:
            case Claimed():
                self._claim(message)
            case Ended(ref, outcome, asserted):
                claim = self._claims.pop(ref, None)
                if claim is not None:
                    _end(claim, outcome, asserted)
            case Resized(lock, num_slots):
                if (core := _open_lock(lock)) is not None:
                    resize_from_afar(core, num_slots)
            case Paused(lock, paused):
                if (core := _open_lock(lock)) is not None:
                    pause_from_afar(core, paused)
            case _:
                assert_never(message)

    def _claim(self, asked: Claimed) -> None:
        core = _open_lock(asked.lock)
        if core is None:
            self.refused(asked.ref, LockNotFound(asked.lock))
            return
        owner = self._link.owner
        assert owner is not None
        claim = RemoteClaim(core, asked.ref, owner, asked.weight, asked.priority, asked.once, asked.who, self)
        if self._claims.setdefault(asked.ref, claim) is not claim:
            # Said twice, after an interrupt over there.
            return
        claim.enter()
        if self._over:
            _end(claim, "ignored", asserted=True)

    def end(self) -> None:
        """There is no OS process any more."""
        self._over = True
        for claim in list(self._claims.values()):
            # What it has said to a database may be on its way.
            _end(claim, "ignored", asserted=True)
        self._claims.clear()

    # What its claims are told, inside the combiner of the lock.

    def granted(self, ref: int, token: int) -> None:
        """It has its slots."""
        self._tell(Given(ref, token))

    def refused(self, ref: int, error: BaseException | None) -> None:
        """It does not get them."""
        packed = b"" if error is None else crossing(error)
        self._tell(Denied(ref, packed, isinstance(error, LockNotFound)))

    def lost(self, ref: int) -> None:
        """Its grant is over."""
        self._tell(Void(ref))

    def _tell(self, message: ToChild) -> None:
        self._link.tell(LOCKS, pickle.dumps(message))

    # What it asks, on a thread of the pool.

    def answer(self, body: bytes) -> bytes:
        """The child has asked something; empty where there is no such lock."""
        question: Question = pickle.loads(body)
        try:
            core = table.find(question.lock)
            match question:
                case Open(_, node):
                    self._node = node
                    return pickle.dumps(_opened(core))
                case Look():
                    return pickle.dumps(self._listed(core))
                case _:
                    assert_never(question)
        except LockNotFound:
            return b""
        except EngineDown as error:
            return crossing(error)

    def _listed(self, core: LockCore) -> list[Listed]:
        engine = core.settings.engine
        if engine is not None:
            return self._listed_by(engines[engine].everywhere(core.ledger))
        holds, waiting = claims_of(core)
        now = monotonic()
        return [
            Listed(
                self._ref_of(each),
                _far_pid(each),
                None if isinstance(each, Claim) and each in core.ledger.queue else each.token,
                each.weight,
                getattr(each, "priority", 0),
                now - each.since,
                each.straggler,
            )
            for each in (*holds, *waiting)
        ]

    def _listed_by(self, found: tuple[list[Holder], list[Waiter]]) -> list[Listed]:
        """What an engine of this process says; whoever holds is known by the token."""
        tokens = {claim.token: ref for ref, claim in list(self._claims.items()) if hasattr(claim, "token")}
        node = this_node()
        holders, waiters = found
        return [
            *[
                Listed(
                    tokens.get(each.token),
                    _far(each.pid, node),
                    each.token,
                    each.weight,
                    0,
                    each.held_seconds,
                    each.straggler,
                )
                for each in holders
            ],
            *[
                Listed(
                    None, _far(each.pid, node), None, each.weight, each.priority, each.waited_seconds, False
                )
                for each in waiters
            ],
        ]

    def _ref_of(self, each: Hold) -> int | None:
        if isinstance(each, RemoteClaim) and self._claims.get(each.ref) is each:
            return each.ref
        return None

    @property
    def node(self) -> str:
        """What people are shown of the child."""
        return self._node


def _end(claim: RemoteClaim, outcome: Outcome, asserted: bool) -> None:
    ledger = claim.core.ledger
    if asserted and isinstance(ledger, SharedLedger):
        ledger.note_assertion(claim)
    claim.end(outcome)


def _open_lock(name: str) -> LockCore | None:
    core = cores.get(name)
    return None if core is None or core.ledger.closed else core


def _opened(core: LockCore) -> Opened:
    limit = core.ledger.limit
    dropped = crossing(() if limit is None else limit.dropped)
    if isinstance(core, ParentLock):
        schema = core.schema
    else:
        handle = handles.get(core.settings.engine or "")
        schema = None if handle is None else handle.settings.schema
    return Opened(core.info(), core.settings.on_lost, dropped, schema)


def _far_pid(each: Hold) -> FarPid:
    if isinstance(each, RemoteClaim) and isinstance(each.remote, ChildsClaims):
        return FarPid(each.remote.node, each.who)
    return FarPid(this_node(), str(each.pid))


def _far(pid: object, node: str) -> FarPid:
    return pid if isinstance(pid, FarPid) else FarPid(node, str(pid))
