"""Make locks, look at them, change them, end them."""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..actors import AlreadyStarted, GenServer, NotFound, Pid, ProcessExit, forbid_loop, process
from ..actors.engine import check_alive, first_use
from ..supervision import DynamicSupervisor, Supervisor
from .acquire import known
from .ledger.adaptive import Adaptive
from .ledger.rate import Rate
from .ledger.values import (
    Fairness,
    Fork,
    Holder,
    LockInfo,
    LockState,
    OnLost,
    OnUnreachable,
    Waiter,
    check_positive,
)
from .lock import events
from .lock.engines import find_engine
from .lock.forked import is_renewable
from .lock.server import is_lock, settings_of
from .lock.settings import MOST_SLOTS
from .lock.table import cores, table
from .lock.tree import in_thread, start_home, stop_home

if TYPE_CHECKING:
    from .lock.lock_core import LockCore


def new(
    name: str,
    num_slots: int,
    *,
    max_waiting: int | None = None,
    fairness: Fairness = "strict",
    rate: Rate | float | str | None = None,
    adaptive: Adaptive | Literal["aimd", "gradient"] | Mapping[str, Any] | None = None,
    fork: Fork = "renew",
    paused: bool = False,
    engine: str | None = None,
    on_lost: OnLost = "exit",
    on_unreachable: OnUnreachable = "wait",
) -> Pid:
    """Make a lock of the library's own tree, which needs no set-up.

    Use it for locks that are just there, or come and go at run time. A lock that belongs to a part of a tree
    of yours is declared there (``throttle:`` in YAML, or ``child_spec``). To protect a value inside one
    process, a threading.Lock is enough.

    Args:
        name: the lock, and its process.
        num_slots: how many slots may be held at once.
        max_waiting: how many may wait; one more is refused with QueueFull. None for any number.
        fairness: ``"strict"``: served in order, nobody overtakes. ``"eventual"``: whoever just released may
            come again before those who wait, a millisecond at most; much faster under contention. With an
            engine: what is given back may go to whoever waits in this process, for 50 ms after the engine has
            granted it, without a round trip; then it goes to who is first of all processes.
        rate: how often slots may be granted, on top of how many: ``"100/s"``, grants a second, or a Rate.
            With an engine: in all processes together, by its clock; then nothing goes from hand to hand.
        adaptive: finds the number of slots from how the work ends, and when: ``"gradient"``, ``"aimd"``, or a
            Gradient or Aimd; num_slots is what it begins with.
        fork: what a forked child finds under this name: ``"renew"``: the same lock made anew when it is first
            used there, since this is a declaration (holders, line and tokens are the parent's); ``"error"``:
            LockNotFound, which says that it was made before the fork.
        paused: it grants nothing until ``resume``.
        engine: the name of an engine (``cluster.Engine``) that was started before: the slots are those of all
            processes that have a lock of this name on it. None: of this process.
        on_lost: with an engine: how a holder hears that its grant is void. ``"exit"``: by an exit signal, of
            which the reason is ``LockLost(name, token)``; ``"tell"``: by that as a message.
        on_unreachable: with an engine: what happens while it can't be reached. ``"wait"``: who waits goes on
            waiting; ``"raise"``: who waits or comes gets EngineDown.

    Returns:
        The Pid of the lock process.

    Raises:
        ValueError: a value is wrong.
        AlreadyStarted: there is a lock, or any process, of that name.

    Semantics: ExSleeplock.new/2.
    """
    check_alive()
    settings = settings_of(
        name,
        num_slots,
        max_waiting=max_waiting,
        fairness=fairness,
        rate=rate,
        adaptive=adaptive,
        fork=fork,
        paused=paused,
        engine=engine,
        on_lost=on_lost,
        on_unreachable=on_unreachable,
    )
    if settings.engine is not None:
        find_engine(settings.engine).check(settings)
    core = cores.get(name)
    if core is not None and not core.ledger.closed and core.last is not None:
        # Also between a crash and the restart, when the name is free for a moment.
        raise AlreadyStarted(core.last)
    return start_home(settings)


def stop_lock(name: str) -> None:
    """End a lock: everybody who waits gets LockNotFound, holders finish, and the name is free.

    Raises:
        LockNotFound: no lock has that name.
    """
    check_alive()
    core = known(name)
    state = core.state()
    # First of all, so that no restart brings it back, whoever stops its process.
    core.end()
    if _get_running_loop() is not None:
        in_thread(lambda: _stop(core))
    else:
        _stop(core)
    events.tell(events.STOPPED, state, name, core.ledger.num_slots)


def _stop(core: LockCore) -> None:
    """Have its supervisor stop the lock process, and forget the child."""
    pid = core.last
    try:
        if core.settings.home:
            stop_home(pid)
        elif not _stop_in_tree(core) and pid is not None and pid.alive:
            GenServer.stop(pid, "shutdown")
    except (ProcessExit, NotFound):
        # Dead by now, which is what was wanted.
        pass


