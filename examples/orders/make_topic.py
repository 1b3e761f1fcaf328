"""Makes the topic of the example: `python make_topic.py [FOLDER]`, the same bytes every time.

16 partitions of 200 lines. An order lives in one partition, chosen by a checksum of its id as in Kafka, and
its events stand there in order, with those of other orders in between. A dozen lines are broken, each in its
own way, as in real topics.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from zlib import crc32

SEED = 20260105
PARTITIONS = 16
LINES = 200
OPEN_ORDERS = 8  # how many orders of a partition are under way at once

BROKEN = (
    b'{"event": "item_added", "order": "ord-00007", "sku": "tea-earl-gr',  # the producer died while it wrote
    b"",
    b"java.lang.NullPointerException: Cannot invoke OrderEvent.id()",
    b'["item_added", "ord-00019", "mug-blue", 1, 1150]',
    b'{"event": "item_added", "sku": "mug-blue", "quantity": 1, "price_cents": 1150}',
    b'{"event": "item_added", "order": "ord-00023", "sku": "mug-blue", "quantity": 1}',
    b'{"event": "item_added", "order": "ord-00031", "sku": "honey", "quantity": "two", "price_cents": 1150}',
    b'{"event": "item_added", "order": "ord-00042", "sku": "mug-blue", "quantity": -1, "price_cents": 1150}',
    b'{"event": "item_added", "order": "ord-00051", "sku": "mug-blue", "quantity": 1, "price_cents": 11.5}',
    b'{"event": "order_created", "order": "ord-00064", "customer": "c-0815"}',
    b'{"order": "ord-00077", "customer": "c-4711"}',
    b'{"event": "created", "order": "ord-00080", "customer": "J\xf6rg"}',  # Latin-1, not UTF-8
)

CATALOGUE = {
    "tea-earl-grey": 790,
    "tea-sencha": 1240,
    "mug-blue": 1150,
    "pot-cast-iron": 5490,
    "strainer": 640,
    "honey-linden": 980,
}


def lines(seed: int = SEED) -> list[list[bytes]]:
    """All lines of all partitions, without their newlines."""
    rng = random.Random(seed)
    broken = _places_of_broken_lines(rng)
    return [list(_partition(number, rng, broken)) for number in range(PARTITIONS)]


def _places_of_broken_lines(rng: random.Random) -> dict[tuple[int, int], bytes]:
    places: dict[tuple[int, int], bytes] = {}
    while len(places) < len(BROKEN):
        places.setdefault((rng.randrange(PARTITIONS), rng.randrange(LINES)), BROKEN[len(places)])
    return places


def _partition(number: int, rng: random.Random, broken: dict[tuple[int, int], bytes]) -> Iterator[bytes]:
    ids = (f"ord-{i:05d}" for i in count(1) if crc32(b"ord-%05d" % i) % PARTITIONS == number)
    under_way: list[Iterator[dict[str, object]]] = []
    at = datetime(2026, 1, 5, 8, 0, 0)
    for offset in range(LINES):
        at += timedelta(seconds=rng.randint(1, 90))
        if (number, offset) in broken:
            yield broken[number, offset]
        else:
            yield _next_event(under_way, ids, at, rng)


def _next_event(
    under_way: list[Iterator[dict[str, object]]], ids: Iterator[str], at: datetime, rng: random.Random
) -> bytes:
    while True:
        if len(under_way) < OPEN_ORDERS:
            under_way.append(_story(next(ids), rng))
        story = rng.choice(under_way)
        event = next(story, None)
        if event is not None:
            return json.dumps({**event, "at": at.isoformat() + "Z"}).encode()
        under_way.remove(story)


def _story(order: str, rng: random.Random) -> Iterator[dict[str, object]]:
    yield {"event": "created", "order": order, "customer": f"c-{rng.randint(1, 9999):04d}"}
    total = 0
    for _ in range(rng.randint(1, 4)):
        sku, quantity = rng.choice(sorted(CATALOGUE)), rng.randint(1, 3)
        total += quantity * CATALOGUE[sku]
        item = {"sku": sku, "quantity": quantity, "price_cents": CATALOGUE[sku]}
        yield {"event": "item_added", "order": order, **item}
    fate = rng.random()
    if fate < 0.12:
        yield {"event": "cancelled", "order": order, "reason": "changed my mind"}
        return
    yield {"event": "paid", "order": order, "amount_cents": total}
    if fate < 0.17:
        yield {"event": "cancelled", "order": order, "reason": "out of stock"}
        return
    yield {"event": "shipped", "order": order, "carrier": rng.choice(("post", "dhl", "bike"))}
    yield {"event": "delivered", "order": order}


def write(folder: Path) -> None:
    """Writes the partitions into the folder, over what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, partition in enumerate(lines()):
        (folder / f"partition-{number:02d}.jsonl").write_bytes(b"".join(line + b"\n" for line in partition))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent / "topic")
