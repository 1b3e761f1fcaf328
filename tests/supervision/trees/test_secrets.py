"""Secrets of a tree, `${file:PATH}`: what they become, and that nobody prints them."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resprout.observer import CheckOptions, check_tree
from resprout.supervision import Application
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.secrets import MASK, Secret, hidden

SECRET = "hunter2-correct-horse-battery-staple"
MODULE = """
from resprout import GenServer, Ok

class Server(GenServer):
    def init(self, arg):
        return Ok(arg)

class Failing(GenServer):
    def init(self, arg):
        raise RuntimeError("no connection")

def work(port: int = 0, **options): ...
def refuse(url): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Has the file of the secret, and the module `secretive`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "secretive.py").write_text(MODULE)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    yield tmp_path
    sys.modules.pop("secretive", None)


def load(text: str, **settings: str) -> Application:
    Path("tree.yaml").write_text(text)
    return Application.load("tree.yaml", settings)


def mistake(text: str) -> str:
    with pytest.raises(InvalidTree) as raised:
        load(text)
    return str(raised.value)


def args_of(application: Application) -> dict[str, object]:
    [spec] = application.tree.children
    found: dict[str, object] = spec.start[1][1]
    return found


def test_the_text_of_a_file_without_the_line_end_at_its_end_stands_for_it() -> None:
    Path("port").write_text("5432\r\n")
    application = load(
        "children: [{worker: w, run: 'secretive:work', args: {password: '${file:password}', "
        "url: 'postgres://me:${file:password}@${host:-db}/x', port: '${file:port}'}}]"
    )
    args = args_of(application)
    assert args["password"] == SECRET
    assert args["url"] == f"postgres://me:{SECRET}@db/x"
    assert args["port"] == 5432


def test_a_number_in_a_file_is_text_where_nobody_says_what_it_is() -> None:
    Path("pin").write_text("0123\n\n")
    application = load("children:\n- worker: w\n  run: secretive:work\n  args:\n    pin: ${file:pin}")
    assert args_of(application)["pin"] == "0123\n"


def test_a_path_begins_in_the_folder_of_the_file_that_has_it(folder: Path) -> None:
    Path("sub").mkdir()
    Path("sub/own").write_text("theirs")
    Path("sub/s.yaml").write_text("[{worker: w, run: 'secretive:work', args: {a: '${file:own}'}}]")
    assert args_of(load("children: [{include: sub/s.yaml}]"))["a"] == "theirs"
    text = f"children: [{{worker: w, run: 'secretive:work', args: {{a: '${{file:{folder}/sub/own}}'}}}}]"
    assert args_of(load(text))["a"] == "theirs"


def test_a_default_stands_in_for_a_file_that_is_not_there() -> None:
    application = load("children: [{worker: w, run: 'secretive:work', args: {a: '${file:none:-dev}'}}]")
    assert args_of(application)["a"] == "dev"


def test_a_secret_in_the_number_of_a_replica_stays_one() -> None:
    application = load(
        "children: [{worker: w, replicas: 1, run: 'secretive:work', args: {a: '{index}${file:password}'}}]"
    )
    value = args_of(application)["a"]
    assert (str(value), repr(value)) == (f"0{SECRET}", MASK)


def test_specs_and_pickles_do_not_show_it() -> None:
    application = load("children: [{worker: w, run: 'secretive:work', args: {a: ['${file:password}']}}]")
    assert SECRET not in repr(application.tree)
    secret = pickle.loads(pickle.dumps(Secret(SECRET)))
    assert (secret, repr(secret), f"{secret}") == (SECRET, MASK, SECRET)


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        (
            "{worker: w, run: 'secretive:work', replicas: '${file:password}'}",
            "replicas: expected a whole number",
        ),
        ("{worker: w, run: 'secretive:work', args: {port: '${file:password}'}}", "expected a whole number"),
        ("{worker: w, run: 'secretive:work', restart: '${file:password}'}", "restart: expected one of perm"),
        (
            "{worker: w, run: 'secretive:work', shutdown: '${file:password}'}",
            "shutdown: expected a time such",
        ),
        ("{worker: w, run: 'secretive:work', significant: '${file:password}'}", "expected true or false"),
        ("{worker: w, run: '${file:password}'}", "run: expected 'module:name'"),
        ("{throttle: t, num_slots: 1, rate: '${file:password}'}", "rate"),
        ("{engine: e, url: '${file:password}'}", "children[0]"),
        ("{include: '${file:password}'}", "expected the path of a file, got a secret"),
        (
            "{registry: r}, {worker: w, run: 'secretive:work', via: ['${file:password}', k]}",
            "no registry named",
        ),
        (
            "{worker: '${file:password}', run: x}, {worker: '${file:password}', run: x}",
            "run: expected 'module",
        ),
        ("{registry: '${file:password}'}, {registry: '${file:password}'}", "is taken by"),
    ],
)
def test_a_mistake_does_not_show_it(child: str, expected: str) -> None:
    told = mistake(f"children: [{child}]")
    assert expected in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "it cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "it cannot be read: expected a regular file"),
        (lambda path: os.mkfifo(path), "it cannot be read: expected a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it cannot be read: expected a regular file"),
        (lambda path: path.write_bytes(b"secret\xff"), "it is not UTF-8, and a secret is text"),
        (lambda path: path.write_bytes(b"x" * ((1 << 16) + 1)), "it has more than 65,536 bytes"),
    ],
    ids=["missing", "folder", "pipe", "device", "bytes", "large"],
)
def test_a_file_that_is_none_is_told_with_the_place(folder: Path, make, expected: str) -> None:  # type: ignore[no-untyped-def]
    make(folder / "odd")
    told = mistake("children:\n- {worker: w, run: 'secretive:work', args: {a: '${file:odd}'}}")
    begin = f"tree.yaml:2:48: children[0].args.a: the file of ${{file:odd}}, {folder}/odd: {expected}"
    assert told.startswith(begin), told


def test_the_nearest_file_is_suggested_and_a_path_must_be_there() -> None:
    assert "did you mean 'password'?" in mistake("children: [{registry: '${file:pasword}'}]")
    assert "expected ${file:PATH} with the path of a file" in mistake("children: [{registry: '${file:}'}]")


def test_check_and_the_report_of_a_crash_do_not_show_it(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    text = "children: [{worker: w, start: 'secretive:Failing', args: {password: '${file:password}'}}]"
    application = load(text)
    assert check_tree(CheckOptions(Path("tree.yaml"))) == 0
    with caplog.at_level(logging.DEBUG):
        assert application.run() == 1
    assert "no connection" in caplog.text
    assert SECRET not in caplog.text + "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"got: {SECRET}", f"got: {MASK}"),
        (f"got: '{SECRET[:20]}...'", f"got: '{MASK}...'"),
        ("got: 'a b'", "got: 'a b'"),
        ("no module named 'x'", "no module named 'x'"),
    ],
)
def test_what_was_cut_or_is_part_of_a_text_is_hidden_too(text: str, shown: str) -> None:
    assert hidden(text, {SECRET, "x"}) == shown


def test_lines_and_quotes_in_a_secret_are_hidden_as_they_are_printed() -> None:
    secret = "first line\nit's the second"
    assert hidden(f"a {secret!r} b", {secret}) in (f"a '{MASK}' b", f'a "{MASK}" b')
    assert hidden(f"a {' '.join(secret.split())} b", {secret}) == f"a {MASK} b"
