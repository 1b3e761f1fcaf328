"""The till: hands out payments to all pods, and again those of a killed pod, or of a user who is taken."""

from __future__ import annotations

import itertools
from collections import deque

from resprout import GenServer, NoProcess, ServerExit, Task, process

from .payment import Payment, make_payments
from .receipts import receipts

PODS = 4
AT_ONCE = 12
"""Payments that are under way at a time, so that all pods have something to do."""


def pay_all(count: int, seed: int) -> None:
    """Pays everything, and ends."""
    queue = deque(make_payments(seed, count))
    tasks = [Task.async_(pay_from, queue, first) for first in range(AT_ONCE)]
    Task.await_many(tasks, timeout=None)
    receipts.finish()


def pay_from(queue: deque[Payment], first: int) -> None:
    """Has one pod after the other pay, until nothing is left in the queue.

    Whoever puts a payment back goes on, so none is forgotten there.
    """
    for number in itertools.count(first):
        try:
            payment = queue.popleft()
        except IndexError:
            return
        try:
            said = GenServer.call(f"pod{number % PODS}", payment, timeout=None)
        except NoProcess:
            queue.append(payment)
            process.sleep(0.005)  # until it is started again
        except ServerExit:
            receipts.note_killed(payment)
            queue.append(payment)
        else:
            if said == "paid":
                receipts.note_paid(payment)
            else:
                receipts.note_taken()
                queue.append(payment)
