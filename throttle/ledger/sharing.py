"""What a ledger does with holds that several work in, or that go from hand to hand. Pure, as the ledger is.

A *guest* works in the slots of another hold, its host, and has none of its own: a call on another thread for
the task that waits for it (see ``flow``). When the host ends first, its slots are the guest's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .holds import Hold


class Shared:
    """The part of a Ledger that is about guests and hand-overs; its steps may be cut like all others."""

    __slots__ = ("guests", "holders", "name", "used")

    name: str
    used: int
    """Slots."""
    guests: int
    """How many of the holders work in the slots of another one."""
    holders: dict[int, Hold]

    if TYPE_CHECKING:

        def drop(self, hold: Hold) -> bool:
            """Take a hold out without serving anybody."""

        def settle(self) -> None:
            """Look whether it is plain."""

    def transfer(self, hold: Hold, heir: Hold) -> None:
        """Put another hold in the place of one, with its token, its slots and its guests.

        Order: ``used`` is too high while both are there. May be repeated.
        """
        if self.holders.get(heir.key) is not heir:
            heir.token = hold.token
            heir.weight = hold.weight
            heir.since = hold.since
            heir.outcome = hold.outcome
            if heir.key != hold.key:
                self.used += hold.weight
            self.holders[heir.key] = heir
        heir.guests = hold.guests
        for guest in heir.guests:
            guest.host = heir
        hold.guests = ()
        host = hold.host
        if host is not None and heir not in host.guests:
            heir.host = host
            host.guests = (*host.guests, heir)
        self.drop(hold)

    def admit(self, host: Hold, guest: Hold, now: float, alone: bool) -> Hold | None:
        """Let somebody else work in the slots of a hold, without any of their own; None when it is over.

        Order: the guest is listed with the host before it counts, so that the host's end finds it. May be
        repeated.

        Args:
            alone: None also when somebody carries on the flow of this hold already. Decided here and nowhere
                before, so that of two who come at once only one is let in.
        """
        if self.holders.get(guest.key) is guest:
            return guest
        guest.inviter = inviter = host
        while host.host is not None:
            host = host.host
        if host.depth <= 0 or self.holders.get(host.key) is not host:
            return None
        others = [each for each in host.guests if each is not guest and each.depth > 0]
        if alone and any(each.inviter is inviter for each in others):
            return None
        guest.name = self.name
        guest.token = host.token
        guest.weight = 0
        guest.since = now
        guest.host = host
        if guest not in host.guests:
            host.guests = (*host.guests, guest)
        self.holders[guest.key] = guest
        self._count_guests()
        return guest

    def _bequeath(self, host: Hold) -> bool:
        """Leave the slots of a hold that ends to a guest who is still at work in them; False without one."""
        guests = [each for each in host.guests if each.depth > 0 and self.holders.get(each.key) is each]
        if not guests:
            return False
        heir, *others = guests
        heir.weight = host.weight
        heir.since = host.since
        heir.outcome = host.outcome
        heir.host = None
        heir.guests = tuple(others)
        for each in others:
            each.host = heir
        return True

    def _count_guests(self) -> None:
        self.guests = sum([each.host is not None for each in self.holders.values()])
        self.settle()
