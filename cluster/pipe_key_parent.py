"""The registries of this process, as one placed child uses them: its keys stand in their tables like any
other, as those of the process that stands for it here.

The table here decides. What the child has is its until it says otherwise, or until its OS process has ended,
whichever comes first, and whatever becomes of the process that stands for it.

Everything happens in one queue of steps for each child, in the order in which it was said, as reading a key
may run code of users, and takes place on threads of the pool therefore. Only the end of the OS process
overtakes that: each key is listed before it is looked whether that has come, and that looks at the list
afterwards. So one of the two closes it, before anybody hears of the death.

A registry that ends forgets all keys. When there is one of the name again, the child's are entered before
anybody finds it, since the child goes on with what it does under them.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from typing_extensions import assert_never

from ..actors import AlreadyRegistered, Future, NotPicklable, ResproutError
from ..actors.engine import crossing, kernel
from ..registry import UnknownRegistry
from ..registry.placed import RemoteHoldings, SharedTable, Table, begun, find
from ..supervision.engine import REGISTRIES, Link, Serial
from .far_pid import FarPid
from .key_operations import (
    ChangeKey,
    ClaimKey,
    FindKey,
    KeepKey,
    KeyClaimed,
    KeyDone,
    KeyFact,
    KeyFree,
    KeyGone,
    KeyOperation,
    KeyOwned,
    ReleaseKey,
)
from .pipe_key_messages import (
    OTHERS,
    OURS,
    KeyAnswer,
    KeyDenied,
    KeyVoid,
    OpenedRegistry,
    OpenRegistry,
    Said,
    ToChild,
    packed_or_printed,
    unpacked,
    without_value,
)
from .pipe_registry import Later, ParentTable
from .settings import this_node

logger = logging.getLogger("resprout.cluster")

LONGEST_WAIT = 5.0
"""Seconds that a new registry waits for a child's keys to be entered, so that it begins in any case."""


class ChildsKey:
    """One claim of the child's, from when it is made until it is over.

    Attributes:
        holdings: what it has in the table; None before it was asked for.
        granted: it has its key.
        shown: its owner is not dead.
    """

    __slots__ = ("granted", "holdings", "operation", "registry", "session", "shown", "value")

    def __init__(self, session: ChildsKeys, registry: str, operation: ClaimKey) -> None:
        self.session = session
        self.registry = registry
        self.operation = operation
        self.value = operation.value
        self.shown = True
        self.holdings: RemoteHoldings | None = None
        self.granted = False

    @property
    def ref(self) -> int:
        """Its number."""
        return self.operation.ref


