"""What `resprout run` shows of the work, and the proof at its end: the account against the receipts."""

from __future__ import annotations

import attrs

from resprout.observer import Progress

from .account import open_account, read_account
from .payment import make_payments
from .receipts import receipts


class NotExact(Exception):
    """The proof has failed; so the run fails."""


@attrs.frozen
class Result:
    """What came of a run.

    Args:
        asked: Payments.
        paid: Payments of which a pod said that it had made them.
        in_account: Payments in the account.
        total: What they come to, in cents.
        finished: Whether nothing was left to pay; not so when the run was stopped before.
        lost: Payments that were made, and are not in the account, or with another amount.
        kills: How often a pod was killed.
        again: Payments that a pod had in hand when it was killed, and that another one was given.
    """

    asked: int
    paid: int
    in_account: int
    total: int
    finished: bool
    lost: int
    kills: int
    again: int


class Proof:
    """Holds what is in the account against what should be.

    Args:
        account: The file.
        count: How many payments there are.
        seed: Of the payments.
    """

    def __init__(self, account: str, count: int, seed: int) -> None:
        self._account = account
        self._payments = {each.number: each for each in make_payments(seed, count)}
        open_account(account)

    def progress(self) -> Progress:
        """How many payments were made."""
        return Progress(receipts.counts()[0], len(self._payments), unit="payments")

    def result(self) -> Result:
        """Reads the account, and counts."""
        finished = receipts.is_finished()  # before the rest is read
        paid, kills, again = receipts.counts()
        there = read_account(self._account).paid
        made = self._payments if finished else receipts.paid()
        return Result(
            asked=len(self._payments),
            paid=paid,
            in_account=len(there),
            total=sum(there.values()),
            finished=finished,
            lost=sum(there.get(number) != payment.amount for number, payment in made.items()),
            kills=kills,
            again=again,
        )

    def report(self) -> dict[str, object]:
        """The result as `--report` writes it.

        Raises:
            NotExact: A payment is missing.
        """
        result = self.result()
        if result.lost:
            raise NotExact(f"{result.lost} of {result.paid} payments were made, and are not in the account")
        return attrs.asdict(result)

    def summary(self) -> str:
        """The result for people."""
        result = self.result()
        return (
            f"{result.paid:,} of {result.asked:,} payments made, all in the account: "
            f"{result.total / 100:,.2f} in all\n"
            f"pods were killed {result.kills} times, {result.again} payments were given to another one"
        )
