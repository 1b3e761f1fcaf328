from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import pytest

from resprout.cli import main

from .programs import resprout as command

WATCHDOG = 60.0
pytestmark = pytest.mark.usefixtures("hangups_are_not_ignored")

WORK = '''
"""Workers for the trees of these tests; what they do is in the file `log`, in that order."""

import os
from pathlib import Path

from resprout.actors import GenServer, NoReply, Ok, Stop, process
from resprout.observer import Progress
from resprout.supervision import ChildSpec, DynamicSupervisor


HERE = Path(__file__).parent


def log(line):
    with open(HERE / "log", "a") as file:
        file.write(line + "\\n")


class Steady(GenServer):
    """Serves until it is told to stop."""

    trap_exit = True

    def init(self, arg):
        log(f"{arg['name']} started")
        return Ok(arg["name"])

    def terminate(self, reason, name):
        log(f"{name} stopped: {reason}")


class Announcer(Steady):
    """Says on stdout that the tree is up."""

    def init(self, arg):
        print("ready", flush=True)
        return super().init(arg)


class Stuck(Announcer):
    """Does not stop when it is told to."""

    def terminate(self, reason, name):
        print("stuck", flush=True)
        import threading
        threading.Event().wait()


class Slow(Announcer):
    """Takes until it is let go to stop."""

    def terminate(self, reason, name):
        print("stopping", flush=True)
        (HERE / "go on").read_text()  # a pipe, whose other end the test opens
        super().terminate(reason, name)


class Hung(GenServer):
    """Is stuck in a callback, with a message in its mailbox."""

    def init(self, _):
        GenServer.cast(self.pid, "hang")
        GenServer.cast(self.pid, "wait")
        return Ok(None)

    def handle_cast(self, message, state):
        hangs_here()


def hangs_here():
    import threading
    print("ready", flush=True)
    threading.Event().wait()


class Brief(GenServer):
    """Is done at once."""

    def init(self, _):
        GenServer.cast(self.pid, "end")
        return Ok(None)

    def handle_cast(self, message, state):
        return Stop("normal", state)


class Crasher(Brief):
    """Crashes at once."""

    def handle_cast(self, message, state):
        raise ValueError("the disk is on fire")


class Unstartable(GenServer):
    def init(self, _):
        return Stop("no disk")


class Odd:
    """No job."""

    def progress(self):
        return Progress(0, 0)


done = 0


class Job:
    def __init__(self, fail=None, total=10):
        if fail == "init":
            raise ValueError("no such database")
        self.fail, self.total = fail, total

    def progress(self):
        if self.fail == "progress":
            raise ValueError("no progress")
        return Progress(done, self.total, "pieces")

    def report(self):
        if self.fail == "report":
            raise ValueError("the database is gone")
        return {"processed": done, "expected": self.total}

    def summary(self):
        return f"{done} of {self.total} pieces done"


class Starter(GenServer):
    """Starts readers while the tree runs, and something that nobody starts again."""

    def init(self, readers):
        reader = ChildSpec("reader", (Steady.start_link, ({"name": "r"},)))
        for _ in range(3):
            DynamicSupervisor.start_child(readers["under"], reader)
        once = ChildSpec("once", (Steady.start_link, ({"name": "o"},)), restart="temporary")
        DynamicSupervisor.start_child(readers["under"], once)
        return Ok(None)


class Digger(GenServer):
    """Does pieces of work until all of them are done, by whomever."""

    def init(self, arg):
        GenServer.cast(self.pid, arg["total"])
        return Ok(None)

    def handle_cast(self, total, state):
        global done
        process.sleep(0.001)
        if done >= total:
            return Stop("normal", state)
        done += 1
        GenServer.cast(self.pid, total)
        return NoReply(state)
'''


@attrs.frozen
class Workplace:
    """A folder with a tree file and the workers that it names."""

    folder: Path

    def write(self, tree: str) -> Path:
        path = self.folder / "tree.yaml"
        path.write_text(tree)
        return path

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    (tmp_path / "work.py").write_text(WORK)
    return Workplace(tmp_path)


Resprout = Callable[..., "subprocess.CompletedProcess[str]"]
Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def resprout(place: Workplace) -> Resprout:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            cwd=place.folder,
            capture_output=True,
            text=True,
            timeout=WATCHDOG,
            check=False,
        )

    return run


