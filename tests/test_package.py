"""What the distributions are made of: the source one of the whole clone, the wheel of the rooms alone.

All of it is built by the backend of `packaging/`, without isolation and so without a network, from a copy of
the clone in which somebody has worked.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [
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
]
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
NOT_COPIED = shutil.ignore_patterns(
    ".git",
    ".venv*",
    "__pycache__",
    "*.py[cod]",
    "*.egg-info",
    ".*_cache",
    ".hypothesis",
    ".editable",
    "build",
    "dist",
    "*.db*",
)
LEFT_BY_WORK = [
    "build/lib/resprout/renamed.py",
    "examples/orders/orders.db",
    "examples/orders/orders.db-wal",
    "examples/orders/report.json",
    "examples/pods/account.json",
    "examples/pods/statement0.json",
    "examples/orders/orders/__pycache__/api.cpython-311.pyc",
    "tests/__pycache__/test_docs.cpython-311.pyc",
    ".venv/lib/python3/site-packages/rich.py",
    "notes.txt",
]
"""What is in a clone and in no distribution."""
MADE_BY_BUILDING = {"PKG-INFO", "setup.cfg", "resprout.egg-info"}
FILES = ["README.md", "CHANGELOG.md", "LICENSE", "MANIFEST.in", "pyproject.toml", "setup.py", ".gitignore"]
FOLDERS = ["packaging", "tests", "docs", "examples", "benchmarks", "resprout", *ROOMS]
WANTED = [*FILES, *FOLDERS, ".ci/run"]


def files_in(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    }


def files_under(top: str) -> set[str]:
    """The files of a folder of ours, less what Python and the examples leave behind there."""
    left = {".pyc", ".db", ".db-wal", ".db-shm", ".db-journal"}
    return {f"{top}/{name}" for name in files_in(ROOT / top) if Path(name).suffix not in left}


def built(hook: str, clone: Path, into: Path, before: str = "") -> Path:
    """What a hook of the backend makes of a clone."""
    into.mkdir(parents=True)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, backend\n{before}\nprint(backend.{hook}(sys.argv[1]))",
            str(into),
        ],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone / "packaging")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (into / "stderr").write_text(done.stderr, encoding="utf-8")
    return into / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = tmp_path_factory.mktemp("a") / "clone"
    shutil.copytree(ROOT, clone, ignore=NOT_COPIED, symlinks=True)
    for name in LEFT_BY_WORK:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("")
    return clone


@pytest.fixture(scope="module")
def sdist(clone: Path) -> Path:
    return built("build_sdist", clone, clone.parent / "sdist")


@pytest.fixture(scope="module")
def unpacked(sdist: Path) -> Path:
    folder = sdist.parent.parent / "unpacked"
    with tarfile.open(sdist) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    (only,) = folder.iterdir()
    return only


@pytest.fixture(scope="module")
def wheel(clone: Path) -> Path:
    return built("build_wheel", clone, clone.parent / "wheel")


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def description(wheel: Path) -> str:
    text = metadata(wheel).get_payload(decode=True)
    assert isinstance(text, bytes)
    return text.decode()


# The source distribution


def test_the_source_distribution_has_all_of_the_clone_and_nothing_that_work_has_left(unpacked: Path) -> None:
    if (ROOT / ".git").exists():  # and not what else lies about
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        ours = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    else:  # an unpacked distribution, or a copy
        ours = {name for top in WANTED for name in ([top] if (ROOT / top).is_file() else files_under(top))}
    assert len(ours) > 400
    assert ours - files_in(unpacked) == set()
    assert files_in(unpacked) & {*LEFT_BY_WORK} == set()
    assert {name.partition("/")[0] for name in files_in(unpacked)} - MADE_BY_BUILDING == {
        name.partition("/")[0] for name in [*WANTED, *ours]
    }


def test_ci_is_a_program_in_the_source_distribution_too(unpacked: Path) -> None:
    assert os.access(unpacked / ".ci/run", os.X_OK)


def test_tests_run_where_the_source_distribution_is_unpacked(unpacked: Path) -> None:
    """The whole of them is for `.ci/run`; here the files that look at what lies beside them."""
    files = ["tests/test_house.py", "tests/registry/test_keys.py", "tests/examples/test_orders_topic.py"]
    command = re.search(
        r"<!-- ci: tests -->\n```bash\n.*&& \S+/pytest\n```", (unpacked / "README.md").read_text()
    )
    assert command, "the README has another command for the tests; run that here"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# The wheel


def test_a_wheel_of_the_source_distribution_is_that_of_the_clone(wheel: Path, unpacked: Path) -> None:
    again = built("build_wheel", unpacked, unpacked.parent.parent / "wheel-again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {info.filename: info.CRC for info in one.infolist()} == {
            info.filename: info.CRC for info in other.infolist()
        }


def test_a_wheel_has_the_modules_of_the_clone_and_nothing_else(wheel: Path, clone: Path) -> None:
    modules = {
        f"resprout/{path.relative_to(clone).as_posix()}"
        for room in ROOMS
        for path in (clone / room).rglob("*.py")
    }
    modules |= {f"resprout/{path.name}" for path in (clone / "resprout").glob("*.py")}
    modules |= {
        f"resprout/{path.relative_to(clone).as_posix()}" for path in (clone / "control/web/static").iterdir()
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {*modules, "resprout/py.typed"}


def test_building_a_wheel_leaves_no_build_in_the_clone(wheel: Path, clone: Path) -> None:
    assert not (clone / "build").exists()


def test_a_build_of_somebody_else_is_left_alone(clone: Path) -> None:
    other = clone / "build/theirs"
    other.mkdir(parents=True)
    built("build_wheel", clone, clone.parent / "wheel-beside")
    assert [path.name for path in (clone / "build").iterdir()] == ["theirs"]
    shutil.rmtree(clone / "build")


def test_no_address_is_given_before_there_is_a_public_place(wheel: Path) -> None:
    fields = metadata(wheel)
    assert [field for field in ("Home-page", "Download-URL", "Project-URL") if field in fields] == []


# A clone and a wheel in one Python


def python_with(installed: Path, folder: Path, *arguments: str) -> str:
    """What Python says in a folder, with what is installed behind that folder on its path."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


