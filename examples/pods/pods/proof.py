"""What `resprout run` shows of the work, and the proof at its end: the account and the statements against the
receipts.
"""

from __future__ import annotations

import attrs

from resprout.observer import Progress

from .account import open_account, read_account
from .payment import USERS, make_payments
from .receipts import receipts
from .statements import open_statement, read_statement


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
        in_statements: What the payments in the statements of the users come to.
        finished: Whether nothing was left to pay; not so when the run was stopped before.
        lost: Payments that were made, and are not in the account, or with another amount.
        undone: Payments that were made, and are not in the statement of their user.
        kills: How often a pod was killed.
        again: Payments that a pod had in hand when it was killed, and that another one was given.
        taken: How often a pod was given a payment of a user whose key another one had.
    """

    asked: int
    paid: int
    in_account: int
    total: int
    in_statements: int
    finished: bool
    lost: int
    undone: int
    kills: int
    again: int
    taken: int


class Proof:
    """Holds what is in the account and the statements against what should be.

    Args:
        account: The file.
        statements: The folder.
        count: How many payments there are.
        seed: Of the payments.
    """

    def __init__(self, account: str, statements: str, count: int, seed: int) -> None:
        self._account = account
        self._statements = statements
        self._payments = {each.number: each for each in make_payments(seed, count)}
        open_account(account)
        for user in range(USERS):
            open_statement(statements, user)

    def progress(self) -> Progress:
        """How many payments were made."""
        return Progress(receipts.counts()[0], len(self._payments), unit="payments")

    def result(self) -> Result:
        """Reads the account and the statements, and counts."""
        finished = receipts.is_finished()  # before the rest is read
        paid, kills, again = receipts.counts()
        made = self._payments if finished else receipts.paid()
        there = read_account(self._account).paid
        statements = [read_statement(self._statements, user) for user in range(USERS)]
        return Result(
            asked=len(self._payments),
            paid=paid,
            in_account=len(there),
            total=sum(there.values()),
            in_statements=sum(sum(each.values()) for each in statements),
            finished=finished,
            lost=sum(there.get(number) != each.amount for number, each in made.items()),
            undone=sum(statements[each.user].get(number) != each.amount for number, each in made.items()),
            kills=kills,
            again=again,
            taken=receipts.taken(),
        )

    def report(self) -> dict[str, object]:
        """The result as `--report` writes it.

        Raises:
            NotExact: A payment is missing.
        """
        result = self.result()
        if result.lost:
            raise NotExact(f"{result.lost} of {result.paid} payments were made, and are not in the account")
        if result.undone:
            raise NotExact(f"{result.undone} of {result.paid} payments were made, and are in no statement")
        return attrs.asdict(result)

    def summary(self) -> str:
        """The result for people."""
        result = self.result()
        return (
            f"{result.paid:,} of {result.asked:,} payments made, all in the account: "
            f"{result.total / 100:,.2f} in all, and {result.in_statements / 100:,.2f} in the statements\n"
            f"pods were killed {result.kills} times, {result.again} payments were given to another one; "
            f"{result.taken} were put back, as another pod had the user"
        )