def _stop_in_tree(core: LockCore) -> bool:
    """Have a supervisor of the user's stop a lock, running or about to be restarted."""
    owner = core.owner
    if owner is None or owner.dead or owner is process.current() or owner not in core.above:
        return False
    try:
        for child in Supervisor.which_children(owner):
            if child.id is None:
                if child.pid is core.last and isinstance(child.pid, Pid):
                    DynamicSupervisor.terminate_child(owner, child.pid)
                    return True
            elif is_lock(Supervisor.get_child_spec(owner, child.id), core.settings):
                Supervisor.terminate_child(owner, child.id)
                Supervisor.delete_child(owner, child.id)
                return True
    finally:
        # Should that supervisor be started again by its own, it has all of its children again.
        core.settings.life.ended = False
    return False


def resize(name: str, num_slots: int) -> None:
    """Change the number of slots of a lock while it is used.

    More are given out at once. Fewer: those who work finish, nobody is cancelled, and nobody is granted until
    enough slots are back. A waiter whose weight is above the new number gets a ValueError.

    Raises:
        LockNotFound: no lock has that name.
        ValueError: num_slots is no positive integer.
    """
    check_alive()
    core = known(name)
    if num_slots == 0 and not isinstance(num_slots, bool):
        raise ValueError(
            f"expected num_slots to be a positive integer, got: 0; to let nobody in for a while, "
            f"use `throttle.pause({name!r})`"
        )
    slots = check_positive("num_slots", num_slots)
    if slots > MOST_SLOTS and core.settings.engine is not None:
        raise ValueError(f"expected num_slots to be at most {MOST_SLOTS} with an engine, got: {slots}")
    core.resize(slots)


def pause(name: str) -> None:
    """Let nobody in until ``resume``: holders finish, who waits goes on waiting in their place (their
    timeouts run), who comes joins the line, and ``attempt`` gives None. Again: nothing.

    It survives a crash of the lock process. Jobs of ``execute`` wait, too.

    Raises:
        LockNotFound: no lock has that name.
    """
    check_alive()
    known(name).pause(True)


def resume(name: str) -> None:
    """Go on after ``pause``: the line is served in its order. Of a lock that is not paused: nothing.

    Raises:
        LockNotFound: no lock has that name.
    """
    check_alive()
    known(name).pause(False)


def lock_state(name: str, *, everywhere: bool = False) -> LockState:
    """Count holders, waiters and used slots.

    Args:
        everywhere: of a lock with an engine: those of all processes, which takes one round trip. Otherwise
            those of this process are counted.

    Raises:
        LockNotFound: no lock has that name.
        EngineDown: everywhere, and the engine can't be reached.
        BlockingInLoop: everywhere, and an event loop runs in this thread.
    """
    check_alive()
    core = known(name)
    if everywhere and core.settings.engine is not None:
        there, waiting = _everywhere(core, "lock_state")
        return LockState(len(there), len(waiting), sum(each.weight for each in there))
    return core.state()


def _everywhere(core: LockCore, what: str) -> tuple[list[Holder], list[Waiter]]:
    """Ask the engine of a lock."""
    call = f"throttle.{what}(..., everywhere=True)"
    forbid_loop(call, f"asyncio.to_thread(throttle.{what}, name, everywhere=True)")
    assert core.settings.engine is not None
    return find_engine(core.settings.engine).everywhere(core.ledger)


def lock_info(name: str) -> LockInfo:
    """Say what a lock is.

    Raises:
        LockNotFound: no lock has that name.
    """
    check_alive()
    return known(name).info()


def holders(name: str, *, everywhere: bool = False) -> list[Holder]:
    """List who holds a lock, oldest grant first. O(n).

    Args:
        everywhere: as of ``lock_state``; whoever is in another process has a ``cluster.FarPid`` for a pid,
            and with eventual fairness the first of the tokens that came with its grant.

    Raises:
        LockNotFound, EngineDown, BlockingInLoop: as ``lock_state``.
    """
    check_alive()
    core = known(name)
    if everywhere and core.settings.engine is not None:
        return _everywhere(core, "holders")[0]
    return core.list_holders()


def waiters(name: str, *, everywhere: bool = False) -> list[Waiter]:
    """List who waits for a lock, next first. O(n).

    Args:
        everywhere: as of ``lock_state``; whoever is in another process has a ``cluster.FarPid`` for a pid.

    Raises:
        LockNotFound, EngineDown, BlockingInLoop: as ``lock_state``.
    """
    check_alive()
    core = known(name)
    if everywhere and core.settings.engine is not None:
        return _everywhere(core, "waiters")[1]
    return core.list_waiters()


def locks() -> list[str]:
    """List the names of all locks, sorted; in a forked child also those that are made anew on first use."""
    check_alive()
    first_use()
    renewable = {name for name, settings in list(table.inherited.items()) if is_renewable(settings)}
    return sorted(renewable.union(name for name, core in list(cores.items()) if not core.ledger.closed))
