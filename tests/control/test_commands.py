"""Every command, by a running system of `resprout run`."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout.actors import process
from resprout.cli import main
from resprout.control.client import Client
from resprout.control.commands import COMMANDS
from resprout.control.errors import Refusal
from resprout.supervision import ChildSpec, DynamicSupervisor

from ..observer.shop import OnTerminal
from ..programs import resprout as command
from ..waiting import until

WATCHDOG = 60.0


@pytest.fixture(scope="module")
def running(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a system that runs while the tests of this file do."""
    path = Path(f"/tmp/resprout-{os.getpid()}.sock")
    log = (tmp_path_factory.mktemp("log") / "log").open("w")
    program = subprocess.Popen(
        command("run", folder / "tree.yaml", "--plain", "--socket", path),
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    until(lambda: path.exists() and state(path) == "running")
    yield path
    program.send_signal(signal.SIGTERM)
    assert program.wait(WATCHDOG) == 0
    log.close()
    assert not path.exists()


def state(path: Path) -> str:
    with Client(path) as client:
        found: str = client.ask("status")["state"]
        return found


Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(running: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command for that system: its status, and what it writes to both streams."""

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main([*arguments, "--socket", str(running)])
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def told(said: Said) -> Callable[..., Any]:
    """The same with --json: what it writes, as JSON."""

    def run(*arguments: str) -> Any:
        status, out, err = said(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return run


def test_status_says_what_runs(said: Said, told: Callable[..., Any]) -> None:
    status, out, _ = said("status")
    assert status == 0
    assert re.match(
        r"shop running, program \d+, for [\d.ms]+\n8 of 8 children running; \d+ restarts; \d+ crashes\n", out
    )
    assert told("status")["counts"]["children"] == 8


def test_ps_lists_the_processes(said: Said, told: Callable[..., Any]) -> None:
    _, out, _ = said("ps")
    heads, *lines = out.splitlines()
    assert heads.split() == ["PATH", "STATE", "PID", "CLASS", "UPTIME", "RESTARTS", "MAILBOX"]
    assert len(lines) == 9
    assert any(re.match(r"services/echo-0 +running +0\.\d+ +Echo ", line) for line in lines)
    assert "\x1b" not in out
    assert [row["path"] for row in told("ps", "services", "--match", "Echo")] == [
        f"services/echo-{number}" for number in range(3)
    ]
    assert said("ps", "--paths", "services", "--sort", "restarts")[1].count("\n") == 5


def test_top_shows_processes_and_locks_once_where_there_is_no_terminal(
    said: Said, told: Callable[..., Any]
) -> None:
    pytest.importorskip("rich")
    status, out, _ = said("top", "--match", "Echo")
    assert status == 0
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[0].startswith("shop running")
    assert "kafka: 0 of 2 slots used, 0 waiting" in lines
    assert [line.split()[0] for line in lines[-3:]] == [f"services/echo-{number}" for number in range(3)]
    found = told("top", "--sort", "restarts")
    assert len(found["processes"]) == 9
    assert found["status"]["name"] == "shop"


def test_top_goes_on_on_a_terminal_takes_keys_and_gives_the_terminal_back(running: Path) -> None:
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    before = termios.tcgetattr(theirs)
    program = subprocess.Popen(
        command("top", "--socket", running, "--interval", "0.1"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    run = OnTerminal(program, ours)
    run.until("services/echo-0")
    run.until("q quit")
    os.write(ours, b"m")
    run.until("MAILBOX *")
    os.write(ours, b"q")
    run.until("\x1b[?1049l")
    assert program.wait(WATCHDOG) == 0
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)
    seen = run.seen.decode()
    assert seen.rindex("\x1b[?25l") < seen.rindex("\x1b[?25h")


def test_tree_shows_who_is_below_whom(said: Said, told: Callable[..., Any]) -> None:
    _, out, _ = said("tree")
    assert out.splitlines()[:5] == [
        "/ (supervisor, one_for_one, running)",
        "  kafka (lock, running)",
        "  users (registry, running)",
        "  services (supervisor, one_for_one, running)",
        "    echo-0 (worker, running)",
    ]
    assert told("tree")[1]["kind"] == "lock"


def test_tree_shows_a_file_as_well_and_starts_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tree", str(folder / "tree.yaml")]) == 0
    assert capsys.readouterr().out.splitlines()[1:5] == [
        "  kafka (lock)",
        "  users (registry)",
        "  services (supervisor, one_for_one)",
        "    echo-0 (worker)",
    ]
    assert main(["tree", str(folder / "no.yaml")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_info_tells_all_of_a_process(said: Said, told: Callable[..., Any]) -> None:
    _, out, _ = said("info", "services/echo-1")
    facts = dict(line.split(":", 1) for line in out.splitlines())
    assert facts["path"].strip() == "services/echo-1"
    assert facts["class"].strip() == "Echo"
    assert "server state" in facts
    found = told("info", "echo-1")
    assert found["name"] == "echo-1"
    assert found["spec"]["restart"] == "permanent"


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["restart", "services/echo-2"], r"services/echo-2: restarted as <0\.\d+ echo-2>\n"),
        (["terminate", "services/echo-2"], r"services/echo-2: terminated\n"),
        (["start", "services/echo-2"], r"services/echo-2: started as <0\.\d+ echo-2>\n"),
        (["suspend", "echo-2"], r"services/echo-2: suspended\n"),
        (["resume", "echo-2"], r"services/echo-2: goes on\n"),
        (["call", "echo-2", '{"a": [1]}'], r'\{"a": \[1\]\}\n'),
        (["call", "echo-2", "null"], r"null\n"),
        (["call", "echo-2", '"odd"', "--timeout", "1.5"], r"<object object at .*>\n"),
        (["call", "echo-2", "[1]", "--tuples", "--json"], r'.*"text": "\(1,\)"\}\n'),
        (["send", "echo-2", "1"], r"sent to <0\.\d+ echo-2>\n"),
        (["send", "echo-2", "1", "--cast"], r"sent to <0\.\d+ echo-2>\n"),
        (["locks"], r"LOCK +SLOTS +USED .*\nkafka +\d +0 .*\n"),
        (["locks", "kafka"], r"kafka: 0 of \d slots used, 0 waiting, strict\n"),
        (["resize", "kafka", "3"], r"kafka: 3 slots\n"),
        (["pause", "kafka"], r"kafka: paused\n"),
        (["unpause", "kafka"], r"kafka: goes on\n"),
        (["registry"], r"REGISTRY +KEYS .*\nusers +unique .*\n"),
        (["registry", "users"], r"KEY  PID  VALUE\n"),
    ],
)
def test_a_command_does_what_it_says(arguments: list[str], out: str, said: Said) -> None:
    status, shown, err = said(*arguments)
    assert (status, err) == (0, "")
    assert re.fullmatch(out, shown), shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["info", "services/ecko-1"],
            "there is no process 'services/ecko-1'; did you mean 'services/echo-1'?",
        ),
        (["restart", "/"], "/ is the root of the tree; `stop` ends the whole system"),
        (["start", "services/echo-1"], "services/echo-1 runs already; `restart` stops it first"),
        (["resize", "kafak", "3"], "there is no lock 'kafak'; did you mean 'kafka'?"),
        (["registry", "user"], "there is no registry 'user'; did you mean 'users'?"),
        (["registry", "users", "ann"], "registry 'users' has no key 'ann'"),
        (["logs", "servces"], "there is no process 'servces'; did you mean 'services'?"),
        (["call", "pool", "1"], "the call of pool failed: "),
    ],
)
def test_what_the_system_refuses_is_a_sentence_and_status_1(
    arguments: list[str], sentence: str, said: Said
) -> None:
    status, out, err = said(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith(f"resprout: {sentence}")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["restat", "x"], "invalid choice: 'restat'"),
        (["restart"], "the following arguments are required: PROCESS"),
        (["restart", "a", "b"], "expected fewer arguments, got besides: b; resprout restart --help"),
        (["call", "a", "text"], """expected JSON, got: 'text'; a text has quotes of its own: '"text"'"""),
        (["call", "a", "1", "--timeout", "long"], "expected a number of seconds from 0 to 3600, got: 'long'"),
        (["resize", "a", "0"], "expected a whole number from 1 on, got: '0'"),
        (["ps", "--sort", "size"], "invalid choice: 'size'"),
        (["ps", "--jsno"], "unrecognized arguments: --jsno; did you mean '--json'?"),
        (["completion", "csh"], "invalid choice: 'csh'"),
    ],
)
def test_a_wrong_command_line_is_a_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


def test_no_system_is_a_sentence_and_status_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps", "--socket", str(tmp_path / "no")]) == 3
    assert capsys.readouterr().err.startswith(
        f"resprout: no system listens at {tmp_path / 'no'}: No such file"
    )


def test_a_message_may_come_from_standard_input(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"from": "stdin"}'))
    assert said("call", "echo-0", "-")[1] == '{"from": "stdin"}\n'


def test_crashes_and_logs_tell_what_went_wrong(said: Said, told: Callable[..., Any]) -> None:
    assert said("call", "crasher", "1")[0] == 1
    (found,) = told("crashes")
    assert (found["reason"], found["path"]) == ("ValueError: the disk is on fire", "services/crasher")
    out = said("crashes")[1].splitlines()
    assert re.match(r"[-\d]+ [:.\d]+ services/crasher \(Crasher\) ValueError: the disk is on fire \(", out[0])
    assert out[-1] == "ValueError: the disk is on fire"
    said("send", "echo-0", '"\\u001b[31mred"')
    until(lambda: "red" in said("logs", "services/echo-0")[1])
    shown = said("logs", "services/echo-0", "-n", "1")[1]
    assert re.fullmatch(r"[-\d]+ [:.\d]+ WARNING work \[services/echo-0\]: info '\\x1b\[31mred'\n", shown), (
        shown
    )
    assert json.loads(said("logs", "services/echo-0", "-n", "1", "--json")[1])["level"] == "WARNING"


def test_logs_are_followed_until_the_reader_goes_and_nobody_complains(running: Path, said: Said) -> None:
    following = subprocess.Popen(
        command("logs", "-f", "-n", "0", "services/echo-1", "--socket", running),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    assert following.stderr is not None

    def followed() -> bool:
        said("send", "echo-1", '"hello"')
        with Client(running) as client:
            return bool(client.ask("status")) and following.poll() is None

    while not select.select([following.stdout], [], [], 0.05)[0]:
        assert followed()
    assert "[services/echo-1]: info 'hello'" in following.stdout.readline()
    following.stdout.close()
    while following.poll() is None:
        said("send", "echo-1", '"hello"')
    assert (following.returncode, following.stderr.read()) == (0, "")
    following.stderr.close()


def test_a_pipe_whose_reader_has_gone_is_nothing_to_complain_of(running: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("ps", "--socket", running),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=WATCHDOG,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_doctor_finds_nothing_wrong_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ok  kinds of children: .*worker", out, re.MULTILINE)
    assert re.search(r"^ok  runtime directory ", out, re.MULTILINE)
    assert main(["doctor", "--json"]) == 0
    assert all(each["ok"] for each in json.loads(capsys.readouterr().out))


def test_doctor_finds_a_runtime_directory_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "no"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "no"))
    assert main(["doctor"]) == 1
    assert re.search(r"^BAD runtime directory .*; set XDG_RUNTIME_DIR", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("run", "check", *COMMANDS):
        assert re.search(rf"\b{word}\b", script)


def test_bash_completes_commands_options_and_processes(
    running: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    program = tmp_path / "complete"
    program.write_text(
        f'resprout() {{ {shlex.join(command())} "$@" --socket {running}; }}\n{script}\n'
        'complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _resprout; echo "${COMPREPLY[@]}"; }\n'
        "complete_it resprout re\ncomplete_it resprout call --ti\ncomplete_it resprout info services/e\n"
    )
    done = subprocess.run(["bash", program], capture_output=True, text=True, timeout=WATCHDOG, check=True)
    assert done.stdout.splitlines() == [
        "restart resume resize registry reload",
        "--timeout",
        "services/echo-0 services/echo-1 services/echo-2",
    ]


def test_bash_takes_a_process_and_a_file_as_they_are_and_runs_nothing_that_stands_in_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "a b").touch()
    (tmp_path / "a*").touch()
    program = tmp_path / "complete"
    program.write_text(
        f"{script}\nresprout() {{ printf '%s\\n' 'u/$(touch ran)' 'u/`touch ran`' 'u/b c' 'u/*' 'v'; }}\n"
        'complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _resprout\n'
        'printf "%s\\n" "${COMPREPLY[@]}"; }\n'
        "complete_it resprout info u\necho\n"
        "complete_it resprout info 'u/b\\ '\necho\n"
        "complete_it resprout check a\n"
    )
    done = subprocess.run(
        ["bash", program], capture_output=True, text=True, timeout=WATCHDOG, check=True, cwd=tmp_path
    )
    processes, spaced, files = done.stdout.split("\n\n")
    quoted = processes.splitlines()
    assert quoted == [r"u/\$\(touch\ ran\)", r"u/\`touch\ ran\`", r"u/b\ c", r"u/\*"]
    assert spaced == r"u/b\ c"
    assert sorted(files.splitlines()) == ["a b", "a*"]
    assert not (tmp_path / "ran").exists()


_COMPLETING = {
    # What takes the candidates in zsh is there only while a line is edited.
    "zsh": 'compdef() {{ }}\ncompadd() {{ print -rl -- "${{@:2}}" }}\n{script}\n{odd}\n'
    "words=(resprout info u) CURRENT=3\n_resprout\n",
    "fish": "{odd}\n{script}\ncomplete -C 'resprout info u'\n",
}
_ODD = {
    "zsh": "resprout() {{ printf '%s\\n' {} }}",
    "fish": "function resprout; printf '%s\\n' {}; end",
}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_take_a_process_as_it_is_and_run_nothing_that_stands_in_it(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    assert main(["completion", shell]) == 0
    odd = ["u/$(touch ran)", "u/`touch ran`", "u/(touch ran)", "u/b c", "u/*"]
    called = _ODD[shell].format(" ".join(f"'{each}'" for each in odd))
    text = _COMPLETING[shell].format(script=capsys.readouterr().out, odd=called)
    done = subprocess.run(
        [shell, "/dev/stdin"],
        input=text,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert (sorted(done.stdout.splitlines()), done.stderr) == (sorted(odd), "")
    assert not (tmp_path / "ran").exists()


def test_paths_are_written_one_a_line_whatever_stands_in_them(
    listening: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, listener = listening()
    start = (lambda: process.spawn_link(process.receive),)
    DynamicSupervisor.start_child("pool", ChildSpec("two\nlines \x1b[31m", start))
    assert main(["ps", "pool", "--paths", "--socket", str(listener.path)]) == 0
    assert capsys.readouterr().out == "pool\npool/two\\nlines \\x1b[31m #1\n"


def test_a_new_project_is_right_and_its_test_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my shop"
    assert main(["new", str(folder)]) == 0
    assert "resprout run tree.yaml" in capsys.readouterr().out
    assert main(["new", str(folder)]) == 1
    assert "not to exist, or to be an empty folder" in capsys.readouterr().err
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout


@pytest.mark.parametrize(
    ("name", "why"),
    [("queue", "is that of a module"), ("PyTest", "is that of a module"), ("class", "is a word")],
)
def test_a_project_whose_package_would_hide_a_module_is_refused_before_anything_is_made(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", name]) == 1
    err = capsys.readouterr().err
    assert f"got: {name!r}, which {why}" in err
    assert err.endswith(f"choose another one, such as {name.lower()}_app\n")
    assert list(tmp_path.iterdir()) == []
    assert main(["new", f"{name}_app"]) == 0
    assert (tmp_path / f"{name}_app" / f"{name.lower()}_app" / "counter.py").exists()


def test_a_tree_is_reloaded_and_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(f"/tmp/resprout-stop-{os.getpid()}.sock")
    (tmp_path / "tree.yaml").write_text("name: brief\nchildren: [{throttle: a, num_slots: 1}]\n")
    program = subprocess.Popen(
        command("run", tmp_path / "tree.yaml", "--quiet", "--socket", path), stderr=subprocess.PIPE
    )
    until(lambda: path.exists() and state(path) == "running")

    def said(*arguments: str) -> tuple[int, str, str]:
        status = main([*arguments, "--socket", str(path)])
        return (status, *capsys.readouterr())

    (tmp_path / "tree.yaml").write_text("name: brief\nchildren: [{throttle: b, num_slots: 1}]\n")
    assert said("reload", "--dry-run") == (0, "a: would be stopped\nb: would be started\n", "")
    with Client(path) as client:
        told = client.ask("reload")
        assert (told["stopped"], told["started"], told["failed"]) == (["a"], ["b"], [])
        assert client.ask("reload")["started"] == []
        (tmp_path / "tree.yaml").write_text("name: brief\nchildren: [{throttle: b, num_slots: 0}]\n")
        with pytest.raises(Refusal, match="expected num_slots to be a positive integer, got: 0") as refused:
            client.ask("reload")
        assert refused.value.kind == "invalid_tree"
    assert said("stop") == (0, "brief has stopped\n", "")
    assert program.wait(WATCHDOG) == 0
    assert program.stderr is not None
    assert program.stderr.read() == b""
    program.stderr.close()
