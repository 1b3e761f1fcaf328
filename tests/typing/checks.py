"""What mypy and pyright find in the files beside this one: all of what is marked, and nothing else.

Not collected by a plain `pytest`, since the checkers belong to the extra `dev`: `.ci/run types` runs it by
name, in the editable install that the command of the README makes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
FILES = sorted(path for path in HERE.glob("*.py") if path != Path(__file__).resolve())
PYPROJECT = HERE.parent.parent / "pyproject.toml"
MARK = re.compile(r"# mistake: ([\w-]+), (\w+)$")
PYRIGHT = {"typeCheckingMode": "standard", "reportUnusedCoroutine": "error"}
Findings = dict[tuple[str, int], set[str]]


def output_of(folder: Path, *command: str) -> str:
    # Elsewhere: in the root of the clone, mypy would take the folder resprout/ for the whole package.
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path) -> Iterator[tuple[str, int, str]]:
    options = ["--config-file", str(PYPROJECT), "--output", "json", f"--cache-dir={folder}"]
    for line in output_of(folder, "mypy", *options, *map(str, FILES)).splitlines():
        found = json.loads(line) if line.startswith("{") else {"severity": "note"}
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["line"], found["code"]


def pyright(folder: Path) -> Iterator[tuple[str, int, str]]:
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(PYRIGHT), encoding="utf-8")
    options = ["--outputjson", "--project", str(project), "--pythonpath", sys.executable, *map(str, FILES)]
    report: dict[str, Any] = json.loads(output_of(folder, "pyright", *options))
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    for found in report["generalDiagnostics"]:
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["range"]["start"]["line"] + 1, found.get("rule", "syntax")


def marked(place: int) -> Iterator[tuple[tuple[str, int], str]]:
    for path in FILES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            mark = MARK.search(line)
            if mark:
                yield (path.name, number), mark.groups()[place]


@pytest.mark.parametrize(("checker", "place"), [(mypy, 0), (pyright, 1)])
def test_a_checker_finds_every_mistake_and_nothing_else(
    checker: Callable[[Path], Iterator[tuple[str, int, str]]], place: int, tmp_path: Path
) -> None:
    found: Findings = {}
    for file, line, code in checker(tmp_path):
        found.setdefault((file, line), set()).add(code)
    expected = dict(marked(place))
    assert len(expected) > 50
    assert {where: codes for where, codes in found.items() if where not in expected} == {}
    assert {where: code for where, code in expected.items() if code not in found.get(where, ())} == {}
