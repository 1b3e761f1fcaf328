"""The table of docs/throttle.md, "Under your framework": every row says which tests it was seen in."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parent.parent / "docs" / "throttle.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Under your framework")[2].partition("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ")][1:]


def shown_by(row: str) -> tuple[str, list[str]]:
    """The file of a row and its tests, from the comment in the first cell."""
    comment = re.search(r"<!-- (\S+\.py)((?: test_\w+)+) -->", row.split("|")[1])
    assert comment is not None, f"expected a comment that names tests in the first cell, got: {row}"
    return comment[1], comment[2].split()


def names_in(file: str) -> set[str]:
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"}


@pytest.mark.parametrize("row", ROWS, ids=[row[2:40] for row in ROWS])
def test_every_row_is_seen_in_tests_that_exist(row: str) -> None:
    file, tests = shown_by(row)
    assert set(tests) - names_in(file) == set()


def test_every_test_with_a_framework_belongs_to_a_row() -> None:
    named = {(file, test) for file, tests in map(shown_by, ROWS) for test in tests}
    files = [path.name for path in HERE.glob("test_*.py") if path.name != Path(__file__).name]
    assert {(file, test) for file in files for test in names_in(file)} == named
