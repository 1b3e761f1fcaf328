"""Holds the map of the house against the code: who may import whom, what is packaged, what is public."""

from __future__ import annotations

import ast
import importlib
import io
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it on the Pythons that lack tomllib
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# Each room with the rooms that it may import. `resprout` is the face.
ROOMS: dict[str, set[str]] = {
    "actors": set(),
    "registry": {"actors"},
    "supervision": {"actors"},
    "throttle": {"actors", "registry", "supervision"},
    "stages": {"actors", "supervision"},
    "connectors": {"actors", "registry", "supervision", "throttle", "stages"},
    "cluster": {"actors", "registry", "supervision", "throttle"},
    "control": {"actors", "registry", "supervision", "throttle"},
    "monitoring": {"actors", "registry", "supervision", "throttle", "stages", "connectors", "cluster"},
    "observer": {"actors", "registry", "supervision", "throttle", "monitoring", "control"},
    "testing": {"actors", "registry", "supervision", "throttle"},
    "resprout": {
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
    },
}
OPTIONAL = {
    "rich",
    "uvicorn",
    "starlette",
    "httpx",
    "sqlalchemy",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "redis",
    "hiredis",
    "anyio",
    "fastapi",
    "django",
    "flask",
    "celery",
    "confluent_kafka",
    "asyncpg",
    "aiohttp",
    "pytest",
}
# The folders and files of a room, from the lowest to the highest: each imports only what stands before it,
# for types, too. Files that are not named stand between the folders and `__init__`.
LEVELS = {
    "actors": [
        "primitives",
        "vocabulary",
        "runtime",
        "reports",
        "processes",
        "servers",
        "tasks",
        "process",
        "system",
        "engine",
        "__init__",
    ],
    "registry": ["__init__"],
    "supervision": [
        "readying",
        "placement",
        "supervisors",
        "restarts",
        "engine",
        "trees",
        "tree_kinds",
        "__init__",
    ],
    "throttle": ["ledger", "lock", "", "__init__"],
    "stages": ["dispatchers", "", "__init__"],
    "connectors": ["kafka", "__init__"],
    "cluster": ["errors", "operations", "tickets", "line", "ledger", "", "__init__"],
    "control": ["", "web", "companion", "commands", "__init__"],
    "monitoring": ["__init__"],
    "observer": ["__init__"],
    "testing": ["__init__"],
}
# The cores: they decide, and know no thread, no clock, no log and nobody who has one.
CORES = [
    "supervision/supervisors/restart_intensity.py",
    "supervision/supervisors/strategy.py",
    "supervision/supervisors/children.py",
    "supervision/trees/difference.py",
    "actors/reports/bursts.py",
    "registry/index.py",
    "throttle/ledger/ledger.py",
    "throttle/ledger/hand_over.py",
    "throttle/ledger/rate.py",
    "throttle/ledger/sharing.py",
    "throttle/ledger/adaptive_limits.py",
    "throttle/ledger/wait_queue.py",
    "control/connection.py",
    "control/limits.py",
    "control/allowance.py",
    "control/protocol.py",
    "control/words.py",
    "observer/chaos.py",
    "cluster/operations.py",
    "cluster/line.py",
    "cluster/ledger.py",
    "cluster/key_operations.py",
    "cluster/key_claims.py",
    "cluster/stored_keys.py",
    "control/commands/view.py",
    "control/web/differences.py",
    "control/web/guard.py",
    "stages/buffer.py",
    "stages/subscription.py",
    "stages/portion.py",
    "stages/records.py",
    "stages/giving.py",
    "stages/consuming.py",
    "stages/core.py",
    "stages/dispatchers/demand.py",
    "stages/dispatchers/broadcast.py",
    "stages/dispatchers/partition.py",
    "connectors/kafka/acknowledged.py",
    "connectors/kafka/flow.py",
    "connectors/kafka/retrying.py",
]
SHELL_ONLY = {
    "_thread",
    "asyncio",
    "concurrent",
    "logging",
    "queue",
    "socket",
    "subprocess",
    "threading",
    "time",
}
# Files with imports of ours inside of functions, and why.
LATE = {
    "supervision/supervisors/starting.py": "multiprocessing takes time to load, and few trees place children",
    "monitoring/web.py": "metrics for Prometheus need prometheus-client, which is an extra",
    "control/companion.py": "an application that nobody asks need not load what answers",
    "control/commands/running.py": "`top` needs rich, which is an extra",
    "control/web/kind.py": "the page needs starlette, which is an extra; a file is checked without it",
    "observer/screen.py": "the live screen needs rich, which is an extra",
    "resprout/cli.py": "a sixth of what all commands would load is for `cluster` alone",
    "resprout/pytest_plugin.py": "every run of pytest loads it, and most want no region",
}
LONGEST_FILE = 400
NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}
TEXT = {".py", ".pyi", ".md", ".yaml", ".yml", ".toml", ".cfg", ".sh", ".txt", ".jsonl", ".json", ".exs", ""}


