"""Every example that a reader can see runs: the Python blocks of README and docs, and those of docstrings.

The blocks of a page run in order, in one namespace, in an interpreter of their own with warnings as errors;
a block that runs an event loop is a whole program, which runs by itself, too. The examples of a docstring
(fenced, or with `>>>`) see the names of their module and the public ones.
By hand: `python tests/test_docs.py docs/index.md`.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "resprout",
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
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.DOTALL | re.MULTILINE
)
QUOTED = re.compile(r"<!-- from (?P<file>\S+) -->\n+```\w*\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]+)[^)]*\)")
ANCHOR = re.compile(r"\[[^\]]*\]\((?P<page>[^)#\s:]*)#(?P<heading>[^)\s]+)\)")
FILE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```\w*\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"<!-- shell -->\n```\n(?P<lines>.*?)^```", re.DOTALL | re.MULTILINE)
WATCHDOG = 100  # seconds for a page; passing it is a failure


def blocks_of(text: str, first_line: int = 1) -> Iterator[tuple[int, str]]:
    """The Python blocks of a text with the line on which each starts."""
    for fence in FENCE.finditer(text):
        if fence["language"] == "python":
            yield first_line + text.count("\n", 0, fence.start("code")), textwrap.dedent(fence["code"])


def docstrings_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """The docstrings of a module as (line, name, text)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=False)
            if text is not None:
                yield node.body[0].lineno, getattr(node, "name", path.stem), inspect.cleandoc(text)


def has_examples(path: Path) -> bool:
    if path.suffix == ".md":
        return any(True for _ in blocks_of(path.read_text(encoding="utf-8")))
    return any(">>> " in text or any(True for _ in blocks_of(text)) for _, _, text in docstrings_of(path))


def run_block(code: str, file: str, line: int, names: dict[str, object]) -> None:
    """Runs one block; tracebacks show the page's own line."""
    exec(compile("\n" * (line - 1) + code, file, "exec", dont_inherit=True), names)


def run_page(path: Path, folder: Path) -> None:
    """Runs a page in a folder that has the files which it shows."""
    os.chdir(folder)
    text = path.read_text(encoding="utf-8")
    for file in FILE.finditer(text):
        Path(file["name"]).write_text(file["text"], encoding="utf-8")
    names: dict[str, object] = {"__name__": "__example__"}
    for line, code in blocks_of(text):
        run_block(code, str(path), line, names)


def names_for(path: Path) -> dict[str, object]:
    """What the docstrings of a module may use without importing it."""
    module = path.relative_to(ROOT).with_suffix("")
    parts = module.parent.parts if module.name == "__init__" else module.parts
    resprout = importlib.import_module("resprout")
    inside = importlib.import_module(".".join(parts if parts[0] == "resprout" else ("resprout", *parts)))
    public = {name: getattr(resprout, name) for name in resprout.__all__}
    return {**public, **vars(inside), "__name__": "__example__"}


def run_docstrings(path: Path) -> None:
    for line, name, text in docstrings_of(path):
        for start, code in blocks_of(text, line):
            run_block(code, str(path), start, names_for(path))
        if ">>> " in text:
            test = doctest.DocTestParser().get_doctest(text, names_for(path), name, str(path), line - 1)
            if doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed:
                raise SystemExit(f"{path}:{line}: the example of {name} gives something else")


def files_with_examples() -> list[str]:
    modules = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [str(path.relative_to(ROOT)) for path in [*PAGES, *modules] if has_examples(path)]


@pytest.mark.parametrize("file", files_with_examples())
def test_examples_run(file: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:resprout is experimental", __file__, str(ROOT / file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def programs() -> list[object]:
    """The blocks that run an event loop."""
    return [
        pytest.param(code, id=f"{page.relative_to(ROOT)}:{line}")
        for page in PAGES
        for line, code in blocks_of(page.read_text(encoding="utf-8"))
        if "asyncio.run(" in code
    ]


@pytest.mark.parametrize("code", programs())
def test_a_block_that_runs_an_event_loop_is_a_whole_program(code: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:resprout is experimental", path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_index_lists_every_page_once() -> None:
    listed = re.findall(
        r"^- \[[^\]]*\]\(([^)]*)\)", (ROOT / "docs/index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted({path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"})


def as_written(shown: str) -> re.Pattern[str]:
    """What matches an output: `...` stands for anything, and seconds for other seconds."""
    patterns = [
        ".*?" if part == "..." else r"[\d.]+ s" if part.endswith(" s") else re.escape(part)
        for part in re.split(r"(\.\.\.|\b\d+\.\d s\b)", shown)
    ]
    return re.compile("".join(patterns), re.DOTALL)


def test_the_first_tree_does_what_its_page_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs/first_tree.md").read_text(encoding="utf-8")
    for file in FILE.finditer(page):
        (tmp_path / file["name"]).write_text(file["text"], encoding="utf-8")
    sessions = [session["lines"].removeprefix("$ ").split("\n$ ") for session in SHELL.finditer(page)]
    assert len(sessions) == 3
    for command, _, shown in (entry.partition("\n") for session in sessions for entry in session):
        done = subprocess.run(
            command.replace("resprout", f"{shlex.quote(sys.executable)} -m resprout", 1),
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WATCHDOG,
            check=False,
        )
        # A slow machine says more often how far it is.
        said = re.sub(r"^bakery \d+\.\d s: .*\n", "", done.stdout, flags=re.MULTILINE).strip("\n")
        assert as_written(shown.strip("\n")).fullmatch(said), f"{command}\n{done.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_quotations_are_what_the_file_says(page: Path) -> None:
    for quotation in QUOTED.finditer(page.read_text(encoding="utf-8")):
        assert quotation["text"] in (ROOT / quotation["file"]).read_text(encoding="utf-8"), quotation["file"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    targets = [link["target"] for link in LINK.finditer(page.read_text(encoding="utf-8"))]
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def headings_of(page: Path) -> set[str]:
    """The anchors that a page has, as GitHub makes them of its headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_a_section_lead_to_a_heading(page: Path) -> None:
    links = ANCHOR.finditer(page.read_text(encoding="utf-8"))
    wanted = {((page.parent / link["page"]) if link["page"] else page, link["heading"]) for link in links}
    assert {
        f"{where.name}#{heading}" for where, heading in wanted if heading not in headings_of(where)
    } == set()


GUIDES = [ROOT / "docs/from_elixir.md", ROOT / "docs/from_python.md"]
NAME = re.compile(r"`((?:[A-Z]\w+|process|sys|throttle|telemetry|stages|task_group)(?:\.\w+)*)[`(]")


def names_in_tables(text: str) -> set[str]:
    """What the tables of a page name as ours: everything but their first column and what is said of it."""
    rows = re.findall(r"^\|(?! ?-)(.*)\|$", FENCE.sub("", text), re.MULTILINE)
    return {name for row in rows for name in NAME.findall(re.split(r"(?<!\\)\|", row)[1])}


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_what_a_guide_names_as_ours_is_there(page: Path) -> None:
    resprout = importlib.import_module("resprout")
    names = names_in_tables(page.read_text(encoding="utf-8"))
    assert len(names) > 20
    assert {name for name in names - {"None"} if not is_there(resprout, name.split("."))} == set()


def is_there(thing: object, path: list[str]) -> bool:
    return all((thing := getattr(thing, part, None)) is not None for part in path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for argument in [Path(each).resolve() for each in sys.argv[1:]]:
            if argument.suffix == ".md":
                run_page(argument, Path(place))
            else:
                run_docstrings(argument)
