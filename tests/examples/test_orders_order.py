from __future__ import annotations

import pytest

from orders.events import Cancelled, Created, Delivered, Event, ItemAdded, Paid, Shipped
from orders.order import Impossible, Order, apply

EVENTS: dict[str, Event] = {
    "created": Created("o", "c"),
    "item": ItemAdded("o", "mug", 2, 100),
    "paid": Paid("o", 200),
    "shipped": Shipped("o", "post"),
    "delivered": Delivered("o"),
    "cancelled": Cancelled("o", "no"),
}


def told(*names: str) -> Order:
    order: Order | None = None
    for name in names:
        order = apply(order, EVENTS[name])
    assert order is not None
    return order


@pytest.mark.parametrize(
    ("story", "order"),
    [
        (("created",), Order("o", "created", 0, 0, 1)),
        (("created", "item"), Order("o", "created", 2, 200, 2)),
        (("created", "item", "paid"), Order("o", "paid", 2, 200, 3)),
        (("created", "item", "paid", "shipped"), Order("o", "shipped", 2, 200, 4)),
        (("created", "item", "paid", "shipped", "delivered"), Order("o", "delivered", 2, 200, 5)),
        (("created", "cancelled"), Order("o", "cancelled", 0, 0, 2)),
        (("created", "item", "paid", "cancelled"), Order("o", "cancelled", 2, 200, 4)),
    ],
)
def test_a_story_makes_an_order(story: tuple[str, ...], order: Order) -> None:
    assert told(*story) == order


@pytest.mark.parametrize(
    "story",
    [
        ("item",),
        ("delivered",),
        ("created", "created"),
        ("created", "shipped"),
        ("created", "item", "paid", "paid"),
        ("created", "item", "paid", "item"),
        ("created", "item", "paid", "shipped", "cancelled"),
        ("created", "cancelled", "item"),
    ],
)
def test_an_event_out_of_order_is_impossible(story: tuple[str, ...]) -> None:
    with pytest.raises(Impossible, match="cannot happen to an order that is"):
        told(*story)


@pytest.mark.parametrize("story", [("created", "paid"), ("created", "item", "item", "paid")])
def test_a_payment_of_another_sum_is_impossible(story: tuple[str, ...]) -> None:
    with pytest.raises(Impossible, match=r"expected a payment of \d+ cents, got: 200"):
        told(*story)
