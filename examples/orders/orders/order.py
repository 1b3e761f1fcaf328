"""An order and what each event makes of it: the reason why the order within a partition matters.

Pure. Events handled twice, left out or swapped end in `Impossible` or in another order than the topic's.
"""

from __future__ import annotations

import attrs
from typing_extensions import assert_never

from .events import Cancelled, Created, Delivered, Event, ItemAdded, Paid, Shipped


class Impossible(ValueError):
    """Raised for a well-formed event that cannot happen to the order as it is."""


@attrs.frozen
class Order:
    """What is known of one order; `version` counts the events that made it so."""

    id: str
    state: str
    items: int
    total_cents: int
    version: int


FROM: dict[type[Event], tuple[str | None, ...]] = {
    Created: (None,),
    ItemAdded: ("created",),
    Paid: ("created",),
    Shipped: ("paid",),
    Delivered: ("shipped",),
    Cancelled: ("created", "paid"),
}
"""The states in which an event may meet its order; None is the order that does not exist yet."""


def apply(order: Order | None, event: Event) -> Order:
    """The order after the event.

    Raises:
        Impossible: When the event cannot follow what came before it.
    """
    state = None if order is None else order.state
    if state not in FROM[type(event)]:
        raise Impossible(f"{type(event).__name__} cannot happen to an order that is {state or 'unknown'}")
    if order is None:
        return Order(event.order, "created", items=0, total_cents=0, version=1)
    return attrs.evolve(_changed(order, event), version=order.version + 1)


def _changed(order: Order, event: Event) -> Order:
    match event:
        case Created():
            return order
        case ItemAdded(quantity=quantity, price_cents=price):
            items, total = order.items + quantity, order.total_cents + quantity * price
            return attrs.evolve(order, items=items, total_cents=total)
        case Paid(amount_cents=amount):
            if amount != order.total_cents:
                raise Impossible(f"expected a payment of {order.total_cents} cents, got: {amount}")
            return attrs.evolve(order, state="paid")
        case Shipped():
            return attrs.evolve(order, state="shipped")
        case Delivered():
            return attrs.evolve(order, state="delivered")
        case Cancelled():
            return attrs.evolve(order, state="cancelled")
        case _:
            assert_never(event)
