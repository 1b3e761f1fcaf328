"""A key as users make them."""

from __future__ import annotations

import attrs


@attrs.frozen
class UserId:
    """A key whose hash and comparison are Python code."""

    number: int
