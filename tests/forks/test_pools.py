"""multiprocessing and concurrent.futures: forked, or begun from nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import pytest

SQUARES = str([number * number for number in range(8)])


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_every_process_of_a_pool_has_the_lock_that_its_module_makes(
    start: Callable[..., Any], method: str
) -> None:
    program = start("pools.py", method)
    assert program.wait() == 0, program.text
    assert program.lines == ["the parent has used its own", SQUARES, SQUARES]
