"""What the till was told, in memory that no process owns. Notes are appended, which any thread may do."""

from __future__ import annotations

from .payment import Payment


class Receipts:
    """Who was paid, and who was killed."""

    def __init__(self) -> None:
        self._paid: dict[int, Payment] = {}
        self._killed: list[Payment] = []
        self._kills: list[None] = []
        self._taken: list[None] = []
        self._finished = False

    def note_paid(self, payment: Payment) -> None:
        """A pod has said that it has paid."""
        self._paid[payment.number] = payment

    def note_killed(self, payment: Payment) -> None:
        """A pod was killed with that payment in hand."""
        self._killed.append(payment)

    def note_kill(self) -> None:
        """A pod was killed."""
        self._kills.append(None)

    def note_taken(self) -> None:
        """A pod has said that another one has the user."""
        self._taken.append(None)

    def finish(self) -> None:
        """All is paid."""
        self._finished = True

    def paid(self) -> dict[int, Payment]:
        """What was paid, by number."""
        return dict(self._paid)

    def counts(self) -> tuple[int, int, int]:
        """Payments that were made, kills, and payments that a killed pod had in hand."""
        return len(self._paid), len(self._kills), len(self._killed)

    def taken(self) -> int:
        """How often another pod had the user."""
        return len(self._taken)

    def is_finished(self) -> bool:
        """Whether all was paid; not so when the run was stopped before."""
        return self._finished


receipts = Receipts()
"""Those of this run."""
