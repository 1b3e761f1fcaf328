"""The till: hands out payments to all pods, and those of a pod that was killed to another one."""

from __future__ import annotations

import itertools

from resprout import GenServer, NoProcess, ServerExit, Task, process

from .payment import Payment, make_payments
from .receipts import receipts

PODS = 4
AT_ONCE = 12
"""Payments that are under way at a time, so that all pods have something to do."""


def pay_all(count: int, seed: int) -> None:
    """Pays everything, and ends."""
    payments = make_payments(seed, count)
    for _ in Task.async_stream(payments, pay_somewhere, max_concurrency=AT_ONCE, timeout=None):
        pass
    receipts.finish()


def pay_somewhere(payment: Payment) -> None:
    """Has a pod pay, and the next one if that is killed over it."""
    for number in itertools.count(payment.number):
        try:
            GenServer.call(f"pod{number % PODS}", payment, timeout=None)
        except NoProcess:
            process.sleep(0.005)  # until it is started again
        except ServerExit:
            receipts.note_killed(payment)
        else:
            receipts.note_paid(payment)
            return
