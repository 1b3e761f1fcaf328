"""Pykka actors that know nothing of resprout: each gets a stand-in process while somebody here is interested
in it.

Nothing of the actor is changed. Its end is seen by a thread-free watch: the kernel thread looks at its
``actor_stopped`` event, a few times a second at first and then more often the more is going on, as Pykka
offers no notice.
"""

from __future__ import annotations

import time
import weakref
from typing import Any

import pykka

from .bridge import ActorStop, is_foreign
from .kernel import kernel
from .mailbox import MailboxPid
from .pid import Pid
from .reasons import KILLED, NORMAL

LOOK = 0.02
"""Seconds between two looks at whether a foreign actor has stopped."""

_stand_ins: weakref.WeakKeyDictionary[Any, ForeignPid] = weakref.WeakKeyDictionary()


class ForeignPid(MailboxPid):
    """Stands for a pykka.ActorRef in links, monitors and child tables."""

    __slots__ = ("ref",)
    kind = "pykka"

    def __init__(self, ref: Any) -> None:
        super().__init__()
        self.ref = ref
        self._run.acquire()
        self._look_again()

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
        """Messages go on to the actor."""
        if self._fate:
            return
        try:
            self.ref.tell(item)
        except pykka.ActorDeadError:
            self.look()

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        """Ask the actor."""
        return self.ref.ask(message, timeout=timeout)

    def cast(self, message: object) -> None:
        """Tell the actor."""
        self.deliver(message)

    def end(self, reason: object) -> None:
        """An exit signal asks it to stop; `killed` also declares it dead at once."""
        try:
            self.ref.tell(ActorStop())
        except pykka.ActorDeadError:
            pass
        if reason == KILLED:
            self.die(reason)
        else:
            self._look_again(0.001)

    def look(self) -> None:
        """See whether it has stopped."""
        if self._fate:
            if not self._gone and not self.ref.is_alive():
                self.leave()
            elif not self._gone:
                self._look_again()
        elif not self.ref.is_alive():
            # Pykka keeps no reason; a crash and a stop look the same from outside.
            self.die(NORMAL)
            self.leave()
        else:
            self._look_again()

    def _look_again(self, after: float = LOOK) -> None:
        kernel.at(time.monotonic() + after, self.look)


def stand_in(ref: object) -> Pid | None:
    """The process that stands for a foreign ref; None when it is none."""
    if not is_foreign(ref):
        return None
    pid = _stand_ins.get(ref)
    if pid is None:
        kernel.ensure()
        pid = _stand_ins[ref] = ForeignPid(ref)
    return pid
