from __future__ import annotations

import enum

import pytest

from resprout.actors import Crash, Shutdown, StartError
from resprout.actors.engine import in_words
from resprout.stages import UnknownProducer


class Told:
    def __str__(self) -> str:
        return "the reader went away"


class Unshowable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


class Why(enum.Enum):
    FULL = 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("killed", "'killed'"),
        (b"bytes", "b'bytes'"),
        (("a", 1), "('a', 1)"),
        (Crash(ValueError("no disk")), "ValueError: no disk"),
        (Crash(ValueError()), "ValueError"),
        (ValueError("no disk"), "ValueError: no disk"),
        (Shutdown("deploy"), "Shutdown(detail='deploy')"),
        (Shutdown(Told()), "the reader went away"),
        (Told(), "the reader went away"),
        (Why.FULL, "Why.FULL"),
        (Crash(Unshowable()), "<Unshowable that can't be shown: ValueError>"),
    ],
)
def test_a_reason_is_told_as_people_read_it(reason: object, words: str) -> None:
    assert in_words(reason) == words
    assert str(StartError(reason)) == f"start failed: {words}"


def test_the_hint_of_an_error_is_in_that_of_the_start_that_failed_of_it() -> None:
    hint = "(is it started, and is the name spelled right?)"
    assert str(StartError(Crash(UnknownProducer("nobody")))).endswith(f"no process: nobody {hint}")
