"""What a run says of starts that failed, and of where it listened, in this very interpreter."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from resprout import cli

WORK = """
import socket
from resprout import GenServer, Ok
from resprout.supervision import ready


def listen(port: int):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))
        ready()


class Server(GenServer):
    def init(self, arg):
        raise RuntimeError("no port\\nwas bound") if arg["port"] < 0 else listen(arg["port"])


async def app(scope, receive, send): ...


def brief(): ...
"""
LISTENS = """
children:
  - worker: listener
    run: WORK:listen
    args: {port: "${port}"}
    ready_timeout: 60s
"""
LISTENS_BELOW = """
children:
  - supervisor: inner
    children:
      - {worker: server, start: "WORK:Server", args: {port: PORT}}
"""
SERVES = """
auto_shutdown: any_significant
children:
  - {supervisor: front, children: [{asgi: api, app: "WORK:app", port: 0}]}
  - {worker: brief, run: "WORK:brief", restart: transient, significant: true}
"""


@attrs.frozen
class Ran:
    status: int
    out: str
    err: str
    report: dict[str, Any]
    tree: Path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(sys, "path", sys.path[:])
    module = f"work_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(WORK)
    tree, report = tmp_path / "tree.yaml", tmp_path / "report.json"

    def run(text: str, *arguments: object) -> Ran:
        tree.write_text(text.replace("WORK", module))
        status = cli.main(["run", str(tree), "--plain", "--report", str(report), *map(str, arguments)])
        return Ran(status, *capsys.readouterr(), json.loads(report.read_text()), tree)

    return run


def test_a_start_that_fails_of_a_taken_port_ends_in_one_line(run: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        ran = run(LISTENS, "--set", f"port={number}", "--log-file", tmp_path / "log")
    sentence = ran.report["reason"]
    assert sentence.startswith(f"{ran.tree}:3:5: child 'listener': Address already in use")
    assert sentence.endswith("; choose another port with --set port=...")
    assert (ran.status, ran.out, ran.err) == (1, "", f"resprout: {sentence}\n")
    assert "Traceback" in (tmp_path / "log").read_text(), "the log file has all of it"


def test_a_start_that_fails_of_a_port_out_of_range_ends_in_one_line(run: Any) -> None:
    ran = run(LISTENS_BELOW.replace("PORT", "80000"))
    sentence = f"{ran.tree}:5:9: child 'inner/server': expected a port from 0 to 65535; choose another port"
    assert (ran.status, ran.out, ran.err) == (1, "", f"resprout: {sentence}\n")


def test_a_start_that_fails_of_anything_else_keeps_its_report(run: Any) -> None:
    ran = run(LISTENS_BELOW.replace("PORT", "-1"))
    why = "child 'inner': child 'server': RuntimeError: no port"
    assert ran.status == 1
    assert "in init\n" in ran.err
    assert ran.err.endswith(f"did not start: {ran.tree}:5:9: {why}\n")
    assert f"  ended     the tree did not start: {why}\n" in ran.out
    assert ran.report["reason"] == f"the tree did not start: {why}"


def test_a_run_tells_where_its_web_application_listens(run: Any) -> None:
    ran = run(SERVES)
    at = ran.report["addresses"]["api"]
    assert re.fullmatch(r"127\.0\.0\.1:[1-9]\d*", at)
    assert f"  listened  api at {at}\n" in ran.out
