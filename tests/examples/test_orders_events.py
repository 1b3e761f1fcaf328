from __future__ import annotations

import pytest

from orders.events import Cancelled, Created, Delivered, Event, ItemAdded, Malformed, Paid, Shipped, parse


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (b'{"event": "created", "order": "o", "customer": "J\xc3\xb6rg"}', Created("o", "J\u00f6rg")),
        (
            b'{"event": "item_added", "order": "o", "sku": "s", "quantity": 2, "price_cents": 99}',
            ItemAdded("o", "s", 2, 99),
        ),
        (b'{"event": "paid", "order": "o", "amount_cents": 198}', Paid("o", 198)),
        (b'{"event": "shipped", "order": "o", "carrier": "post"}', Shipped("o", "post")),
        (b'{"event": "delivered", "order": "o", "at": "passed over"}', Delivered("o")),
        (b'{"event": "cancelled", "order": "o", "reason": "no"}', Cancelled("o", "no")),
    ],
)
def test_an_event_is_read(raw: bytes, event: Event) -> None:
    assert parse(raw) == event


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"9" * 5000, "not JSON|expected a JSON object"),
        (b"[" * 200_000, "not JSON"),
        (b"\xff{}", "not UTF-8"),
        (b"null", "expected a JSON object, got a NoneType"),
        (b"{}", "missing field: event"),
        (b'{"event": ["paid"]}', r"unknown event \['paid'\], expected one of: created, item_added"),
        (b'{"event": "paid", "order": "o"}', "missing field: amount_cents"),
        (b'{"event": "paid", "order": "", "amount_cents": 1}', "expected order to be a text, got: ''"),
        (b'{"event": "paid", "order": 7, "amount_cents": 1}', "expected order to be a text, got: 7"),
        (b'{"event": "delivered", "order": "a\\u0000b"}', "expected order to be a text"),
        (b'{"event": "delivered", "order": "\\ud800"}', "expected order to be a text"),
        (
            b'{"event": "paid", "order": "o", "amount_cents": true}',
            "whole number from 1 to 1000000, got: True",
        ),
        (b'{"event": "paid", "order": "o", "amount_cents": 0}', "whole number from 1 to 1000000, got: 0"),
        (
            b'{"event": "paid", "order": "o", "amount_cents": 1e3}',
            "whole number from 1 to 1000000, got: 1000.0",
        ),
        (
            b'{"event": "paid", "order": "o", "amount_cents": 99999999999999999999}',
            "got: 99999999999999999999",
        ),
        (b'{"event": "paid", "order": "o", "amount_cents": NaN}', "got: nan"),
    ],
)
def test_a_malformed_line_says_what_is_wrong(raw: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        parse(raw)
