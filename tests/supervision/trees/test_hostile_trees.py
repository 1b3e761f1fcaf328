"""Trees that mean ill: each is refused within its time and memory, by located lines, whatever it does."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from ...programs import PYTHON

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 3
"""Of the processor."""
MEGABYTES = 250
"""Of memory in use."""
CHECK = """
import resource, sys
from resprout.cli import main

status = main(["check", *sys.argv[1:]])
if sys.platform == "linux":  # where ru_maxrss begins with what the program that forked this one takes
    with open("/proc/self/status") as file:
        most = next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) >> 10
else:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> (20 if sys.platform == "darwin" else 10)
print(most, file=sys.stderr)
sys.exit(status)
"""


@attrs.frozen
class Checked:
    status: int
    lines: list[str]


Check = Callable[..., Checked]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Checks a text, or whatever is at a path, in a child that may take no more than it should."""

    def limit() -> None:
        resource.setrlimit(
            resource.RLIMIT_CPU, (SECONDS + 2, SECONDS + 2)
        )  # what the imports take is not the file's
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))  # threads reserve much that they never use

    def check(tree: str | Path, *options: str, stdin: bytes = b"") -> Checked:
        path = tree if isinstance(tree, Path) else tmp_path / "tree.yaml"
        if isinstance(tree, str):
            path.write_text(tree, encoding="utf-8")
        done = subprocess.run(
            [
                *PYTHON,
                "-c",
                CHECK,
                str(path),
                *options,
            ],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
            preexec_fn=limit,
        )
        err = done.stderr.decode()
        assert err.strip().isdecimal(), err[-2_000:]
        assert int(err) < MEGABYTES
        return Checked(done.returncode, done.stdout.decode().splitlines())

    return check


def merges(levels: int = 10, width: int = 9) -> str:
    """Each level merges the one before it several times; ten levels are less than 600 bytes."""
    above = (f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * width)}]}}" for n in range(1, levels))
    return "\n".join(["a0: &a0 {k: v}", *above])


NESTED = "nested too deeply: more than 1,024 lists and mappings inside each other"
VALUES = "more than 250,000 values"
WORKER = "worker: w, run: 'builtins:print'"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (merges(), VALUES),
        ("\n".join(["a: &a [x]", *(f"a{n}: &a [*a, *a]" for n in range(3))]), "found duplicate anchor 'a'"),
        ("a: &a\n  b: &b [*a, *a]\nc: [*b, *b]\n", "an alias must not contain itself"),
        ("- x\n" * 1_250_000, VALUES),
        ("- x\n" * 12_500_000, "more than 8,000,000 bytes"),
        ("children: [" + "{worker: a}," * 400_000 + "]", VALUES),
        (
            "a: " + "1:" * 300_000 + "1\n",
            "has 600,001 digits, and 1,000 are the most; quote it if it is text",
        ),
        ("a: " + "1:" * 300_000 + "1.5\n", "has 600,003 digits"),
        (f"children: [{{{WORKER}, max_restarts: {'1' * 600_000}}}]", "has 600,000 digits"),
        (f"children: [{{{WORKER}, shutdown: '{'1' * 600_000}'}}]", "expected a time such as 5s"),
        (f"children: [{{{WORKER}, shutdown: '{' ' * 600_000}x'}}]", "expected a time such as 5s"),
        (f"children: [{{{WORKER}, shutdown: '{'1s ' * 200_000}x'}}]", "expected a time such as 5s"),
        (f"children: [{{worker: w, run: '{'a.' * 300_000}b:c'}}]", "got a text of 600,003 characters"),
        (f"children: [{{worker: w, run: 'builtins:{'f' * 400}'}}]", "module 'builtins' has no 'fff"),
        (f"children: [{{{WORKER}, replicas: 1000000000}}]", "at most 20,000 replicas in the whole file"),
        (
            "children:\n" + "".join(f"- {{{WORKER}, id: w{n}, replicas: 9000}}\n" for n in range(50)),
            "got: 9,000, 27,000 in all",
        ),
        ("[" * 100_000 + "]" * 100_000, NESTED),
        ("".join(" " * level + "-\n" for level in range(3_000)), NESTED),
        ("children: [" + "{supervisor: s, children: [" * 600 + "]}" * 600 + "]", NESTED),
        ("[" * 1_000 + "{}," * 80_000 + "]" * 1_000, VALUES),
        (
            "{" + ", ".join(f"{n * (2**61 - 1)}: x" for n in range(1, 50_000)) + "}",
            "a shorter number as a key",
        ),
        ("children: [{registry: r, partitions: 1000000000}]", "expected partitions to be at most 65,536"),
        ("\0" * 5_000_000, "a text file has no character 0x00"),
        ("'" + "x\n" * 1_000_000, "not YAML"),
        ("x" * 5_000_000, "expected a mapping with children:, got: 'xxx"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 60 else "",
)
def test_a_hostile_text_is_refused_in_time(check: Check, text: str, reason: str) -> None:
    checked = check(text)
    assert checked.status == 2
    assert any(reason in line for line in checked.lines), checked.lines[:3]
    assert all("tree.yaml:" in line and line.isprintable() and len(line) < 3_000 for line in checked.lines)


