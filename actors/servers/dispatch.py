"""The engine of servers: takes items from a mailbox one at a time and carries out what the callbacks return.

How a server is run (pool thread, sender's thread, event loop) is in runnable.py; what its callbacks mean is
in genserver.py.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from ..processes.death_notices import refuse_unhandled
from ..processes.links import tie
from ..processes.mailbox import Cast, Continue, System, Tick, void
from ..processes.names import take_name
from ..processes.pid import Pid
from ..processes.resources import when_closed
from ..reports import crash_reports as reports
from ..reports import telemetry
from ..reports.other_loops import explain
from ..runtime.call import Call
from ..runtime.call_cycles import begin, suspects
from ..runtime.kernel import Alarm, kernel
from ..runtime.thread_state import local
from ..vocabulary.errors import AlreadyRegistered, AlreadyStarted, Killed, ResproutError, StartError
from ..vocabulary.messages import IGNORE, NOTHING, TIMEOUT, Down, Exited, NoReply, Ok, Reply, Stop, TaskReply
from ..vocabulary.pykka_types import PYKKA_MESSAGES, ActorStop
from ..vocabulary.reasons import NOPROC, NORMAL, Crash, ExitRequest, is_orderly

if TYPE_CHECKING:
    from .callbacks import Callbacks


STARTED = ("resprout", "process", "started")


class Tracer(Protocol):
    """Somebody who is told of each step of a server: see ``debug_functions``."""

    def took(self, pid: Any, item: Any) -> None:
        """An item has left the mailbox."""

    def sends(self, pid: Any, call: Call, value: object) -> None:
        """A call is about to be answered."""

    def settled(self, pid: Any) -> None:
        """A callback's result has been carried out."""


class BadReturn(ResproutError):
    """A callback returned something that it may not return."""

    def __init__(self, actor: object, callback: str, value: object, allowed: str) -> None:
        super().__init__(f"{type(actor).__name__}.{callback} returned {value!r}, expected {allowed}")


class Interrupted(ResproutError):
    """Ctrl-C hit the callback that was to answer; the server lives on."""


class BootCall(Call):
    """What a starter waits for: a verdict, made before the process dies of it and given afterwards."""

    __slots__ = ("verdict",)

    def __init__(self, server: Pid, pid: Pid | None) -> None:
        # Call.__init__ written out: this runs once a start.
        self._box = []
        self._callbacks = []
        self.message = "init"
        self.server = server
        self.pid = pid
        self.verdict: tuple[Any, BaseException | None] | None = None

    def fail(self, pid: Pid) -> None:
        # Who has made a verdict gives it when the burial is over: the starter must not act before others
        # know of the death.
        if self.verdict is None:
            # Nor before what its init has opened is closed, or the next attempt would find it taken.
            when_closed(pid, lambda: Call.fail(self, pid))


class Boot(System):
    """The first item of every server: register, link, init, and tell the starter."""

    __slots__ = ("answer", "arg", "link", "name")

    def __init__(self, answer: BootCall, arg: object, name: object, link: Pid | None) -> None:
        self.answer = answer
        self.arg = arg
        self.name = name
        self.link = link


class StopRequest(System):
    """``GenServer.stop``: end in order, as the process itself."""

    __slots__ = ("reason",)

    def __init__(self, reason: object) -> None:
        self.reason = reason

    def handle(self, pid: Any) -> Any:
        return pid.actor._told_to_stop(self.reason, pid.state, False)


class StopCall(Call):
    """A call whose answer is the death of the server, which fails every call that was promised one."""

    __slots__ = ()

    def fail(self, pid: Pid) -> None:
        when_closed(pid, lambda: self.try_set(None))


def request_stop(pid: Pid, reason: object, caller: Pid | None, *, waits: bool) -> StopCall:
    """Tell a server to end in order; answered when it is dead, its name free and closed what it owned.

    Args:
        pid: the server.
        reason: what it ends with.
        caller: who asks.
        waits: whether that one waits for the end.

    Raises:
        CallCycle: it would, and the server waits for it.
    """
    call = StopCall(("stop", reason), pid, caller)
    if waits and caller is not None and (caller.starter is not None or suspects):
        begin(caller, pid, call)
    call.promise()
    pid.deliver(StopRequest(reason))
    return call