@pytest.fixture
def begin(place: Workplace) -> Iterator[Begin]:
    """Begins a command, and ends it should the test fail to."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: object, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [*before, *command(*arguments)],
            cwd=place.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(program)
        return program

    yield start
    for program in begun:
        program.kill()
        program.wait()
        for pipe in (program.stdout, program.stderr):
            if pipe is not None:
                pipe.close()


def until(program: subprocess.Popen[str], word: str) -> None:
    """Reads what the program writes up to a line; its end would be a failure."""
    assert program.stdout is not None
    while line := program.stdout.readline():
        if line.strip() == word:
            return
    pytest.fail(f"it ended before it wrote {word!r}: {program.communicate()[1]}")


NOHUP = ("sh", "-c", 'trap "" HUP; exec "$@"', "nohup")
"""As nohup(1), which would also redirect the output."""


def shown(program: subprocess.Popen[str]) -> str:
    """What SIGQUIT has it write."""
    assert program.stderr is not None
    text = ""
    while line := program.stderr.readline():
        text += line
        if line == "== end ==\n":
            return text
    pytest.fail(f"it ended before all was shown: {text}")


def finish(program: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = program.communicate(timeout=WATCHDOG)
    return program.returncode, out, err


SERVICE = """
name: service
strategy: rest_for_one
children:
  - {worker: first, start: "work:Steady", args: {name: first}}
  - supervisor: inner
    children:
      - {worker: second, start: "work:Steady", args: {name: second}}
  - {worker: last, start: "work:Announcer", args: {name: last}}
"""

DIGGING = """
name: digging
auto_shutdown: any_significant
job: {start: "work:Job", args: {total: 3000}}
children:
  - supervisor: services
    max_restarts: 1000
    children:
      - {registry: places}
      - {throttle: shovels, num_slots: 2}
      - {worker: single, start: "work:Steady", args: {name: single}}
  - supervisor: diggers
    restart: transient
    significant: true
    auto_shutdown: all_significant
    max_restarts: 1000
    children:
      - worker: digger
        replicas: 5
        start: work:Digger
        args: {total: 3000}
        restart: transient
        significant: true
"""

BRIEF = """
name: brief
auto_shutdown: any_significant
job: {start: "work:Job", args: {fail: "${fail:-}"}}
children:
  - {worker: steady, start: "work:Steady", args: {name: steady}}
  - {worker: brief, start: "work:Brief", restart: transient, significant: true}