def test_of_very_many_mistakes_the_first_are_told_and_their_number(check: Check) -> None:
    checked = check("children:\n" + f"- {{{WORKER}, resart: 3}}\n" * 20_000)
    assert len(checked.lines) == 101
    assert "tree.yaml:2:38: children[0].resart: unknown key 'resart'" in checked.lines[0]
    assert "did you mean 'restart'?" in checked.lines[0]
    assert checked.lines[-1].endswith("tree.yaml: 39,999 mistakes; these are the first 100")


def test_a_module_that_fails_is_tried_once_and_its_message_is_cut(check: Check, tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "with open('tried', 'a') as file: file.write('x')\n"
        "raise ImportError('\\x1b[31m\\n' + 'y' * 1_000_000)"
    )
    checked = check("children:\n" + "".join(f"- {{worker: w{n}, run: 'chatty:f{n}'}}\n" for n in range(500)))
    assert (tmp_path / "tried").read_text() == "x"
    assert len(checked.lines) == 101
    assert "importing chatty failed: ImportError: \\x1b[31m yyy" in checked.lines[0]
    assert all(len(line) < 600 for line in checked.lines)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: os.mkfifo(path), "it is a pipe, and may never end"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, and may never end"),
        (lambda path: path.mkdir(), "it is a folder"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
    ids=["pipe", "device", "folder", "circle"],
)
def test_what_is_no_regular_file_is_not_opened(
    check: Check, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "odd")
    checked = check(tmp_path / "odd")
    [line] = checked.lines
    assert (checked.status, f"odd:0:0: it cannot be read: {reason}" in line) == (2, True), line


def test_a_socket_is_not_opened(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("odd")
        checked = check(tmp_path / "odd")
    [line] = checked.lines
    assert (checked.status, "it is a socket" in line) == (2, True), line


def test_standard_input_is_read_no_further_than_the_limit(check: Check) -> None:
    checked = check(Path("-"), stdin=b"# " + b"x" * 20_000_000)
    assert checked == Checked(
        2, ["<stdin>:0:0: it has more than 8,000,000 bytes, which is the limit for a tree file"]
    )


def test_ten_thousand_children_are_no_attack(check: Check) -> None:
    child = (
        "worker: w{}, run: 'builtins:print', args: {{sep: '{}', end: x}}, restart: transient, shutdown: 5s"
    )
    text = "children:\n" + "".join(f"- {{{child.format(n, n)}}}\n" for n in range(10_000))
    assert check(text) == Checked(0, ["ok: 1 supervisor, 10,000 children"])


def test_replicas_up_to_the_limit_are_no_attack(check: Check) -> None:
    text = "children: [{worker: w, run: 'builtins:print', replicas: 20000, args: {sep: '{index}'}}]"
    assert check(text) == Checked(0, ["ok: 1 supervisor, 20,000 children"])


def test_supervisors_500_deep_are_no_attack(check: Check) -> None:
    inner = "{worker: w, run: 'builtins:print', args: {sep: '${here}'}}"
    text = "children: [" + "{supervisor: s, children: [" * 500 + inner + "]}" * 500 + "]"
    assert check(text) == Checked(0, ["ok: 501 supervisors, 501 children"])


def test_arguments_as_deep_as_the_limit_are_no_attack(check: Check) -> None:
    deep = "[" * 1_020 + "'${here}', '{index}'" + "]" * 1_020
    text = f"children: [{{worker: w, replicas: 2, run: 'builtins:print', args: {{sep: {deep}}}}}]"
    assert check(text) == Checked(0, ["ok: 1 supervisor, 2 children"])


def test_the_generator_of_hostile_trees_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.supervision.trees.hostile", "0", "79"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "80 files, 0 faults" in done.stdout
