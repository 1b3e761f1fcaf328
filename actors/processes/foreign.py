"""Pykka actors that know nothing of resprout: each gets a stand-in process once somebody here is interested
in it.

The actor's class stays as it is. Pykka offers no notice of an actor's end, so two things are wrapped on this
one instance: its ``actor_stopped.set``, which it calls when it ends, and ``_handle_failure``, which it calls
with the exception when it crashes.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pykka

from ..runtime.call import Call
from ..runtime.kernel import kernel
from ..runtime.parking import check_timeout, forbid_loop
from ..runtime.thread_state import check_alive
from ..vocabulary.errors import NoProcess, ServerExit
from ..vocabulary.pykka_types import ActorStop, ForeignRef, ask_foreign, is_foreign
from ..vocabulary.reasons import KILLED, NORMAL, SHUTDOWN, Crash
from .ambient import current
from .mailbox import MailboxPid, System
from .pid import Pid

_STAND_IN = "_resprout_stand_in"


class Asked(Call):
    """A request to a foreign actor, which completes it Pykka's way; if it cannot any more, its end does."""

    __slots__ = ()

    def _complete(self, outcome: Any) -> bool:
        won = super()._complete(outcome)
        self._forget()
        return won

    def _refuse(self) -> None:
        """Its end came first; what it says afterwards is dropped, as raising would end the loop of the
        actor.
        """

    def fail(self, pid: Pid) -> None:
        # An ActorDeadError, as from Pykka itself, which may have been a moment faster.
        self._complete((None, NoProcess(pid, pid, pid.exit_reason)))


class ForeignPid(ForeignRef, MailboxPid):
    """Stands for a pykka.ActorRef in links, monitors and child tables.

    As a pykka.ActorRef it is as good as that one: ``proxy``, ``ask``, ``tell`` and ``stop`` lead to the
    actor.
    """

    __slots__ = ("_crash", "ref")
    kind = "pykka"

    def __init__(self, ref: Any, actor: Any) -> None:
        super().__init__()
        self.ref = ref
        self._crash: list[BaseException] = []
        if actor is not None:
            self._watch(actor)

    def _watch(self, actor: Any) -> None:
        set_stopped, handle_failure = actor.actor_stopped.set, actor._handle_failure

        def stopped() -> None:
            set_stopped()
            kernel.post(self.look)

        def failed(kind: Any, error: Any, traceback: Any) -> None:
            if error is not None:
                self._crash.append(error)
            handle_failure(kind, error, traceback)

        actor.actor_stopped.set = stopped
        actor._handle_failure = failed

    @property
    def label(self) -> str:
        return str(self.ref)

    @property
    def alive(self) -> bool:
        return not self.dead

    @property
    def dead(self) -> bool:
        return bool(self._fate) or not self.ref.is_alive()

    def deliver(self, item: Any) -> None:
        """Messages go on to the actor; nobody is told when it has stopped meanwhile, as with any send."""
        if isinstance(item, System):
            # A request to stop; others are made of our own servers only. Its answer is the death.
            self.end(SHUTDOWN)
            if self.dead:
                kernel.post(self.look)
        elif not self._fate:
            with contextlib.suppress(pykka.ActorDeadError):
                self.ref.tell(item)

    def request(self, message: object) -> Call:
        """Ask the actor; the answer comes in the future, as does a NoProcess when it is dead or ends
        first.
        """
        check_alive()
        call = Asked(message, self, current())
        if self.dead:
            self.look()
            call.fail(self)
            return call
        call.promise()
        ask_foreign(self.ref, message, call)
        if self.dead:
            # Nobody may read it any more.
            kernel.post(self.look)
        return call

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        """Ask the actor and wait for its answer.

        Raises:
            CallTimeout: no answer in time; a late one is dropped.
            NoProcess: it was dead already.
            ServerExit: it ended before it answered.
        """
        check_alive()
        check_timeout(timeout)
        forbid_loop(f"a call to {self}", "pid.ask(message, block=False)")
        if self.dead:
            raise NoProcess(self, self)
        call = self.request(message)
        if not call.done():
            call.wait_for_answer(timeout)
        try:
            return call.take()
        except pykka.ActorDeadError:
            # Also the actor's own, who asked somebody dead.
            if not self.dead:
                raise
            self.look()
            raise ServerExit(self.exit_reason, self, message) from None

    def stop_later(self, timeout: float | None) -> bool:
        """Have it stop, and wait for that."""
        check_alive()
        stopped: bool = self.ref.stop(timeout=timeout)
        return stopped

    def stop_future(self) -> Any:
        return self.ref.stop(block=False)

    def mailbox_length(self) -> int:
        """How many messages wait in the actor's own inbox; asks for no lock of that."""
        check_alive()
        return len(getattr(self.ref.actor_inbox, "queue", ()))

    def cast(self, message: object) -> None:
        """Tell the actor."""
        check_alive()
        self.deliver(message)

    def end(self, reason: object) -> None:
        """An exit signal asks it to stop, which is all that Pykka can do; a kill also declares it dead at
        once.
        """
        with contextlib.suppress(pykka.ActorDeadError):
            self.ref.tell(ActorStop())
        if reason == KILLED:
            self.die(reason)

    def look(self) -> None:
        """It has stopped, or may have."""
        if self.ref.is_alive():
            return
        self.die(Crash(self._crash[0]) if self._crash else NORMAL)
        if not self._gone:
            self.leave()


def stand_in_of(actor: Any) -> Pid | None:
    """The process that stands for an actor of Pykka's, if there is one already."""
    pid: Pid | None = getattr(actor, "__dict__", {}).get(_STAND_IN)
    return pid


def stand_in(ref: object) -> Pid | None:
    """The process that stands for a foreign ref, dead if that is; None when it is none."""
    if not is_foreign(ref):
        return None
    actor = ref._actor_weakref()  # type: ignore[attr-defined]  # a pykka.ActorRef
    if actor is None:
        # It ended before anybody here was interested in it, and is gone.
        kernel.ensure()
        gone = ForeignPid(ref, None)
        gone.die(NORMAL)
        return gone
    pid: ForeignPid | None = actor.__dict__.get(_STAND_IN)
    if pid is None:
        kernel.ensure()
        # Two threads may make one each; the dict decides which is the one, the other is never heard of again.
        made = ForeignPid(ref, actor)
        pid = actor.__dict__.setdefault(_STAND_IN, made)
        if pid is not made:
            made.die(NORMAL)
        # It may have stopped before the watch was set.
        pid.look()
    return pid
