"""Texts that are shown to people: nothing in them is obeyed, and what hides itself stays hidden. Pure."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text with everything escaped that would not simply stand there: control characters and line ends,
    which a terminal obeys; what turns the direction of writing; halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def text_shown(text: str) -> str:
    """A text as it may be shown: the repr of one whose class hides it, as that of a secret does."""
    if type(text) is str:
        return text
    as_repr = repr(text)
    return str.__str__(text) if str.__repr__(text) in as_repr else as_repr
