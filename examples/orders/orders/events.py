"""What a line of the topic says: one event of one order, or nothing that can be used.

Pure: bytes in, a value out. The rules of what may follow what are in `order.py`.
"""

from __future__ import annotations

import json
from typing import Any

import attrs


class Malformed(ValueError):
    """Raised for a line that is no order event; the text says why, for the dead-letter table."""


MOST = 1_000_000
"""No number of an event is larger, so their sums fit into every database."""


def _text(_: object, attribute: attrs.Attribute[str], value: object) -> None:
    # Half surrogates and NUL are JSON but no text that a database takes; neither is printable.
    if not isinstance(value, str) or not value or not value.isprintable():
        raise Malformed(f"expected {attribute.name} to be a text, got: {value!r}")


def _number(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if type(value) is not int or not 1 <= value <= MOST:  # `type`, because True is an int for isinstance
        raise Malformed(f"expected {attribute.name} to be a whole number from 1 to {MOST}, got: {value!r}")


@attrs.frozen
class Created:
    """A customer began an order."""

    order: str = attrs.field(validator=_text)
    customer: str = attrs.field(validator=_text)


@attrs.frozen
class ItemAdded:
    """Some pieces of one article went into the basket; the price is that of one piece."""

    order: str = attrs.field(validator=_text)
    sku: str = attrs.field(validator=_text)
    quantity: int = attrs.field(validator=_number)
    price_cents: int = attrs.field(validator=_number)


@attrs.frozen
class Paid:
    """The customer paid all of it."""

    order: str = attrs.field(validator=_text)
    amount_cents: int = attrs.field(validator=_number)


@attrs.frozen
class Shipped:
    """The parcel left the house."""

    order: str = attrs.field(validator=_text)
    carrier: str = attrs.field(validator=_text)


@attrs.frozen
class Delivered:
    """The parcel arrived."""

    order: str = attrs.field(validator=_text)


@attrs.frozen
class Cancelled:
    """The order ended without a parcel."""

    order: str = attrs.field(validator=_text)
    reason: str = attrs.field(validator=_text)


Event = Created | ItemAdded | Paid | Shipped | Delivered | Cancelled

KINDS: dict[str, type[Event]] = {
    "created": Created,
    "item_added": ItemAdded,
    "paid": Paid,
    "shipped": Shipped,
    "delivered": Delivered,
    "cancelled": Cancelled,
}


def parse(raw: bytes) -> Event:
    """Reads one line of the topic.

    Fields that the event does not know are passed over: producers add fields before consumers learn them.

    Raises:
        Malformed: When the line is no order event, with the first thing that is wrong with it.
    """
    fields = _object(raw)
    kind = KINDS.get(str(_required(fields, "event")))
    if kind is None:
        raise Malformed(f"unknown event {fields['event']!r}, expected one of: {', '.join(KINDS)}")
    return kind(**{field.name: _required(fields, field.name) for field in attrs.fields(kind)})


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:  # besides bad JSON: endless numbers, endless nesting
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Malformed(f"expected a JSON object, got a {type(value).__name__}")
    return value


def _required(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise Malformed(f"missing field: {name}")
    return fields[name]
