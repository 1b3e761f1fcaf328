"""The right to step a ledger: one at a time, never waited for, safe in every place where Python runs code.

A step may be wanted in a finalizer, in a signal handler, in a dying thread, or on top of another step of the
same thread. So nobody waits to go in: a step is appended, then going in is tried; who fails leaves the step
to whoever is inside, who looks again after leaving. Who needs the answer of a step waits for that. This is
flat combining (Hendler, Incze, Shavit and Tzafrir, 2010); the same idea delivers messages in ``actors``.

Being inside is an entry in a dict, with a token that only this entry has. It is made by ``setdefault``, which
is one C call and a third of the price of a lock; and after an exception between any two bytecodes, the token
tells for certain whether the entry was made.

There is one way in and one way out. ``submit`` and ``decide`` queue a step and do what is queued: the plain
form. ``enter`` and ``leave`` go in and out around a step that is not queued, for what is done on every
acquire and release. Whoever uses these two calls ``repair`` after an exception.

Invariant: whoever is inside has had room for a call on the stack, since ``enter`` and ``_go_in`` are calls.
So there is room for ``repair``, which makes none itself before it is out.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Generic, TypeVar

from ...actors.engine import kernel

T = TypeVar("T")

VISIT_SECONDS = 1.0
"""How long a reader waits for whoever is inside; a step takes microseconds."""

FAILURES = 3
"""So often a step may fail before it is given up."""

ways_in: set[CodeType] = set()
"""The code that goes in; each calls its token ``token``."""


class Combiner:
    """See the module.

    Args:
        mend: makes the ledger right after a step that was cut off; the first step after that.
        recover: does what is left here, and whatever else belongs to that; after an exception.
    """

    __slots__ = ("_failed", "_failures", "_recover", "mend", "requests", "turn")

    def __init__(self, mend: Callable[[], object], recover: Callable[[], object] | None = None) -> None:
        self.turn: dict[int, object] = {}
        """Who is inside: under 0, the token of that entry; empty when nobody is."""
        self.requests: list[Callable[[], object]] = []
        """Steps that wait, oldest first. There are hardly any, and an empty deque takes 0.7 kB."""
        self.mend = mend
        self._recover = self.drain if recover is None else recover
        self._failed: object = None
        self._failures = 0

    @property
    def busy(self) -> bool:
        """Whether somebody is inside."""
        return bool(self.turn)

    def submit(self, step: Callable[[], object]) -> None:
        """Have a step done: now, or by whoever is inside. Never blocks; those of one thread keep their order.

        Args:
            step: is repeated after an exception cut it, so it must be idempotent.
        """
        try:
            self.requests.append(step)
            self.drain()
        except BaseException:
            # It may have come before drain() began.
            self.repair()
            raise

    def drain(self) -> None:
        """Do the steps that wait, unless somebody is inside, who will."""
        requests = self.requests
        token = (self,)
        step = None
        while requests:
            try:
                if not self._go_in(token):
                    return
                # Peek, do, then pop: an exception at any bytecode loses no step, and a step done twice does
                # no harm.
                while True:
                    if not requests:
                        break
                    step = requests[0]
                    step()
                    requests.pop(0)
                del self.turn[0]
            except BaseException as error:
                self.repair(token, step, error)
                raise

    def enter(self, token: object) -> bool:
        """Go in for one step; False when somebody is inside, or was first.

        Then the step is to be submitted, or ``drain`` to be called: others may have left theirs to whoever
        they found here.

        Args:
            token: an object that nobody else has.
        """
        if self.turn.setdefault(0, token) is not token:
            return False
        if not self.requests:
            return True
        del self.turn[0]
        return False

    def leave(self) -> None:
        """Go out, and do what others have left here meanwhile."""
        del self.turn[0]
        if self.requests:
            self.drain()

    def repair(
        self,
        token: object = None,
        step: Callable[[], object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """After an exception anywhere between ``enter`` and ``leave``, or on the way: go out if need be, have
        the ledger mended before anything else is done with it, and do what is left here. Where the stack has
        no room for that, the kernel thread does it, or whoever comes before it.

        Args:
            token: that of ``enter``, or anything of who did not go in; None when nothing was done with the
                ledger.
            step: the one of the queue that was being done.
            error: the exception that this raised.
        """
        # Without a call, for which there may be no room here.
        requests = self.requests
        turn = self.turn
        inside = False
        if 0 in turn:
            try:
                inside = turn[0] is token
            except KeyError:
                pass
        if inside:
            if not requests or requests[0] is not self.mend:
                requests[:0] = (self.mend,)
            del turn[0]
        elif token is not None:
            requests += (self.mend,)
        if step is self.mend:
            return
        try:
            if step is not None:
                self._drop_if_it_always_fails(step, error)
            self._recover()
        except RecursionError:
            posted = kernel.posted
            posted += (self._recover,)
            try:
                kernel.bell.release()
            except RuntimeError:
                pass

    def _go_in(self, token: object) -> bool:
        return self.turn.setdefault(0, token) is token

    def _drop_if_it_always_fails(self, step: Callable[[], object], error: BaseException | None) -> None:
        """A step that fails would do so for ever, in the face of everybody who comes by.

        An interrupt is no fault of the step that it hits, and an exception injected by somebody does not hit
        one again and again.
        """
        if not isinstance(error, Exception):
            return
        if self._failed is not step:
            self._failed = step
            self._failures = 0
        self._failures += 1
        if self._failures >= FAILURES and step in self.requests:
            self.requests.remove(step)
            if isinstance(step, _Answer):
                step.give_up(error)

    def visit(self, look: Callable[[], T]) -> T:
        """Look at the ledger between two steps, waiting for whoever is inside (microseconds).

        For ordinary code, not for finalizers. On top of a step of its own thread, or when somebody inside was
        stopped by a debugger, it looks in the middle of that step, so ``look`` must bear that.
        """
        inside, value = self._answer(look, VISIT_SECONDS)
        if not inside:
            return look()
        return value  # type: ignore[return-value]  # inside, so there is one

    def decide(self, step: Callable[[], T]) -> T | None:
        """Have a step done and return what it decides, waiting for whoever is inside, who may do it.

        Args:
            step: as in ``submit``.

        Returns:
            None where it can't be decided: on top of a step of its own thread.
        """
        return self._answer(step, -1)[1]

    def _answer(self, step: Callable[[], T], seconds: float) -> tuple[bool, T | None]:
        if self.turn and self._on_top():
            return False, None
        answer = _Answer(step)
        self.submit(answer)
        return answer.wait(seconds)

    def _on_top(self) -> bool:
        """Tell whether it is this very thread that is inside: in a signal handler, say, on top of a step."""
        owner = self.turn.get(0)
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and owner is not None:
            if frame.f_code in ways_in and frame.f_locals.get("token") is owner:
                return True
            frame = frame.f_back
        return False


class _Answer(Generic[T]):
    """A step whose answer somebody waits for, whichever thread does it."""

    __slots__ = ("_error", "_lock", "_step", "_value")

    def __init__(self, step: Callable[[], T]) -> None:
        self._step = step
        self._value: list[T] = []
        self._error: Exception | None = None
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def __call__(self) -> None:
        if not self._value and self._error is None:
            self._value.append(self._step())
        if self._lock.locked():
            self._lock.release()

    def give_up(self, error: Exception) -> None:
        """The step fails whenever it is tried."""
        self._error = error
        if self._lock.locked():
            self._lock.release()

    def wait(self, seconds: float) -> tuple[bool, T | None]:
        """Return whether it was done in time, and its answer; or raise what the step raises every time."""
        if not self._lock.acquire(timeout=seconds):
            return False, None
        if self._error is not None:
            raise self._error
        return True, self._value[0]


ways_in.add(Combiner.drain.__code__)