"""


# The command line itself


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"resprout {version('resprout')}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["check", "--help"]])
def test_help_has_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert "examples:\n  resprout " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "error: expected a command, such as run, check or ps; resprout --help says more\n"),
        (["walk"], "invalid choice: 'walk'"),
        (["run"], "the following arguments are required: TREE.yaml"),
        (["run", "t.yaml", "--set", "port"], "expected NAME=VALUE, got: 'port'"),
        (["check", "t.yaml", "--set", "=1"], "expected NAME=VALUE, got: '=1'"),
        (["run", "t.yaml", "--chaos", "-1"], "expected a whole number from 0 on, got: '-1'"),
        (["run", "t.yaml", "--chaos", "many"], "expected a whole number from 0 on, got: 'many'"),
        (["run", "t.yaml", "--plain", "--quiet"], "not allowed with argument --plain"),
        (["check", "t.yaml", "-"], "error: expected one TREE.yaml, got: t.yaml -\n"),
        (["check", "t.yaml", "u.yaml"], "error: expected one TREE.yaml, got: t.yaml u.yaml\n"),
        (["chek", "t.yaml"], "did you mean 'check'?"),
        (["run", "t.yaml", "--plian"], "unrecognized arguments: --plian; did you mean '--plain'?"),
        (["help"], "did you mean '--help'?"),
        (["--verson"], "in front of its options, got: --verson; did you mean '--version'?\n"),
        (
            ["--set", "a=b", "check", "t.yaml"],
            "a command, such as run, check or ps, in front of its options, got: --set\n",
        ),
        # What stands behind an option that is unknown is not to blame, nor is the file.
        (["run", "--chaoss", "2", "t.yaml"], "unrecognized arguments: --chaoss; did you mean '--chaos'?\n"),
        (["check", "--st=a=1", "t.yaml"], "unrecognized arguments: --st=a=1; did you mean '--set'?\n"),
        (
            ["run", "t.yaml", "--log-level", "inf"],
            "expected one of debug, info, warning, error, critical, got: 'inf'; did you mean 'info'?\n",
        ),
        (["run", "t.yaml", "--log-format", "jsn"], "one of text, json, got: 'jsn'; did you mean 'json'?\n"),
        (["run", "t.yaml", "--seed", "3"], "expected --seed only together with --chaos N, got no --chaos\n"),
        (["run", "t.yaml", "--chaos-only", "a"], "expected --chaos-only only together with --chaos N"),
        (["run", "t.yaml", "--chaos-spare", "a"], "expected --chaos-spare only together with --chaos N"),
    ],
)
def test_wrong_arguments_are_named_in_a_sentence_with_what_was_probably_meant(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "check"])
def test_a_file_that_is_not_there_is_a_sentence(name: str, resprout: Resprout) -> None:
    ended = resprout(name, "no.yaml")
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2
    assert said.startswith("no.yaml:")
    assert len(said.splitlines()) == 1


# check


def test_check_counts_a_valid_tree_and_starts_nothing(place: Workplace, resprout: Resprout) -> None:
    place.write(SERVICE)
    ended = resprout("check", "tree.yaml")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ok: 2 supervisors, 4 children\n", "")
    assert place.log == []


def test_check_counts_every_replica(place: Workplace, resprout: Resprout) -> None:
    place.write(DIGGING)
    assert resprout("check", "tree.yaml").stdout == "ok: 3 supervisors, 10 children\n"


@pytest.mark.parametrize("name", ["run", "check"])
def test_all_mistakes_are_found_in_one_go(name: str, place: Workplace, resprout: Resprout) -> None:
    place.write(SERVICE.replace("rest_for_one", "rest_of_one").replace("worker: last", "wurker: last"))
    ended = resprout(name, "tree.yaml")
    lines = (ended.stdout + ended.stderr).splitlines()
    assert ended.returncode == 2
    assert re.match(r"tree\.yaml:3:11: strategy: .*'rest_for_one'", lines[0])
    assert re.match(r"tree\.yaml:9:\d+: children\[2\]", lines[1])
    assert place.log == [], "nothing is started when a tree is invalid"


def test_a_setting_is_the_value_of_a_variable(place: Workplace, resprout: Resprout) -> None:
    place.write(SERVICE.replace("name: last", 'name: "${who}"'))
    assert resprout("check", "tree.yaml", "--set", "who=me").returncode == 0
    assert "who" in resprout("check", "tree.yaml").stdout


@pytest.mark.parametrize("name", ["run", "check"])
def test_a_job_that_lacks_something_is_known_before_the_run(
    name: str, place: Workplace, resprout: Resprout
) -> None:
    place.write(BRIEF.replace('"work:Job", args: {fail: "${fail:-}"}', '"work:Odd"'))
    ended = resprout(name, "tree.yaml")
    assert ended.returncode == 2
    assert "tree.yaml: job: work:Odd has no report(), summary()" in ended.stdout + ended.stderr


# run, to its end


def test_a_run_ends_with_its_root_and_tells_what_it_came_to(place: Workplace, resprout: Resprout) -> None:
    place.write(DIGGING)
    ended = resprout("run", "tree.yaml", "--report", "report.json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "3000 of 3000 pieces done" in ended.stdout
    report = place.report
    assert (report["name"], report["exit_status"], report["reason"]) == ("digging", 0, "finished")
    assert (report["processed"], report["expected"], report["restarts"]) == (3000, 3000, 0)
    assert (report["chaos"], report["crashes"]) == (None, [])
    assert 0 < report["seconds"] < WATCHDOG
    assert place.log == ["single started", "single stopped: shutdown"]


def test_a_quiet_run_says_nothing(place: Workplace, resprout: Resprout) -> None:
    place.write(BRIEF)
    ended = resprout("run", "tree.yaml", "--quiet")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_no_thread_of_the_observer_survives_a_run(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    path = place.write(BRIEF.replace("work:", f"work_{place.folder.name}:"))
    (place.folder / "work.py").rename(place.folder / f"work_{place.folder.name}.py")
    assert main(["run", str(path), "--plain", "--chaos", "3"]) == 0
    assert [thread.name for thread in threading.enumerate() if "observer" in thread.name] == []


def test_a_terminal_gets_the_live_picture(place: Workplace) -> None:
    pytest.importorskip("rich", reason="the live picture is an extra")
    place.write(DIGGING)
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        command("run", "tree.yaml"),
        cwd=place.folder,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # Linux says EIO when the other end of a terminal is closed
    finally:
        os.close(ours)
        program.wait(WATCHDOG)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert program.returncode == 0
    for part in ("digger x5", "shovels", "of 3,000 pieces", "3000 of 3000 pieces done"):
        assert part in text


def test_a_reader_that_went_away_does_not_stop_the_run(place: Workplace, begin: Begin) -> None:
    place.write(DIGGING)
    program = begin("run", "tree.yaml", "--report", "report.json")
    assert program.stdout is not None
    program.stdout.close()
    assert program.wait(WATCHDOG) == 0
    assert program.stderr is not None
    assert program.stderr.read() == ""
    assert place.report["processed"] == 3000


# run, ended from outside


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_tree_in_reverse_order(
    number: signal.Signals, place: Workplace, begin: Begin
) -> None:
    place.write(SERVICE)
    program = begin("run", "tree.yaml", "--report", "report.json")
    until(program, "ready")
    program.send_signal(number)
    status, out, err = finish(program)
    assert (status, err) == (0, "")
    assert place.log == [
        "first started",
        "second started",
        "last started",
        "last stopped: shutdown",
        "second stopped: shutdown",
        "first stopped: shutdown",
    ]
    assert f"stopped by {number.name}" in out
    assert (place.report["exit_status"], place.report["reason"]) == (0, f"stopped by {number.name}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_stops_at_once(number: signal.Signals, place: Workplace, begin: Begin) -> None:
    place.write(SERVICE.replace('"work:Announcer"', '"work:Stuck", shutdown: infinity'))
    program = begin("run", "tree.yaml", "--report", "report.json")
    until(program, "ready")
    program.send_signal(number)
    until(program, "stuck")
    # Two that come within a moment count as one, as both a terminal and a parent may send one.
    while program.poll() is None:
        program.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            program.wait(1.0)
    status, _, err = finish(program)
    assert status == 128 + number
    assert "Traceback" not in err
    assert place.report["reason"] == f"stopped by {number.name} and at once by another"


def test_hangups_that_come_together_are_one(place: Workplace, begin: Begin) -> None:
    place.write(SERVICE.replace('"work:Announcer"', '"work:Slow"'))
    os.mkfifo(place.folder / "go on")
    program = begin("run", "tree.yaml", "--report", "report.json")
    until(program, "ready")
    program.send_signal(signal.SIGTERM)
    until(program, "stopping")
    # As systemd does, and a shell whose terminal is closed.
    program.send_signal(signal.SIGHUP)
    (place.folder / "go on").write_text("")
    assert finish(program)[0] == 0
    assert place.report["reason"] == "stopped by SIGTERM"
    assert place.log[-1] == "first stopped: shutdown"


def test_a_hangup_that_is_ignored_stays_ignored(place: Workplace, begin: Begin) -> None:
    place.write(SERVICE)
    program = begin("run", "tree.yaml", "--report", "report.json", before=NOHUP)
    until(program, "ready")
    program.send_signal(signal.SIGHUP)
    # Python sees to signals in the order of their numbers, and this shows that it has.
    program.send_signal(signal.SIGQUIT)
    assert "Processes:\n" in shown(program)
    program.send_signal(signal.SIGTERM)
    assert finish(program)[0] == 0
    assert place.report["reason"] == "stopped by SIGTERM"


@pytest.mark.parametrize("look", ["--plain", "--quiet", ""])
def test_a_terminal_that_is_closed_stops_the_tree_in_order(look: str, place: Workplace) -> None:
    place.write(SERVICE)
    ours, theirs = pty.openpty()
    # The first terminal that the leader of a session opens becomes the one whose end it is told of.
    opens = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>"$0"', os.ttyname(theirs)]
    program = subprocess.Popen(
        [*opens, *command("run", "tree.yaml", "--report", "report.json", *look.split())],
        cwd=place.folder,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    try:
        seen = b""
        while b"ready\r\n" not in seen:
            seen += os.read(ours, 65536)
        os.close(theirs)
        os.close(ours)
        assert program.wait(WATCHDOG) == 0
    finally:
        program.kill()
        program.wait()
    assert place.log[-3:] == [f"{each} stopped: shutdown" for each in ("last", "second", "first")]
    assert (place.report["exit_status"], place.report["reason"]) == (0, "stopped by SIGHUP")


def test_sigquit_shows_what_everybody_is_doing_and_the_tree_goes_on(place: Workplace, begin: Begin) -> None:
    place.write(
        "name: stuck\nchildren:\n"
        '  - {worker: good, start: "work:Steady", args: {name: good}, name: good}\n'
        '  - {worker: bad, start: "work:Hung", name: bad, shutdown: brutal_kill}\n'
    )
    program = begin("run", "tree.yaml", "--report", "report.json")
    until(program, "ready")
    for _ in range(2):
        program.send_signal(signal.SIGQUIT)
        text = shown(program)
        assert re.search(
            r"<0\.\d+ good>: server of class Steady, name 'good', waiting, 0 in its mailbox", text
        )
        assert re.search(r"<0\.\d+ bad>: server of class Hung, name 'bad', running, 1 in its mailbox", text)
        assert "in hangs_here\n" in text.partition("Threads")[0]
        assert re.search(r"\d+ 'MainThread'.*:\n", text.partition("Threads")[2])
    program.send_signal(signal.SIGTERM)
    status, _, err = finish(program)
    assert (status, err) == (0, "")
    assert place.report["reason"] == "stopped by SIGTERM"
    assert place.log[-1] == "good stopped: shutdown"


# run, to a bad end


def test_a_tree_that_gives_up_names_the_child(place: Workplace, resprout: Resprout) -> None:
    place.write(BRIEF.replace("work:Brief", "work:Crasher"))
    ended = resprout("run", "tree.yaml", "--report", "report.json")
    assert ended.returncode == 1
    assert "'brief'" in ended.stderr
    assert "the disk is on fire" in ended.stderr
    report = place.report
    assert (report["exit_status"], report["restarts"]) == (1, 3)
    assert report["reason"] == (
        "a supervisor gave up: more than 3 restarts among its children in 5 s, last of child 'brief': "
        "ValueError: the disk is on fire"
    )
    assert report["processed"] == 0, "the job reports however the run ended"


def test_a_tree_that_does_not_start_says_why(place: Workplace, resprout: Resprout) -> None:
    place.write(BRIEF.replace("work:Brief", "work:Unstartable"))
    ended = resprout("run", "tree.yaml", "--report", "report.json")
    assert ended.returncode == 1
    assert "'brief'" in ended.stderr
    assert "no disk" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "ERROR resprout.application: application brief did not start: tree.yaml:7:5: child 'brief': 'no disk'"
    )
    assert place.report["reason"] == "the tree did not start: child 'brief': 'no disk'"
    assert f"ended     {place.report['reason']}\n" in ended.stdout
    assert place.log == ["steady started", "steady stopped: shutdown"]


@pytest.mark.parametrize(
    ("fail", "status", "said"),
    [
        ("init", 1, "the job could not be made"),
        ("report", 1, "the job could not report"),
        ("progress", 0, "the job does not tell its progress"),
    ],
)
def test_a_job_that_fails_is_reported_and_takes_nothing_with_it(
    fail: str, status: int, said: str, place: Workplace, resprout: Resprout
) -> None:
    # Long enough for somebody to ask for the progress.
    place.write(DIGGING.replace('"work:Job", args: {', '"work:Job", args: {fail: "${fail}", '))
    ended = resprout("run", "tree.yaml", "--set", f"fail={fail}", "--report", "report.json", "--chaos", "1")
    assert ended.returncode == status
    assert said in ended.stderr
    assert place.report["exit_status"] == status


def test_a_report_that_cannot_be_written_is_known_before_the_run(
    place: Workplace, resprout: Resprout
) -> None:
    place.write(SERVICE)
    ended = resprout("run", "tree.yaml", "--report", "no/report.json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "resprout: the report cannot be written: there is no folder no\n"
    assert place.log == []


# run, under chaos


def test_chaos_takes_down_every_kind_and_lists_how_each_came_back(
    place: Workplace, resprout: Resprout
) -> None:
    place.write(DIGGING)
    ended = resprout("run", "tree.yaml", "--chaos", 30, "--seed", 7, "--report", "report.json")
    assert (ended.returncode, ended.stderr) == (0, ""), "crashes on purpose are listed, not logged"
    report = place.report
    assert report["processed"] == 3000
    assert report["chaos"] == {"wanted": 30, "seed": 7}
    assert len(report["crashes"]) == 30
    assert report["restarts"] == 30
    kinds = [crash["kind"] for crash in report["crashes"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"lock": 10, "registry": 10, "worker": 10}
    assert {crash["how"] for crash in report["crashes"]} == {"exception", "kill"}
    assert all("digger" in crash["child"] for crash in report["crashes"] if crash["kind"] == "worker")
    times = [crash["seconds_until_serving"] for crash in report["crashes"]]
    assert all(0 <= seconds < WATCHDOG for seconds in times)
    assert "30 of 30, seed 7" in ended.stdout


def test_chaos_takes_down_what_the_program_starts_unless_nobody_starts_it_again(
    place: Workplace, resprout: Resprout
) -> None:
    dynamic = (
        "  - {dynamic_supervisor: partitions, max_restarts: 1000}\n"
        '  - {worker: starter, start: "work:Starter", args: {under: partitions}}\n'
    )
    place.write(DIGGING.replace("children:\n", f"children:\n{dynamic}", 1))
    ended = resprout("run", "tree.yaml", "--chaos", 40, "--seed", 7, "--report", "report.json")
    assert (ended.returncode, ended.stderr) == (0, "")
    taken = [crash for crash in place.report["crashes"] if crash["child"].startswith("partitions/")]
    assert len(taken) == 10
    assert {crash["child"] for crash in taken} == {f"partitions/reader #{number}" for number in (1, 2, 3)}
    assert {crash["how"] for crash in taken} == {"exception", "kill"}
    assert all(0 <= crash["seconds_until_serving"] < WATCHDOG for crash in taken)


def test_chaos_leaves_alone_who_is_spared(place: Workplace, resprout: Resprout) -> None:
    place.write(DIGGING)
    resprout(
        "run", "tree.yaml", "--chaos", 10, "--chaos-spare", "digger", "--chaos-spare", "places",
        "--report", "report.json",
    )  # fmt: skip
    assert {crash["child"] for crash in place.report["crashes"]} == {"services/shovels"}


def test_a_name_that_is_no_childs_is_told_before_the_run(place: Workplace, resprout: Resprout) -> None:
    place.write(DIGGING)
    ended = resprout("run", "tree.yaml", "--chaos", 10, "--chaos-spare", "diger")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "resprout: the tree has no child 'diger'; did you mean 'digger'?\n"
    assert place.log == []


def test_more_crashes_than_the_intensity_allows_end_the_run(place: Workplace, resprout: Resprout) -> None:
    place.write(DIGGING.replace("max_restarts: 1000", "max_restarts: 2"))
    ended = resprout("run", "tree.yaml", "--chaos", 100, "--seed", 1, "--report", "report.json")
    assert ended.returncode == 1
    assert "more than 2 restarts" in ended.stderr
    assert "more than 2 restarts among its children" in place.report["reason"]
    assert len(place.report["crashes"]) < 100


SENDER = 'children: [{worker: w, run: \'work:nothing\', "\\e[31m": 1, "\\ud800\\n": 2}, {worker: é, strt: 1}]'


def test_check_reads_a_tree_from_standard_input(place: Workplace) -> None:
    checked = subprocess.run(
        command("check", "-"), cwd=place.folder, input=SERVICE, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "ok: 2 supervisors, 4 children\n")


def test_a_run_reads_a_tree_from_standard_input(place: Workplace) -> None:
    tree = "children: [{worker: a, start: 'work:Brief', restart: transient, significant: true}]\n"
    ran = subprocess.run(
        command("run", "-", "--quiet"),
        cwd=place.folder,
        input="auto_shutdown: any_significant\n" + tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_mistakes_of_standard_input_say_so(place: Workplace) -> None:
    checked = subprocess.run(
        command("check", "-"),
        cwd=place.folder,
        input="children: 3",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (
        2,
        "<stdin>:1:11: children: expected a list, got: 3\n",
    )


@pytest.mark.parametrize(
    "redirection",
    ["| true", "| head -1", ">&-", "> /dev/null", "2>&-", "< /dev/null"],
)
def test_check_ends_as_ever_wherever_its_output_goes(place: Workplace, redirection: str) -> None:
    place.write(SENDER)
    line = f'{shlex.join(command("check", "tree.yaml"))} {redirection}; echo "${{PIPESTATUS[0]}}" >&3'
    checked = subprocess.run(
        ["bash", "-c", f"exec 3>status; {line}"],
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ((place.folder / "status").read_text(), checked.stderr) == ("2\n", "")


def test_a_disk_that_is_full_is_told_in_a_line(place: Workplace) -> None:
    place.write(SENDER)
    with open("/dev/full", "w") as full:
        checked = subprocess.run(
            command("check", "tree.yaml"),
            cwd=place.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert checked.returncode == 2
    assert checked.stderr == "resprout: the result cannot be written: [Errno 28] No space left on device\n"


def test_what_a_terminal_would_obey_or_lacks_is_escaped(place: Workplace) -> None:
    place.write(SENDER)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    checked = subprocess.run(
        command("check", "tree.yaml"),
        cwd=place.folder,
        env={**os.environ, **plain},
        capture_output=True,
        check=False,
    )
    lines = checked.stdout.decode("ascii").splitlines()
    assert checked.returncode == 2
    assert checked.stderr == b""
    assert [line.split(": ")[0] for line in lines] == [f"tree.yaml:1:{at}" for at in (29, 45, 58, 74, 86)]
    assert "\\x1b[31m: unknown key '\\x1b[31m'" in lines[1]
    assert "\\ud800\\n: unknown key" in lines[2]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Bare(BaseException): pass\nraise Bare('a\\n\\x1b[31mb')", "Bare: a \\x1b[31mb"),
        ("raise GeneratorExit", "GeneratorExit"),
        (
            "class Mute(Exception):\n    def __str__(self): raise SystemExit\nraise Mute",
            "Mute: (its text cannot be had",
        ),
    ],
)
def test_a_module_that_raises_whatever_is_a_mistake(
    place: Workplace, resprout: Resprout, module: str, reason: str
) -> None:
    (place.folder / "odd.py").write_text(module)
    place.write("children: [{worker: w, run: 'odd:f'}]")
    checked = resprout("check", "tree.yaml")
    assert (checked.returncode, checked.stderr) == (2, "")
    [line] = checked.stdout.splitlines()
    assert f"tree.yaml:1:29: children[0].run: importing odd failed: {reason}" in line


def test_a_child_spec_that_exits_is_a_mistake(place: Workplace, resprout: Resprout) -> None:
    (place.folder / "odd.py").write_text("class Odd:\n    def child_spec(arg=None): raise SystemExit(3)")
    place.write("children: [{worker: w, start: 'odd:Odd'}]")
    checked = resprout("check", "tree.yaml")
    assert (checked.returncode, checked.stdout, checked.stderr) == (
        2,
        "tree.yaml:1:12: children[0]: SystemExit: 3\n",
        "",
    )


def test_ctrl_c_while_a_module_is_imported_ends_the_check(place: Workplace, resprout: Resprout) -> None:
    (place.folder / "odd.py").write_text("raise KeyboardInterrupt")
    place.write("children: [{worker: w, run: 'odd:f'}]")
    checked = resprout("check", "tree.yaml")
    assert (checked.returncode, checked.stdout, checked.stderr) == (130, "", "resprout: interrupted\n")


@pytest.mark.parametrize(
    ("port", "advice"),
    [("'${port:-%d}'", "with --set port=..."), ("%d", "in the tree file, port: of 'api'")],
)
def test_a_port_that_is_taken_is_one_line(
    place: Workplace, resprout: Resprout, port: str, advice: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        (place.folder / "web.py").write_text("async def app(scope, receive, send): ...")
        place.write(
            "job: {start: 'work:Job'}\n"
            f"children: [{{supervisor: s, children: [{{asgi: api, app: 'web:app', port: {port % number}}}]}}]"
        )
        ran = resprout("run", "tree.yaml", "--report", "report.json")
    sentence = f"cannot listen on 127.0.0.1:{number}: Address already in use; choose another {advice}"
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", f"resprout: {sentence}\n")
    assert place.report["reason"] == sentence


def test_reports_call_functions_and_continues_by_words(place: Workplace, resprout: Resprout) -> None:
    (place.folder / "odd.py").write_text(
        "from resprout import GenServer, Ok\n"
        "def fail(): raise ValueError('no')\n"
        "class Going(GenServer):\n"
        "    def init(self, arg): return Ok(None, continue_with='go')\n"
        "    def handle_continue(self, token, state): raise ValueError('no')\n"
    )
    place.write(
        "max_restarts: 0\n"
        "children: [{worker: a, start: 'odd:Going', restart: temporary}, {worker: b, run: 'odd:fail'}]"
    )
    ran = resprout("run", "tree.yaml", "--quiet")
    assert "spawned <0.5 fail> ended: ValueError: no" in ran.stderr
    assert "last message: continue_with='go'" in ran.stderr
