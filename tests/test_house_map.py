"""docs/house.md has one line a file: the first sentence of what the file says of itself.

`python tests/test_house_map.py` writes it anew.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "house.md"
BEGIN, END = "<!-- the map -->\n", "<!-- the end of the map -->\n"
ROOMS = (
    "actors",
    "registry",
    "supervision",
    "throttle",
    "stages",
    "connectors",
    "cluster",
    "monitoring",
    "control",
    "observer",
    "testing",
    "resprout",
)


def sentence_of(path: Path) -> str:
    """The first sentence of a module's docstring, on one line; a colon's second half belongs to it."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = re.split(r"(?<=[.!?])\s", " ".join(text.split("\n\n")[0].split()))[0]
    return first.replace("``", "`").removesuffix(".")


def listed(folder: Path, depth: int) -> list[str]:
    """The lines of a folder: what it is, its files, and the folders in it."""
    name = f"{folder.name}/" if depth else f"### {folder.name}/"
    lines = [f"- **`{name}`** {sentence_of(folder / '__init__.py')}" if depth else f"{name}\n"]
    if not depth:
        lines.append(f"{sentence_of(folder / '__init__.py')}.\n")
    inner = sorted(each.parent for each in folder.glob("*/__init__.py"))
    for each in inner:
        lines += listed(each, depth + 1)
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            lines.append(f"{'  ' * depth}- `{file.name}` {sentence_of(file)}")
    return lines


def the_map() -> str:
    """The map as it must be."""
    return "\n\n".join("\n".join(listed(ROOT / room, 0)) for room in ROOMS) + "\n\n"


def parts_of_the_page() -> tuple[str, str, str]:
    """What stands before the map, the map, and what stands behind it."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    written, after = rest.split(END)
    return before, written, after


def test_the_map_of_the_house_has_every_file_with_what_it_says_of_itself() -> None:
    assert parts_of_the_page()[1] == the_map(), "write it anew: python tests/test_house_map.py"


@pytest.mark.parametrize("page", ["house", "index", "walk_lock", "walk_crash", "free_threading"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """By its whole path, or by its name, when that is the file's of the room that the page speaks of."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").split(BEGIN)[0]
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert named
    files = {path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    known = files | {file.rpartition("/")[2] for file in files}
    assert named - known == set()


def test_every_file_says_what_it_is_in_one_sentence() -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 150
    long = {str(path.relative_to(ROOT)): len(sentence_of(path)) for path in files}
    assert {file: length for file, length in long.items() if not 10 <= length <= 160} == {}


if __name__ == "__main__":
    before, _, after = parts_of_the_page()
    PAGE.write_text(before + BEGIN + the_map() + END + after, encoding="utf-8")
