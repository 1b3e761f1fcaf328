"""What mypy and pyright find in the files beside this one: all of what is marked, and nothing else.

Not collected by a plain `pytest`, since the checkers belong to the extra `dev`: `.ci/run types` runs it by
name, in the editable install that the command of the README makes. They look at that install, and at a wheel
of the clone in an environment of its own: both have all rooms, typed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
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


def mypy(folder: Path, python: Path) -> Iterator[tuple[str, int, str]]:
    options = ["--config-file", str(PYPROJECT), "--output", "json", f"--cache-dir={folder}"]
    options += ["--python-executable", str(python)]
    for line in output_of(folder, "mypy", *options, *map(str, FILES)).splitlines():
        found = json.loads(line) if line.startswith("{") else {"severity": "note"}
        if found["severity"] == "error":
            yield Path(found["file"]).name, found["line"], found["code"]


def pyright(folder: Path, python: Path) -> Iterator[tuple[str, int, str]]:
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(PYRIGHT), encoding="utf-8")
    options = ["--outputjson", "--project", str(project), "--pythonpath", str(python), *map(str, FILES)]
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


@pytest.fixture(scope="module")
def editable() -> Path:
    """The Python that runs this."""
    return Path(sys.executable)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with a wheel of the clone, and beside it what this one has, which is no clone."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys, backend; print(backend.build_wheel(sys.argv[1]))"
    clone = folder / "clone"
    shutil.copytree(PYPROJECT.parent, clone, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info"))
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone / "packaging")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv/bin/python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        archive.extractall(packages)
    # Behind the wheel; a file .pth in there, as of the editable install, counts for nothing here.
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    where = "import resprout.actors, resprout.observer as o; print(resprout.actors.__file__, o.__file__)"
    found = subprocess.check_output([python, "-c", where], cwd=folder, text=True).split()
    assert [Path(file).is_relative_to(packages) for file in found] == [True, True]
    return python


@pytest.mark.parametrize(("checker", "place"), [(mypy, 0), (pyright, 1)])
@pytest.mark.parametrize("install", ["editable", "wheel"])
def test_a_checker_finds_every_mistake_and_nothing_else(
    checker: Callable[[Path, Path], Iterator[tuple[str, int, str]]],
    place: int,
    install: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    found: Findings = {}
    for file, line, code in checker(tmp_path, request.getfixturevalue(install)):
        found.setdefault((file, line), set()).add(code)
    expected = dict(marked(place))
    assert len(expected) > 50
    assert {where: codes for where, codes in found.items() if where not in expected} == {}
    assert {where: code for where, code in expected.items() if code not in found.get(where, ())} == {}
