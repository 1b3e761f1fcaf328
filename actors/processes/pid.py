"""Pid: the handle of a process and, at the same time, its control block.

Two objects would cost every message an indirection and every process 100 bytes, so they are one. What
outlives the process in somebody's table is small: at death the mailbox, state, actor and tables are dropped.

Everything here is lock-free: each shared change is one atomic operation on a list or dict whose keys hash in
C, in an order that makes exactly one party responsible. The pattern, used five times: *add, then look
whether the process has died; the dying flags itself first and pops everything afterwards; whoever's pop gets
the entry acts on it.* So a monitor set at the moment of death is answered once, a call is failed once, a
resource is told once.
"""

from __future__ import annotations

import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, NoReturn

from typing_extensions import TypeVar

from ..primitives.atomic import counter
from ..reports import telemetry
from ..runtime.deferred_drains import run_deferred_drains
from ..runtime.future import Future
from ..runtime.kernel import kernel
from ..runtime.thread_state import check_alive, dead_but_running, local, note_code
from ..vocabulary.errors import Killed, StalePid, no_process
from ..vocabulary.identity import Identity
from ..vocabulary.messages import Down, Exited, ExitSignal, Ref, Resource
from ..vocabulary.reasons import FORKED, KILL, KILLED, NOPROC, NORMAL, SHUTDOWN
from .death_notices import INTERRUPTS, refuse, refuse_mail, tell_link, tell_monitor
from .names import give_up_name

if TYPE_CHECKING:
    import asyncio
    from _thread import LockType

    from ..runtime.call import Call
    from ..runtime.parking import LoopBell, Parked, Waiter

EXITED = ("resprout", "process", "exited")

table: dict[int, Pid] = {}
"""Every live process, held strongly: one without a thread has nobody else who would."""
ids = counter(1)
# Stand for a table that has not been made; never changed.
NO_DICT: dict[int, Any] = {}
NO_LIST: list[Any] = []
NO_SET: set[int] = set()
NO_INBOX: deque[Any] = deque()


# What a process takes and what it answers: whoever takes all messages stands for whoever takes some.
Request = TypeVar("Request", default=Any, contravariant=True)
Answer = TypeVar("Answer", default=Any, covariant=True)


