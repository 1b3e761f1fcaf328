"""The kinds of engines, for files whose tests are of all of them."""

from __future__ import annotations

import pytest

KINDS = [
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
]