WHERE = """
import importlib, pathlib, resprout
rooms = ("actors", "registry", "supervision", "throttle", "stages", "control", "observer", "testing", "cli")
for room in rooms:
    print(pathlib.Path(importlib.import_module("resprout." + room).__file__).resolve())
print(pathlib.Path(importlib.import_module("resprout.supervision.kinds").__file__).resolve())
"""


def test_in_a_clone_everything_is_of_the_clone_whatever_wheel_is_installed(
    installed: Path, clone: Path
) -> None:
    # One of another time: a room that there was not, and no room that works.
    shutil.rmtree(installed / "resprout/testing")
    for room in ROOMS[:-1]:
        (installed / "resprout" / room / "__init__.py").write_text("raise RuntimeError('an older wheel')")
    files = python_with(installed, clone, "-W", "error", "-c", WHERE).split()
    assert [file for file in files if not Path(file).is_relative_to(clone.resolve())] == []
    assert len(files) == 10
    assert "ok: " in python_with(installed, clone, "-m", "resprout", "check", "examples/user_sync/tree.yaml")
    tests = ["tests/registry/test_keys.py", "tests/testing/test_waits.py"]
    assert " passed" in python_with(installed, clone, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def test_elsewhere_everything_is_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    files = python_with(installed, tmp_path, "-W", "error", "-c", WHERE).split()
    assert [file for file in files if not Path(file).is_relative_to(installed.resolve())] == []
    # As a command is run, without the current folder.
    script = tmp_path / "resprout-command.py"
    script.write_text(
        "import sys; from resprout.cli import main; print(main.__code__.co_filename); sys.exit(main())"
    )
    said = python_with(installed, ROOT, str(script), "check", str(ROOT / "examples/user_sync/tree.yaml"))
    assert said.startswith(str(installed))
    assert "ok: " in said


# The long description


def test_the_long_description_leads_to_no_file(wheel: Path) -> None:
    assert metadata(wheel)["Description-Content-Type"] == "text/markdown"
    targets = LINK.findall(FENCE.sub("", description(wheel)))
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "<!--" not in description(wheel)


def test_the_long_description_names_the_files_and_shows_the_code_of_the_readme(wheel: Path) -> None:
    readme, shown = (ROOT / "README.md").read_text(encoding="utf-8"), description(wheel)
    files = {target for target in LINK.findall(FENCE.sub("", readme)) if "://" not in target}
    assert len(files) > 10
    assert [file for file in files if f"`{file}`" not in shown] == []
    assert FENCE.findall(shown) == FENCE.findall(readme)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("see [docs/yaml.md](docs/yaml.md).", "see `docs/yaml.md`."),
        ("see [`docs/yaml.md`](docs/yaml.md).", "see `docs/yaml.md`."),
        ("[benchmarks/](benchmarks): scripts", "`benchmarks`: scripts"),
        ("but for its [head](examples/tree.yaml):", "but for its head (`examples/tree.yaml`):"),
        ("the [part](docs/yaml.md#limits) on it", "the part (`docs/yaml.md`) on it"),
        ("[Pykka](https://pykka.readthedocs.io)", "[Pykka](https://pykka.readthedocs.io)"),
        ("[below](#more)", "[below](#more)"),
        ("`names[0](x)` and `[a](b)`", "`names[0](x)` and `[a](b)`"),
        ("```python\ncalls[0](x)\n[a](b)\n```", "```python\ncalls[0](x)\n[a](b)\n```"),
        ("a\n<!-- ci: job -->\nb", "a\nb"),
    ],
)
def test_a_link_to_a_file_becomes_its_name(written: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "packaging"))
    from description import without_the_clone

    assert without_the_clone(written) == shown


# The editable install


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


PTH = "__editable__.resprout-rooms.pth"


@pytest.mark.skipif(sys.platform == "win32", reason="needs symbolic links")
def test_an_editable_install_has_links_to_what_is_there_now(clone: Path) -> None:
    left = clone / ".editable/resprout/renamed.py"
    left.parent.mkdir(parents=True)
    left.write_text("")
    assert PTH in names_in(built("build_editable", clone, clone.parent / "editable"))
    links = {path.name: path.resolve() for path in (clone / ".editable/resprout").iterdir()}
    assert links["actors"] == clone.resolve() / "actors"
    assert links["cli.py"] == clone.resolve() / "resprout/cli.py"
    assert [name for name, there in links.items() if not there.exists()] == []
    assert "renamed.py" not in links
    shutil.rmtree(clone / ".editable")


def test_an_editable_install_without_links_says_so_and_is_that_of_setuptools(clone: Path) -> None:
    refuse = """
from pathlib import Path
def refused(*args, **kwargs):
    raise OSError("a privilege is not held by the client")
Path.symlink_to = refused
"""
    folder = clone.parent / "linkless"
    assert PTH not in names_in(built("build_editable", clone, folder, before=refuse))
    told = (folder / "stderr").read_text(encoding="utf-8")
    assert "no links to the rooms, so type checkers will not see them: a privilege is not held" in told
    assert not (clone / ".editable").exists()