def files_of_the_repository() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in NOT_OURS
            and not name.endswith(".egg-info")
            and (name == ".ci" or not name.startswith("."))
        ]
        yield from (Path(folder) / name for name in names if name != ".git")  # a file in a worktree


def modules_of(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def every_module() -> list[tuple[str, Path]]:
    return [(room, path) for room in ROOMS for path in modules_of(room)]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def package_of(room: str) -> str:
    return room if room == "resprout" else f"resprout.{room}"


def imports_from(room: str, path: Path) -> Iterator[tuple[ast.ImportFrom, str]]:
    """Every `from ... import` in a file, wherever it stands, with the absolute name of its module."""
    inside = path.relative_to(ROOT / room).parent.parts
    package = [*package_of(room).split("."), *inside]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            yield node, ".".join([*above, *(node.module.split(".") if node.module else [])])


def imports_of(room: str, path: Path) -> Iterator[tuple[int, str]]:
    """Every import in a file as (line, absolute dotted name of a module)."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
    for from_, module in imports_from(room, path):
        if from_.module is None or module == "resprout":  # `from .. import x`: x itself is the module
            yield from ((from_.lineno, f"{module}.{alias.name}") for alias in from_.names)
        else:
            yield from_.lineno, module


# Parts of the runtime that other rooms are built from and users never need; one door, with an __all__ of its
# own.
SIDE_DOORS = {
    ("connectors", "kafka"),
    ("actors", "engine"),
    ("supervision", "engine"),
    ("supervision", "restarts"),
    ("supervision", "tree_kinds"),
    ("throttle", "engine"),
    ("registry", "engine"),
    ("registry", "placed"),
    ("cluster", "command"),
    ("cluster", "statistics"),
    ("monitoring", "log_records"),
    ("stages", "statistics"),
    ("control", "commands"),
}


def room_and_rest(name: str) -> tuple[str, list[str]] | None:
    """The room that a dotted name leads to and what is named inside it; None for what isn't ours."""
    parts = name.split(".")
    if parts[0] != "resprout":
        return None
    if len(parts) > 1 and parts[1] in ROOMS:
        rest = parts[2:]
        return parts[1], [] if (parts[1], *rest) in SIDE_DOORS else rest
    return "resprout", parts[1:]


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


# Who may import whom


def test_rooms_import_only_the_rooms_below_them() -> None:
    wrong = [
        f"{where(path, line)}: {room} imports {name}"
        for room, path in every_module()
        for line, name in imports_of(room, path)
        if (target := room_and_rest(name)) and target[0] != room and target[0] not in ROOMS[room]
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_import_one_another_only_through_the_front_door() -> None:
    wrong = [
        f"{where(path, line)}: {name} is inside another room; import it from {package_of(target[0])}"
        for room, path in every_module()
        for line, name in imports_of(room, path)
        if (target := room_and_rest(name)) and target[0] != room and target[1]
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_take_from_one_another_only_what_is_exported() -> None:
    wrong = [
        f"{where(path, node.lineno)}: {alias.name} is not in __all__ of {package_of(target[0])}"
        for room, path in every_module()
        for node, module in imports_from(room, path)
        if (target := room_and_rest(module)) and target[0] not in (room, "resprout") and not target[1]
        for alias in node.names
        if alias.name not in importlib.import_module(module).__all__
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_import_one_another_relatively() -> None:
    wrong = [
        f"{where(path, node.lineno)}: write `from ..room import name`"
        for _, path in every_module()
        for node in ast.walk(tree_of(path))
        if (
            isinstance(node, ast.Import)
            and any(alias.name.split(".")[0] == "resprout" for alias in node.names)
        )
        or (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").split(".")[0] == "resprout"
        )
    ]
    assert not wrong, "\n".join(wrong)


def module_names(room: str) -> dict[str, Path]:
    """The modules of a room by their names inside of it."""
    names = {}
    for path in modules_of(room):
        parts = path.relative_to(ROOT / room).with_suffix("").parts
        if parts[-1] != "__init__" or len(parts) == 1:
            names[".".join(parts)] = path
    return names


def imports_within(room: str) -> dict[str, set[str]]:
    """Which modules of a room each of them imports: at run time, in functions and for types."""
    names = module_names(room)
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        found[name] = set()
        for node, module in imports_from(room, path):
            inside = module.removeprefix(package_of(room)).lstrip(".")
            if module != inside:
                below = {f"{inside}.{alias.name}".lstrip(".") for alias in node.names}
                found[name] |= (below & set(names)) or ({inside} & set(names))
    return found


def level(room: str, name: str) -> int:
    levels = LEVELS[room]
    top = name.split(".")[0]
    return levels.index(top) if top in levels else levels.index("") if "" in levels else -1


@pytest.mark.parametrize("room", LEVELS)
def test_a_room_imports_downwards_for_types_too(room: str) -> None:
    wrong = [
        f"{name} imports {other}"
        for name, others in imports_within(room).items()
        for other in sorted(others)
        if level(room, other) > level(room, name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", LEVELS)
def test_no_modules_of_a_room_need_each_other_for_types_neither(room: str) -> None:
    imports = imports_within(room)
    assert len(imports) > 5
    left = dict(imports)
    while lowest := [name for name, others in left.items() if not others & set(left) - {name}]:
        for name in lowest:
            del left[name]
    assert left == {}, "in circles, or above one"


def test_imports_stand_at_the_top() -> None:
    """But for what a face loads when it is first used (PEP 562), and what LATE has a reason for."""
    late = {
        str(path.relative_to(ROOT))
        for _, path in every_module()
        for function in ast.walk(tree_of(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and node.level
    }
    assert late == set(LATE)


def test_only_actors_knows_pykka() -> None:
    wrong = [
        where(path, line)
        for room, path in every_module()
        if room != "actors"
        for line, name in imports_of(room, path)
        if name.split(".")[0] == "pykka"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("file", CORES)
def test_a_core_knows_no_thread_no_clock_and_no_log(file: str) -> None:
    path = ROOT / file
    wrong = [
        where(path, line)
        for line, name in imports_of(path.relative_to(ROOT).parts[0], path)
        if name.split(".")[0] in SHELL_ONLY
    ]
    assert not wrong, "\n".join(wrong)


def test_a_plain_import_needs_no_extra() -> None:
    program = f"import sys, resprout; print(*sorted({OPTIONAL!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:resprout is experimental", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_ci_runs_files_that_there_are() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    named = set(re.findall(r"\btests/[\w/]+(?:\.py)?", script))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


# What is packaged


def test_pyproject_lists_every_room() -> None:
    setuptools = PYPROJECT["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    packages = {
        ".".join(["resprout", *folder.parts] if folder.parts[0] != "resprout" else folder.parts)
        for folder in folders
    }
    assert set(setuptools["packages"]) == packages
    assert setuptools["package-dir"] == {package_of(room): room for room in ROOMS}


def test_every_package_folder_of_the_top_level_is_a_room() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == set(ROOMS)


def test_tests_is_no_package() -> None:
    packages = [path.parent.relative_to(ROOT) for path in (ROOT / "tests").rglob("__init__.py")]
    assert [path for path in packages if path.parts[:2] != ("tests", "conformance")] == []


def test_type_hints_are_announced() -> None:
    assert (ROOT / "resprout" / "py.typed").is_file()
    assert PYPROJECT["tool"]["setuptools"]["package-data"]["resprout"] == ["py.typed"]


@pytest.mark.parametrize(
    "group", ["resprout.kinds", "resprout.engines", "resprout.placed", "console_scripts", "pytest11"]
)
def test_entry_points_lead_somewhere(group: str) -> None:
    project = PYPROJECT["project"]
    declared = project["scripts"] if group == "console_scripts" else project["entry-points"][group]
    installed = {point.name: point for point in entry_points(group=group) if point.name in declared}
    assert {name: point.value for name, point in installed.items()} == declared
    loaded = [point.load() for point in installed.values()]
    # pytest takes a module.
    assert all(callable(each) or group == "pytest11" for each in loaded)


# What is public


def names_bound_by(module: ast.Module) -> Iterator[str]:
    """What the top level of a module binds, less its `__future__` imports and private names.

    What stands there for type checkers only is what the module loads when it is first used.
    """
    statements = [*module.body]
    for node in module.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            statements += node.body
    for node in statements:
        if isinstance(node, ast.ImportFrom) and node.module not in ("__future__", "typing"):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@pytest.mark.parametrize("room", ROOMS)
def test_all_lists_what_the_room_exports(room: str) -> None:
    bound = {
        name for name in names_bound_by(tree_of(ROOT / room / "__init__.py")) if not name.startswith("_")
    }
    module = importlib.import_module(package_of(room))
    listed = module.__all__
    assert len(listed) == len(set(listed))
    assert {name for name in listed if not name.startswith("__")} == bound
    assert [name for name in listed if not hasattr(module, name)] == []


def test_the_face_gives_the_names_of_the_contract() -> None:
    contract = """
        Pid Future GenServer Ok IGNORE Stop Reply NoReply TIMEOUT NOTHING process Agent Task sys telemetry
        Down Exited Crash Shutdown ChildSpec INFINITY BRUTAL_KILL Supervisor DynamicSupervisor
        PartitionSupervisor TaskSupervisor ChildInfo Counts Application Registry Via RegistryEvent Registered
        Unregistered throttle Grant LockState LockInfo Holder Waiter actors registry supervision testing
        ResproutError ProcessExit NoProcess ServerExit CallTimeout StartError AlreadyStarted AlreadyPresent
        AlreadyRegistered NotFound Running MaxChildren LockNotFound NotHeld QueueFull BlockingInLoop
        ConfigError Killed
    """
    assert set(contract.split()) - set(importlib.import_module("resprout").__all__) == set()


# How it is written


def lines_of_code(path: Path) -> int:
    """Lines that hold code: no blank line, no comment, no docstring."""
    source = path.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    layout = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - prose)


def test_no_file_outgrows_one_concept() -> None:
    # Not the tests': those are as long as what they test has cases.
    files = [path for path in files_of_the_repository() if path.suffix == ".py" and "tests" not in path.parts]
    lengths = {str(path.relative_to(ROOT)): lines_of_code(path) for path in files}
    assert {file: lines for file, lines in lengths.items() if lines > LONGEST_FILE} == {}


def loops_that_are_left_unseen(node: ast.AST, guarded: bool = False) -> Iterator[ast.While]:
    """``while`` with a condition inside of what a ``try`` or a ``with`` guards."""
    guards = isinstance(node, ast.Try | ast.With | ast.AsyncWith)
    for name, value in ast.iter_fields(node):
        within = (
            guarded
            or (guards and name == "body")
            or (isinstance(node, ast.Try) and bool(node.finalbody) and name in ("handlers", "orelse"))
        )
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
                yield from loops_that_are_left_unseen(child)
            elif isinstance(child, ast.AST):
                if within and isinstance(child, ast.While) and not isinstance(child.test, ast.Constant):
                    yield child
                yield from loops_that_are_left_unseen(child, within)


def test_no_loop_inside_a_try_is_left_by_an_interrupt_that_the_try_does_not_see() -> None:
    """CPython 3.13 leaves the jump back of ``while condition:`` out of the table of handlers, and looks for
    signals there: neither ``except`` nor ``finally`` nor ``__exit__`` would run. ``while True:`` with a
    ``break`` is in it.
    """
    found = [
        f"{path.relative_to(ROOT)}:{loop.lineno}"
        for _, path in every_module()
        for loop in loops_that_are_left_unseen(tree_of(path))
    ]
    assert not found, "\n".join(found)


def test_every_module_with_definitions_postpones_its_annotations() -> None:
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.AnnAssign)
    wrong = [
        str(path.relative_to(ROOT))
        for _, path in every_module()
        if any(isinstance(node, definitions) for node in tree_of(path).body)
        and "from __future__ import annotations" not in path.read_text(encoding="utf-8")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    # In pieces, so that this file doesn't find itself.
    places = re.compile(
        "|".join(["/" + name + "/" for name in ("root", "work", "home")] + [r"\.\./" + "shared"])
    )
    wrong = [
        f"{where(path, number)}: {line.strip()[:100]}"
        for path in files_of_the_repository()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if places.search(line)
    ]
    assert not wrong, "\n".join(wrong)