class Pid(Identity, Generic[Request, Answer]):
    """A process: send to it, call it, monitor it, compare it, print it.

    ``Pid[Add | Get, int]`` is one of a server that is called and cast with ``Add`` and ``Get`` and answers
    with an ``int``; a plain ``Pid`` is one of whatever process.

    Made by the start functions, ``process.spawn`` and ``process.current``, never by hand. Pids are hashable
    and ordered by age, live in one interpreter, and stay valid names of their process after its death.
    """

    __slots__ = (
        "_calls",
        "_context",
        "_inbox",
        "_lingering",
        "_links",
        "_monitors",
        "_pending",
        "_resources",
        "_run",
        "_saved",
        "_ties",
        "_told",
        "_unlinked",
        "_urgent",
        "_watching",
        "parked",
        "receiver",
        "trap_exit",
    )

    by_itself = False
    """Whether its code runs by itself (a thread, a task, a spawned function). Such a one mostly takes a lock
    or a name.
    """
    mailbox_late = False
    """Whether its mailbox is made with the first message that has to wait in it: many never get one."""
    sleeper: LockType | None = None
    """Of a plain thread that may sleep for ever: a taken lock that it sleeps on; None while it does."""

    def __init__(self, actor: Any = None, parent: Pid | None = None) -> None:
        self.id = next(ids)
        self.name: object = None
        self.actor = actor
        self.parent = parent
        self.trap_exit = False
        self.parked: Parked | None = None
        self.receiver: Waiter | LoopBell | None = None
        self._inbox: deque[Any] = NO_INBOX if self.mailbox_late else deque()
        # The run right: one element when it is free. It is taken with `del self._run[0]`, of which only one
        # succeeds, and which (unlike a call of acquire) an interrupt cannot come behind before the taker
        # has noted that it has it.
        self._run: list[bool] = [True]
        self._pending = False
        self._gone = False
        self._told = False
        # The tables below are made on first use (see _own): most processes need none, and ten empty ones
        # would double a process's size and the garbage collector's work.
        self._ties: dict[str, Any] = {}
        self._fate: tuple[object, ...] = ()
        self._urgent: list[ExitSignal] = NO_LIST
        self._unlinked: set[int] = NO_SET
        self._links: dict[int, Pid] = NO_DICT
        self._monitors: dict[int, Ref] = NO_DICT
        self._watching: dict[int, Ref] = NO_DICT
        self._resources: dict[int, Resource] = {} if self.by_itself else NO_DICT
        self._lingering: dict[int, Resource] = NO_DICT
        self._calls: dict[int, Call] = NO_DICT
        self._saved: deque[Any] | None = None
        self._context: contextvars.Context | None = None
        table[self.id] = self

    def _own(self, slot: str, fresh: Any) -> Any:
        """Make one of the tables. Two threads may both come here; setdefault makes them agree on one."""
        made = self._ties.setdefault(slot, fresh)
        setattr(self, slot, made)
        return made

    def mailbox(self) -> deque[Any]:
        """The mailbox, to put something into; made if need be."""
        inbox = self._inbox
        return self._own("_inbox", deque()) if inbox is NO_INBOX else inbox

    # -- life ----------------------------------------------------------------

    def is_alive(self) -> bool:
        """The same as alive, said Pykka's way."""
        check_alive()
        return not self.dead

    def meet_death(self) -> NoReturn:
        """End the code of this dead process that has called into the runtime."""
        raise Killed(f"{self} is dead: {self.exit_reason!r}")

    def mailbox_length(self) -> int:
        """How many messages wait."""
        check_alive()
        return len(self._inbox) + (len(self._saved) if self._saved else 0)

    # -- talking -------------------------------------------------------------

    def send(self, message: object) -> None:
        """Put a message into its mailbox; to the dead, nothing happens."""
        check_alive()
        if self._fate and self._fate[0] is FORKED:
            raise StalePid(self, self, FORKED)
        self.deliver(message)

    def call(self, message: Request, timeout: float | None = 5.0) -> Answer:
        """Send a request and wait for its answer; only servers answer."""
        check_alive()
        raise TypeError(f"{self} is a {self.kind}, which answers no calls; send it a message instead")

    def cast(self, message: Request) -> None:
        """Send a request without waiting; only servers take them."""
        check_alive()
        raise TypeError(f"{self} is a {self.kind}, which takes no casts; send it a message instead")

    def request(self, message: Request) -> Call[Answer]:
        """Send a request; the answer comes in the future."""
        check_alive()
        raise TypeError(f"{self} is a {self.kind}, which answers no calls; send it a message instead")

    def ask_at_once(
        self, message: Request, caller: Pid, loop: asyncio.AbstractEventLoop | None
    ) -> Call[Answer]:
        """Send a request from a coroutine of that loop, which awaits the answer."""
        return self.request(message)

    def cast_at_once(self, message: Request) -> None:
        """Cast from a coroutine."""
        self.cast(message)

    def send_at_once(self, message: object) -> None:
        """Send from a coroutine."""
        self.send(message)

    def stop_here(self, reason: object) -> bool:
        """End it in order on this thread, in which no loop runs.

        Returns:
            Whether it has ended; otherwise that takes a request.
        """
        return False

    def ask_later(self, message: Any) -> Call:
        """``ask(block=False)``."""
        return self.request(message)

    def stop_later(self, timeout: float | None) -> bool:
        """``stop()``: what reads its own mailbox gets an exit signal."""
        check_alive()
        was_alive = self.alive
        self.signal(None, SHUTDOWN, direct=True)
        return was_alive

    def stop_future(self) -> Any:
        """``stop(block=False)``."""
        future: Future[bool] = Future()
        future.set(self.stop_later(None))
        return future

    if not TYPE_CHECKING:
        # Pykka's own words for the same; its signatures are overloads that a type checker knows from the
        # base class.
        def tell(self, message):
            """Send, Pykka's way: an ActorDeadError where nobody lives, a cast otherwise."""
            check_alive()
            if self.dead:
                raise no_process(self)
            self.cast(message)

        def ask(self, message, *, block=True, timeout=None):
            """Call, Pykka's way: waits for ever by default; block=False gives the future."""
            if block:
                return self.call(message, timeout)
            return self.ask_later(message)

        def stop(self, *, block=True, timeout=None):
            """End it in order, Pykka's way: True when it has been stopped, False when it was dead already."""
            return self.stop_later(timeout) if block else self.stop_future()

    # -- delivery ------------------------------------------------------------

    def deliver(self, item: Any) -> None:
        """Put an item into the mailbox and see to it that it is looked at. Never blocks; safe anywhere."""
        raise NotImplementedError

    def deliver_from_afar(self, item: Any) -> None:
        """Deliver without ever running the process on this thread: for timers, finalizers, dying threads."""
        self.deliver(item)

    def taken(self, item: Any) -> None:
        """A message has left the mailbox; bounded ones keep count."""

    def _wake_receiver(self) -> None:
        receiver = self.receiver
        if receiver is not None:
            receiver.wake()

    def _claim(self) -> bool:
        """Take the run right, on a thread that no interrupt can hit; who takes it elsewhere writes this
        out.
        """
        try:
            del self._run[0]
        except IndexError:
            return False
        return True

    def _flush(self) -> None:
        """Answer what is in the mailbox of the dead: nobody else will. Every item is popped by exactly one
        thread.
        """
        for box in (self._inbox, self._saved):
            if box:
                refuse_mail(self, box)
        calls = self._calls
        while calls:
            try:
                call = calls.popitem()[1]
            except KeyError:
                break
            refuse(self, call)

    def expect(self, call: Call) -> None:
        """Promise that a call which was not answered at once is failed if this process dies before it
        answers.
        """
        calls = self._calls
        if calls is NO_DICT:
            calls = self._own("_calls", {})
        calls[call.key] = call
        if self._fate:
            self._flush()

    # -- links, monitors, resources -------------------------------------------

    def remove_link(self, other: Pid) -> None:
        """Take the link away, on both sides; afterwards the link has no effect any more."""
        if self._links.pop(other.id, None) is None and other._fate and other.id in table:
            # Its burial has taken the entry and may not have told yet: what it tells is to be thrown away.
            self._own("_unlinked", set()).add(other.id)
        other._links.pop(self.id, None)

    def add_monitor(self, ref: Ref) -> None:
        """Watch this process through ref."""
        put_entry(self, "_monitors", ref.id, ref)
        put_entry(ref.watcher, "_watching", ref.id, ref)
        if self._told and self._monitors.pop(ref.id, None) is not None:
            ref.watcher._watching.pop(ref.id, None)
            ref.watcher.deliver(Down(ref, self, NOPROC))
        elif ref.watcher._fate:
            self._monitors.pop(ref.id, None)

    def remove_monitor(self, ref: Ref) -> bool:
        """Stop watching; False when it has fired."""
        ref.watcher._watching.pop(ref.id, None)
        return self._monitors.pop(ref.id, None) is not None

    def attach(self, resource: Resource) -> None:
        """Tie a resource to the life of this process; attaching the same object again changes nothing.

        Returns at once. On a dead process ``owner_died`` is called from here, and ``owner_left`` as soon as
        it has left.
        """
        resources = self._resources
        if resources is NO_DICT:
            resources = self._own("_resources", {})
        resources[id(resource)] = resource
        if self._fate:
            self._release_one(id(resource))

    def detach(self, resource: Resource) -> None:
        """Untie it; afterwards it is not told any more (unless it is being told right now)."""
        key = id(resource)
        self._resources.pop(key, None)
        if self._lingering:
            self._lingering.pop(key, None)

    def _release_one(self, key: int) -> None:
        resources = self._resources
        try:
            # Not by pop(), behind which an interrupt could come before the entry is known here.
            resource = resources[key]
            del resources[key]
        except KeyError:
            return
        try:
            resource.owner_died(self, self.exit_reason)
            if self._gone:
                resource.owner_left(self)
                return
            # Then where the departure looks for it; if that has been, it is told from here. Never left
            # before died.
            put_entry(self, "_lingering", key, resource)
            if self._gone:
                self._depart()
        except INTERRUPTS:
            # Whoever buries it once more tells it, maybe again, rather than never.
            resources[key] = resource
            raise

    def _depart(self) -> None:
        """Tell the resources that no code of it runs any more."""
        lingering = self._lingering
        while lingering:
            for key in list(lingering):
                try:
                    resource = lingering[key]
                    del lingering[key]
                except KeyError:
                    continue
                try:
                    resource.owner_left(self)
                except INTERRUPTS:
                    lingering[key] = resource
                    raise

    # -- signals and death ----------------------------------------------------

    def signal(self, sender: Pid | None, reason: object, *, direct: bool = False) -> None:
        """Receive an exit signal, from a link or (direct) from ``process.exit``.

        Semantics: Erlang Reference Manual, "Processes", "Receiving Exit Signals".
        """
        if self._fate:
            return
        if self._unlinked and not direct and sender is not None and sender.id in self._unlinked:
            # Its only signal along a link; what comes with its Pid in it from now on was made by hand.
            self._unlinked.discard(sender.id)
            return
        if direct and isinstance(reason, str) and reason == KILL:
            self.end(KILLED)
        elif self.trap_exit and sender is not None:
            self.deliver(Exited(sender, reason))
        elif isinstance(reason, str) and reason == NORMAL and sender is not self:
            return
        else:
            self.end(reason)

    def end(self, reason: object) -> None:
        """Let the process die of a signal. Here: at once, whatever its code is doing."""
        self.die(reason)

    def die(self, reason: object) -> bool:
        """Die now; False when it was dead already.

        The order: flagged; name and resources gone; waiting callers answered; what it owns closed (by other
        threads, and the rest after that); `exited` emitted; links and monitors told; its own wait ended; and,
        if nothing of it runs, left.
        """
        try:
            if not self.flag(reason):
                return False
            self.bury()
        except BaseException:
            # An interrupt: the death stands if it was flagged, and is carried out by the kernel thread.
            if "_fate" in self._ties:
                self._fate = self._ties["_fate"]
                note_code(self)
                kernel.post(self._bury)
            raise
        return True

    def flag(self, reason: object) -> bool:
        """Commit the death, one atomic step; False when it was committed before. Whoever gets True must
        bury.
        """
        mine = (reason,)
        self._fate = fate = self._ties.setdefault("_fate", mine)
        if fate is mine:
            note_code(self)
        return fate is mine

    def bury(self) -> None:
        """Carry out a death that has been flagged."""
        state = local.state
        burials = state.burials
        if burials is not None:
            # It follows from one that this thread is carrying out: queued, so that chains of links do not
            # recurse.
            burials.append(self)
            return
        state.burials = burials = deque((self,))
        # Processes that run on the sender's thread are told now and run when this is through.
        state.depth += 1
        try:
            while True:
                if not burials:
                    break
                burials[0]._bury()
                burials.popleft()
        except BaseException:
            # An interrupt hit the main thread in the middle. Every step pops what it has done, so the rest
            # can be done again.
            for rest in burials:
                kernel.post(rest._bury)
            raise
        finally:
            state.burials = None
            state.depth -= 1
            if state.deferred and not state.depth:
                run_deferred_drains()

    def _bury(self) -> None:
        reason = self.exit_reason
        if self.name is not None:
            give_up_name(self)
        if self._resources:
            for key in list(self._resources):
                self._release_one(key)
        # Whoever delivers later finds it dead, and sees to it.
        if self._inbox or self._saved or self._calls:
            self._flush()
        # What it owns is closed before anybody else is told (see resources.py), by the pool, which then comes
        # here again.
        if "estate" in self._ties and self._ties["estate"].holds():
            if self.parked is not None:
                self.parked.wake()
            self._after_death()
            return
        if telemetry._attached and not self._told:
            telemetry.tell(EXITED, {}, {"pid": self, "reason": reason, "name": self.name, "kind": self.kind})
        # From here on, whoever links or monitors answers for the new entry itself.
        self._told = True
        links = self._links
        while links:
            for key in list(links):
                tell_link(self, key, reason)
        watching = self._watching
        while watching:
            try:
                ref = watching.popitem()[1]
            except KeyError:
                break
            if ref.target is not None:
                ref.target._monitors.pop(ref.id, None)
        monitors = self._monitors
        while monitors:
            for key in list(monitors):
                tell_monitor(self, key, reason)
        table.pop(self.id, None)
        parked = self.parked
        if parked is not None:
            parked.wake()
        self._after_death()

    def abandon(self) -> None:
        """None of its code will run any more, though it has not ended: its event loop is closed."""

    def recover(self) -> None:
        """See to what an interrupt on its event loop may have kept from being done. In a callback of that."""

    def _after_death(self) -> None:
        """If no code of it runs, it has left. The run right of the dead is never given back."""
        try:
            del self._run[0]
        except IndexError:
            self._now_a_straggler()
            return
        try:
            self.leave()
        except BaseException:
            # An interrupt: the burial is done again, and takes the right again.
            self._run.append(True)
            raise

    def _now_a_straggler(self) -> None:
        """Its code goes on for a while; whoever runs it calls leave."""

    def leave(self) -> None:
        """No code of this dead process runs any more. By whoever holds the run right; may be repeated."""
        self._gone = True
        dead_but_running.pop(self.id, None)
        self._depart()
        self._saved = None
        self._context = None
        self._drop()

    def _drop(self) -> None:
        """Forget what a dead process does not need."""
        self.actor = None


def put_entry(pid: Pid, slot: str, key: int, value: object) -> None:
    """Put an entry into one of a process's tables, making the table if need be."""
    table = getattr(pid, slot)
    if table is NO_DICT:
        table = pid._own(slot, {})
    table[key] = value