class ServerPid(Pid):
    """A process that runs a GenServer's callbacks."""

    __slots__ = ("_alarm", "_suspended", "_tick", "handled", "started_at", "starter", "state", "tracer")
    kind = "server"
    actor: Callbacks

    def __init__(self, actor: Callbacks, parent: Pid | None) -> None:
        self.state: Any = None
        self.handled = 0
        self.started_at = time.monotonic()
        self._alarm: Alarm | None = None
        self._tick: Tick | None = None
        self._suspended = False
        self.tracer: Tracer | None = None
        self.starter: Any = None
        super().__init__(actor, parent)

    # -- taking items --------------------------------------------------------

    def turn(self, budget: int) -> bool:
        """Handle up to budget items as this process; True when there may be more."""
        inbox = self._inbox
        while budget:
            if self._saved or self._suspended:
                item = self._next_of_saved()
                if item is NOTHING:
                    self._take_signals()
                    return False
            elif inbox:
                item = inbox.popleft()
            else:
                self._take_signals()
                return False
            # Looked at when the item is out: what a process sent after its exit signal is not handled, as it
            # sees to it that the signal is known here before it goes on. (What it sent before may be.)
            if self._urgent or self._fate:
                self._take_signals()
                refuse_unhandled(self, item)
                return False
            budget -= 1
            kind = item.__class__
            if (
                (kind is not Call and kind is not Cast)
                or self._tick is not None
                or self.tracer is not None
                or item.message.__class__ in PYKKA_MESSAGES
            ):
                self.handle(item)
                continue
            # The common cases written out, as every function call costs a twentieth of the whole.
            self.handled += 1
            try:
                if kind is Cast:
                    result: Any = self.actor.handle_cast(item.message, self.state)
                else:
                    result = self.actor.handle_call(item.message, item, self.state)
            except BaseException as error:
                self.unwound(item, error)
                continue
            if result.__class__ is (NoReply if kind is Cast else Reply) and (
                result.timeout is None and result.continue_with is NOTHING
            ):
                if not self._fate:
                    self.state = result.state
                    if isinstance(result, Reply):
                        item.answer(result.value)
            else:
                self.settle(item, checked(result))
        return True

    def next_item(self) -> Any:
        """The next item that may be handled now; NOTHING when there is none."""
        if self._saved or self._suspended:
            return self._next_of_saved()
        return self._inbox.popleft() if self._inbox else NOTHING

    def _take_signals(self) -> None:
        while self._urgent and not self._fate:
            self.die(self._urgent.pop(0).reason)

    def _next_of_saved(self) -> Any:
        """What receive passed over comes first; a suspended server looks at system requests only."""
        saved = self._saved
        if not self._suspended:
            if saved:
                return saved.popleft()
            return self._inbox.popleft() if self._inbox else NOTHING
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, System) or (
                item.__class__ is Exited and item.pid is self.parent and item.pid is not None
            ):
                return item
            if saved is None:
                saved = self._saved = deque()
            saved.append(item)
        return NOTHING

    def has_work(self) -> bool:
        """Whether a turn would find something to do."""
        return bool(self._inbox or self._urgent or (self._saved and not self._suspended))

    # -- handling ------------------------------------------------------------

    def handle(self, item: Any) -> None:
        """Let the callbacks handle one item and carry out what they return."""
        try:
            result = self.invoke(item)
        except BaseException as error:
            self.unwound(item, error)
        else:
            if result is not None:
                self.settle(item, result)

    def invoke(self, item: Any) -> Any:
        """Call the callback for an item; None when the item was the runtime's own."""
        kind = item.__class__
        self.handled += 1
        if (kind is Down or kind is Exited or kind is TaskReply) and void(self, item):
            return None
        if self.tracer is not None:
            self.tracer.took(self, item)
        # The runtime's own requests leave the wait alone, and so does a tick of an earlier one, that a
        # message came before.
        if self._tick is not None and kind is not Tick and not isinstance(item, System):
            self._disarm()
        if kind is Call:
            message = item.message
            if message.__class__ in PYKKA_MESSAGES:
                return self._handle_pykka(item)
            result = self.actor.handle_call(message, item, self.state)
            return result if result is not None else checked(None)
        if kind is Cast:
            if item.message.__class__ in PYKKA_MESSAGES:
                return self._handle_pykka(item)
            return checked(self.actor.handle_cast(item.message, self.state))
        if kind is Continue:
            return checked(self.actor.handle_continue(item.token, self.state))
        if kind is Tick:
            if self._tick is not item:
                return None
            self._disarm()
            return checked(self.actor.handle_info(TIMEOUT, self.state))
        if kind is Boot:
            return self.boot(item)
        if isinstance(item, System):
            return item.handle(self)
        if kind is Exited and item.pid is self.parent and item.pid is not None:
            # The parent of a server that traps exits is the one whose end it does not survive (gen_server).
            return self.actor._told_to_stop(item.reason, self.state, True)
        return checked(self.actor.handle_info(item, self.state))

    def settle(self, item: Any, result: Any) -> None:
        """Carry out what a callback returned."""
        if self._fate:
            # It was killed meanwhile: what its handler still returns is thrown away.
            return
        kind = result.__class__
        if (
            (kind is Reply and item.__class__ is Call) or (kind is NoReply and item.__class__ is not Boot)
        ) and (result.timeout is None and result.continue_with is NOTHING and self.tracer is None):
            # Most of them; the same as below.
            self.state = result.state
            if kind is Reply:
                item.answer(result.value)
            return
        if kind in _WITH_TIMEOUT and result.timeout is not None and not _is_time(result.timeout):
            allowed = "a timeout of None or at least 0 seconds"
            self.unwound(item, BadReturn(self.actor, _callback_of(item), result, allowed))
            return
        if kind is Reply and item.__class__ is Call:
            self.state = result.state
            self.respond(item, result.value)
        elif (kind is NoReply and item.__class__ is not Boot) or (kind is Ok and item.__class__ is Boot):
            self.state = result.state
            if self.tracer is not None:
                self.tracer.settled(self)
        elif kind is Stop:
            self._settle_stop(item, result)
            return
        elif result is IGNORE and item.__class__ is Boot:
            self._refuse_boot(item, None, NORMAL)
            return
        else:
            self.unwound(item, BadReturn(self.actor, _callback_of(item), _value_of(result), _allowed(item)))
            return
        if kind is Ok:
            self.end_of_init()
            if telemetry._attached:
                telemetry.tell(STARTED, {}, {"pid": self, "name": self.name, "kind": self.kind})
            item.answer.answer(self)
        if result.continue_with is not NOTHING:
            # To the front of what is read next: it comes before any message, and a chain of them does not
            # recurse.
            (self._saved or self.mailbox()).appendleft(Continue(result.continue_with))
        elif result.timeout is not None:
            self._arm(result.timeout)

    def _settle_stop(self, item: Any, stop: Stop) -> None:
        if item.__class__ is Boot:
            self.fail_boot(item, stop.reason)
            return
        if stop.reply is not NOTHING and item.__class__ is not Call:
            self.unwound(item, BadReturn(self.actor, _callback_of(item), stop, "Stop without reply"))
            return
        if stop.state is not NOTHING:
            self.state = stop.state
        self.finish(stop.reason, item, stop.reply)

    def keep_back(self, error: KeyboardInterrupt) -> bool:
        """Keep an interrupt of the main thread until its drain is over; elsewhere one is an exception like
        any other.
        """
        if local.state.depth and threading.current_thread() is threading.main_thread():
            local.state.interrupt = error
            return True
        return False

    def unwound(self, item: Any, error: BaseException) -> None:
        """A callback ended in an exception."""
        if isinstance(error, Killed):
            return
        if isinstance(error, KeyboardInterrupt) and self.keep_back(error) and item.__class__ is not Boot:
            # Meant for the main thread, not for the process whose callback it hit: the message counts as
            # handled.
            if item.__class__ is Call:
                item.answer_error(Interrupted(f"{self} was interrupted by Ctrl-C before it answered"))
            cut_off = getattr(self.actor, "cut_off", None)
            if cut_off is not None:
                # A stage, which has more to mend than its state.
                cut_off(item)
            return
        explain(self, error)
        reason = error.reason if isinstance(error, ExitRequest) else Crash(error)
        if item.__class__ is Boot:
            self.fail_boot(item, reason)
        else:
            self.finish(reason, item)

    def finish(self, reason: object, item: Any, reply: object = NOTHING) -> None:
        """Terminate in order: the terminate callback, the last reply, the report, death."""
        if self._fate:
            return
        reason = self._terminate(reason)
        if reply is not NOTHING:
            self.respond(item, reply)
        self.report(reason, item)
        self.die(reason)

    def give_up_waiting(self) -> None:
        """Cancel a callback that waits on an event loop, on the thread of that; others go on."""

    def respond(self, call: Call, value: object) -> None:
        """Send the reply that a callback returned."""
        if self.tracer is not None:
            self.tracer.sends(self, call, value)
        call.answer(value)

    def _terminate(self, reason: object) -> object:
        """Run terminate; the reason to die of, which is its own error if it raises."""
        try:
            self.actor.terminate(reason, self.state)
        except BaseException as error:
            return self.terminate_raised(error, reason)
        return reason

    def terminate_raised(self, error: BaseException, reason: object) -> object:
        """What to die of after terminate raised."""
        if isinstance(error, KeyboardInterrupt) and self.keep_back(error):
            return reason
        explain(self, error)
        return error.reason if isinstance(error, ExitRequest) else Crash(error)

    def report(self, reason: object, item: object) -> None:
        """Report an end that is a fault, once."""
        if not is_orderly(reason) and not self._fate:
            reports.crashed(self, reason, item)

    # -- start ---------------------------------------------------------------

    def boot(self, boot: Boot) -> Any:
        """Take the name, link, and run init; None when the name was taken."""
        actor = self.actor
        if boot.name is not None:
            try:
                take_name(self, boot.name)
            except AlreadyRegistered as taken:
                self._refuse_boot(boot, AlreadyStarted(taken.pid), NORMAL)
                return None
            except Exception as mistake:
                # A name that cannot be taken by anybody is the starter's mistake, and no crash of this one.
                self._refuse_boot(boot, mistake, NORMAL)
                return None
        if boot.link is not None and not tie(self, boot.link):
            self.signal(boot.link, NOPROC)
        return checked(actor.init(boot.arg))

    def end_of_init(self) -> None:
        """Nobody waits for init any more, from now on."""
        self.starter = None
        if suspects:
            suspects.pop(self.id, None)

    def fail_boot(self, boot: Boot, reason: object) -> None:
        """Init refused or raised: die of the reason, quietly for the starter's mailbox, then tell the
        starter.
        """
        self._refuse_boot(boot, StartError(reason), reason)

    def _refuse_boot(self, boot: Boot, error: Exception | None, reason: object) -> None:
        if boot.link is not None:
            # The starter gets an error to handle, so it gets no exit signal besides.
            self.remove_link(boot.link)
        # The starter is told when the process is dead, so that it may take the name again.
        verdict = boot.answer.verdict = (None, error)
        self.die(reason)
        when_closed(self, lambda: boot.answer._complete(verdict))

    # -- Pykka's own messages --------------------------------------------------

    def _handle_pykka(self, item: Any) -> Any:
        message = item.message
        if type(message) is ActorStop:
            if item.__class__ is Call:
                return Stop(NORMAL, self.state, reply=None)
            return self.actor._told_to_stop(NORMAL, self.state, False)
        if not self.actor._proxied:
            if item.__class__ is Cast:
                return checked(self.actor.handle_cast(message, self.state))
            return checked(self.actor.handle_call(message, item, self.state))
        if item.__class__ is Cast:
            self.actor.handle_pykka(message)
            return NoReply(self.state)
        try:
            return Reply(self.actor.handle_pykka(message), self.state)
        except Exception as error:
            # The caller gets the exception itself, as from Pykka; the process crashes, as under OTP.
            item.answer_error(error)
            raise

    # -- the timeout of a result -----------------------------------------------

    def _arm(self, timeout: float) -> None:
        tick = self._tick = Tick()
        if timeout <= 0:
            self.mailbox().append(tick)
        else:
            clock = kernel.clock
            self._alarm = clock.at(clock.now() + timeout, lambda: self.deliver_from_afar(tick))

    def _disarm(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()
        self._tick = None

    def _drop(self) -> None:
        self._disarm()
        super()._drop()
        self.end_of_init()
        self.state = None


def checked(result: Any) -> Any:
    """None is what a callback returns that forgot to: turn it into something that settle refuses by its
    name.
    """
    return _FORGOTTEN if result is None else result


_WITH_TIMEOUT = frozenset({Ok, Reply, NoReply})


def _is_time(timeout: object) -> bool:
    return isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout >= 0


class _Forgotten:
    __slots__ = ()


_FORGOTTEN = _Forgotten()


def _value_of(result: object) -> object:
    return None if result is _FORGOTTEN else result


def _callback_of(item: object) -> str:
    names: dict[type, str] = {
        Call: "handle_call",
        Cast: "handle_cast",
        Continue: "handle_continue",
        Boot: "init",
    }
    return names.get(type(item), "handle_info")


def _allowed(item: object) -> str:
    if type(item) is Boot:
        return "Ok(state), IGNORE or Stop(reason)"
    if type(item) is Call:
        return "Reply(value, state), NoReply(state) or Stop(reason, state, reply=...)"
    return "NoReply(state) or Stop(reason, state)"
