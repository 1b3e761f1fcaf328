"""What keys do to the picture of `resprout top`."""

from __future__ import annotations

import pytest

from resprout.control.commands.view import View, keys_in


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"", []),
        (b"mq", ["m", "q"]),
        (b"\x1b[A\x1b[B\x1bOA", ["up", "down", "up"]),
        (b"j\x1b[6~\x1b[5~k", ["j", "page down", "page up", "k"]),
        (b"\x1b[Z\xff", ["\x1b", "[", "Z", "\xff"]),
    ],
)
def test_keys_are_told_apart_also_when_they_come_at_once(data: bytes, keys: list[str]) -> None:
    assert keys_in(data) == keys


@pytest.mark.parametrize(
    ("key", "sort"), [("m", "mailbox"), ("r", "restarts"), ("u", "uptime"), ("t", None), ("x", "uptime")]
)
def test_a_key_sorts_and_goes_to_the_first_row_unless_it_means_nothing(key: str, sort: str | None) -> None:
    view = View(sort="uptime", offset=5)
    view.press(key, 10)
    assert (view.sort, view.offset) == (sort, 5 if key == "x" else 0)


def test_the_picture_is_scrolled_and_never_above_the_first_row() -> None:
    view = View()
    offsets = []
    for key in ("down", "page down", "up", "k", "j", "page up", "page up"):
        view.press(key, 10)
        offsets.append(view.offset)
    assert offsets == [1, 11, 10, 9, 10, 0, 0]


@pytest.mark.parametrize("key", ["q", "\x03", "\x04"])
def test_it_ends(key: str) -> None:
    view = View()
    view.press(key, 10)
    assert not view.wants_on
