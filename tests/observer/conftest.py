"""Runs of small trees of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .shop import SHOP, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "shop.py").write_text(SHOP)
    found = Shop(tmp_path)
    yield found
    for each in found.begun:
        each.program.kill()
        each.program.wait()
        os.close(each.ours)
    for program in found.piped:
        program.kill()
        program.communicate()