class ChildsKeys:
    """See the module. To the pipe it is a Session.

    Args:
        link: the pipe to the child.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._claims: dict[int, ChildsKey] = {}
        self._steps = Serial()
        self._over = False
        self.node = ""

    # On the thread of the hub.

    def take(self, body: bytes) -> None:
        """The child has told something."""
        said: Said = pickle.loads(body)
        self._steps.add(partial(self._do, said.registry, said.operation))

    def end(self) -> None:
        """There is no OS process any more."""
        self._over = True
        sessions.pop(self, None)
        for claim in list(self._claims.values()):
            if claim.holdings is not None:
                claim.holdings.close()

    # What it asks, on a thread of the pool.

    def answer(self, body: bytes) -> bytes:
        """The child has asked something; empty where there is no such registry."""
        asked: OpenRegistry = pickle.loads(body)
        self.node = asked.node
        try:
            table: Table = find(asked.registry)
        except UnknownRegistry:
            return b""
        except ValueError:
            # This is a placed child itself, and its parent's has duplicate keys.
            return pickle.dumps(OpenedRegistry(asked.registry, False, 1, False, "exit", False))
        shared = isinstance(table, SharedTable)
        return pickle.dumps(
            OpenedRegistry(
                table.name,
                table.unique,
                table.partitions,
                table.linger,
                table.on_lost if isinstance(table, SharedTable) else "exit",
                table.stored if isinstance(table, ParentTable) else shared,
            )
        )

    # What it has told, one after another.

    def _do(self, registry: str, operation: KeyOperation) -> None:
        try:
            self._carry_out(registry, operation)
        except Exception as error:
            if not isinstance(operation, (ClaimKey, FindKey)):
                raise
            self._deny(operation.ref, error)

    def _carry_out(self, registry: str, operation: KeyOperation) -> None:
        match operation:
            case ClaimKey():
                self._claim(registry, operation)
            case FindKey():
                self._find(registry, operation)
            case ReleaseKey(ref):
                claim = self._claims.pop(ref, None)
                known = [] if claim is None or claim.holdings is None else claim.holdings.leave()
                self._when_known(known, partial(self._answer, operation, KeyDone()))
            case ChangeKey(ref, _, value, shown):
                claim = self._claims.get(ref)
                if claim is None:
                    self._answer(operation, KeyGone())
                    return
                claim.value, claim.shown = value, shown
                self._answer(operation, KeyDone())
                self._show(claim)
            case KeepKey():
                # Nobody keeps what the parent has lost: it says again by itself what there is.
                raise AssertionError(operation)
            case _:
                assert_never(operation)

    def _claim(self, registry: str, operation: ClaimKey) -> None:
        claim = self._claims.get(operation.ref)
        if claim is None:
            claim = self._claims[operation.ref] = ChildsKey(self, registry, operation)
            sessions[self] = None
            if self._over:
                sessions.pop(self, None)
            self._ask_for(claim, partial(_registry, registry))
        elif claim.granted:
            # Said twice, after an interrupt over there.
            self._answer(operation, KeyClaimed(1))

    def _ask_for(self, claim: ChildsKey, where: Callable[[], Table]) -> None:
        owner = self._link.owner
        assert owner is not None
        claim.holdings = None
        try:
            table = where()
            key, value = unpacked(claim.operation.key), unpacked(claim.value)
        except Exception as error:
            self._refuse(claim, None, error)
            return
        holdings = RemoteHoldings(
            table, owner, claim, lambda: self._steps.add(partial(self._lose, claim, holdings))
        )
        claim.holdings = holdings
        if self._over:
            holdings.close()
            return
        enter = partial(self._enter, claim, holdings, key, value)
        if isinstance(table, SharedTable):
            # It waits for an engine, and the others do not wait for that.
            kernel.pool.submit(Later(enter))
        else:
            enter()

    def _enter(self, claim: ChildsKey, holdings: RemoteHoldings, key: Any, value: Any) -> None:
        step = partial(self._entered, claim, holdings)
        try:
            if not holdings.enter(key, value):
                # It was given up meanwhile.
                return
        except Exception as error:
            holdings.forget()
            step = partial(self._refuse, claim, holdings, error, key)
        if isinstance(holdings.table, SharedTable):
            self._steps.add(step)
        else:
            step()

    def _entered(self, claim: ChildsKey, holdings: RemoteHoldings) -> None:
        if claim.holdings is not holdings or self._claims.get(claim.ref) is not claim:
            return
        if not claim.granted:
            claim.granted = True
            self._answer(claim.operation, KeyClaimed(1))
        self._show(claim)

    def _show(self, claim: ChildsKey) -> None:
        """Have its value, and its death, seen by others."""
        holdings = claim.holdings
        if not claim.granted or holdings is None:
            return
        if claim.value != claim.operation.value:
            holdings.change(unpacked(claim.value))
        if not claim.shown:
            holdings.hide()

    def _refuse(
        self, claim: ChildsKey, holdings: RemoteHoldings | None, error: Exception, key: Any = None
    ) -> None:
        if claim.holdings is not holdings or self._claims.pop(claim.ref, None) is not claim:
            return
        if claim.granted:
            # It had the key of a former registry of the name.
            self._tell(KeyVoid(claim.ref))
        elif isinstance(error, AlreadyRegistered) and holdings is not None:
            self._answer(claim.operation, self._owner(holdings.table, key, error.pid, None))
        else:
            self._deny(claim.ref, error)

    def _lose(self, claim: ChildsKey, holdings: RemoteHoldings) -> None:
        """The engine of the registry has taken its key away."""
        if claim.holdings is not holdings or self._claims.get(claim.ref) is not claim:
            return
        holdings.close()
        if claim.granted:
            self._claims.pop(claim.ref, None)
            self._tell(KeyVoid(claim.ref))
        else:
            # Before the child has heard that it had it.
            self._ask_for(claim, partial(_registry, claim.registry))

    def _find(self, registry: str, operation: FindKey) -> None:
        try:
            table = _registry(registry)
            look = partial(self._look, table, operation, unpacked(operation.key))
        except Exception as error:
            self._deny(operation.ref, error)
            return
        if isinstance(table, SharedTable):
            kernel.pool.submit(Later(look))
        else:
            look()

    def _look(self, table: Table, operation: FindKey, key: Any) -> None:
        try:
            found = table.pairs(key)
            fact: KeyFact = KeyFree() if not found else self._owner(table, key, *found[0])
        except Exception as error:
            self._deny(operation.ref, error)
        else:
            self._answer(operation, fact)

    def _owner(self, table: Table, key: Any, pid: Any, value: Any) -> KeyOwned:
        """Who has a key, as the child is to know it."""
        for entry in table.under(key):
            there = entry.holdings.about if isinstance(entry.holdings, RemoteHoldings) else None
            if isinstance(there, ChildsKey) and there.session is self:
                return KeyOwned(OURS, there.ref, self.node, there.operation.who, packed_or_printed(value))
            if isinstance(there, ChildsKey):
                return KeyOwned(OTHERS, 0, there.session.node, there.operation.who, packed_or_printed(value))
        if isinstance(pid, FarPid):
            return KeyOwned(OTHERS, 0, pid.node, pid.text, packed_or_printed(value))
        return KeyOwned(OTHERS, 0, this_node(), str(pid), packed_or_printed(value))

    def _when_known(self, known: list[Future[None]], then: Callable[[], object]) -> None:
        if not known:
            then()
            return
        known[0].add_done_callback(lambda done: self._steps.add(partial(self._when_known, known[1:], then)))

    def _answer(self, operation: KeyOperation, fact: KeyFact) -> None:
        self._tell(KeyAnswer(without_value(operation), fact))

    def _deny(self, ref: int, error: Exception) -> None:
        gone = isinstance(error, (UnknownRegistry, _Duplicate))
        self._tell(KeyDenied(ref, crossing(_plain(error)), gone))

    def _tell(self, message: ToChild) -> None:
        self._link.tell(REGISTRIES, pickle.dumps(message))

    # When a registry begins that the child had keys in.

    def assert_again(self, table: Table) -> threading.Event:
        """Enter what the child has in a registry of that name, before anybody finds the new one."""
        done = threading.Event()
        self._steps.add(partial(self._assert_again, table, done))
        return done

    def _assert_again(self, table: Table, done: threading.Event) -> None:
        try:
            for claim in list(self._claims.values()):
                there = claim.holdings is not None and claim.holdings.table is table
                if claim.granted and claim.registry == table.name and not there:
                    self._again(claim, table)
        finally:
            done.set()

    def _again(self, claim: ChildsKey, table: Table) -> None:
        try:
            self._ask_for(claim, partial(_unique, table))
        except Exception:
            logger.exception("a key of a placed child could not be entered again")


class _Duplicate(Exception):
    """The registry has duplicate keys, which it had not when the child opened it."""


def _registry(name: str) -> Table:
    return _unique(find(name))


def _unique(table: Table) -> Table:
    if not table.unique:
        raise _Duplicate(f"registry {table.name!r} was started anew, with duplicate keys")
    return table


def _plain(error: Exception) -> Exception:
    """An error that is read without users' code."""
    kind = type(error)
    if kind in (TypeError, ValueError):
        return kind(str(error))
    ours = kind.__module__.startswith("resprout.") and isinstance(error, ResproutError)
    # That has a part of the message.
    if ours and not isinstance(error, NotPicklable):
        return error
    return ResproutError(str(error) if ours or isinstance(error, _Duplicate) else f"{kind.__name__}: {error}")


sessions: dict[ChildsKeys, None] = {}
"""Those of all children that have claimed a key."""


def assert_again(table: Table) -> list[threading.Event]:
    """Have entered what all children have in a registry of that name, which is a new one."""
    return [session.assert_again(table) for session in list(sessions)]


def _begins(table: Table) -> None:
    for done in assert_again(table):
        done.wait(LONGEST_WAIT)


begun.append(_begins)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=sessions.clear)
