from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from orders.check import expected
from orders.events import KINDS, Malformed, parse
from orders.topic import FOLDER, read_partition, read_topic

PARTITIONS = read_topic()


def test_the_script_reproduces_the_shipped_files_byte_for_byte(tmp_path: Path) -> None:
    runpy.run_path(str(FOLDER.parent / "make_topic.py"))["write"](tmp_path)

    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert made == shipped


def test_there_are_16_partitions_of_200_lines() -> None:
    assert [len(partition) for partition in PARTITIONS] == [200] * 16
    assert [partition.number for partition in PARTITIONS] == list(range(16))


def test_all_events_of_an_order_are_in_one_partition() -> None:
    homes: dict[str, set[int]] = {}
    for partition in PARTITIONS:
        for raw in partition.lines:
            try:
                homes.setdefault(parse(raw).order, set()).add(partition.number)
            except Malformed:
                continue

    assert all(len(numbers) == 1 for numbers in homes.values())
    assert sum(map(len, homes.values())) > 400


def test_a_dozen_lines_are_malformed_each_in_its_own_way_and_nothing_else_is_put_aside() -> None:
    effects = expected(PARTITIONS, {partition.number: 200 for partition in PARTITIONS})

    assert sorted(letter.reason for letter in effects.dead_letters) == [
        "expected a JSON object, got a list",
        "expected price_cents to be a whole number from 1 to 1000000, got: 11.5",
        "expected quantity to be a whole number from 1 to 1000000, got: 'two'",
        "expected quantity to be a whole number from 1 to 1000000, got: -1",
        "missing field: event",
        "missing field: order",
        "missing field: price_cents",
        "not JSON: Expecting value: line 1 column 1 (char 0)",
        "not JSON: Expecting value: line 1 column 1 (char 0)",
        "not JSON: Unterminated string starting at: line 1 column 54 (char 53)",
        "not UTF-8: invalid start byte at byte 57",
        f"unknown event 'order_created', expected one of: {', '.join(KINDS)}",
    ]


def test_the_expected_effects_depend_on_the_order_within_a_partition() -> None:
    partition = PARTITIONS[3]
    swapped = type(partition)(partition.number, partition.lines[::-1])

    right, wrong = expected([partition], {3: 200}), expected([swapped], {3: 200})

    assert right.mismatches(right) == 0
    assert right.mismatches(wrong) > 20


def test_a_partition_ends_after_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "partition-00.jsonl").write_bytes(b"one\n\ntwo \xe2\x80\xa8 still two\n")

    partition = read_partition(0, tmp_path)

    assert [partition.message(offset) is None for offset in range(4)] == [False, False, False, True]
    message = partition.message(2)
    assert message is not None
    assert (message.file, message.line, message.raw) == (
        "partition-00.jsonl",
        3,
        b"two \xe2\x80\xa8 still two",
    )


@pytest.mark.parametrize(("content", "lines"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2)])
def test_lines_are_counted_as_editors_do(tmp_path: Path, content: bytes, lines: int) -> None:
    (tmp_path / "partition-00.jsonl").write_bytes(content)

    assert len(read_partition(0, tmp_path)) == lines
