"""What the commands do with trees of several files, and `resprout schema`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from resprout.cli import main
from resprout.supervision import tree_schema


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tree.yaml").write_text("children: [{include: more.yaml}]")
    (tmp_path / "more.yaml").write_text("- {agent: '${name:-a}', value: 1}")
    (tmp_path / "tree.more.yaml").write_text("children: [{agent: b, value: 1}]")
    (tmp_path / "tree.wrong.yaml").write_text("children: [{agent: b, vlue: 1}]")
    return tmp_path


def test_check_takes_overlays_and_settings_of_included_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "tree.yaml", "--overlay", "more", "--set", "name=c"]) == 0
    assert capsys.readouterr().out == "ok: 1 supervisor, 2 children\n"
    assert main(["check", "tree.yaml", "--overlay", "more", "--overlay", "./tree.wrong.yaml"]) == 2
    assert "./tree.wrong.yaml:1:23: children[1].vlue: unknown key 'vlue'" in capsys.readouterr().out


def test_run_takes_overlays(capsys: pytest.CaptureFixture[str]) -> None:
    Path("once.py").write_text("def work(): ...")
    Path("tree.once.yaml").write_text(
        "auto_shutdown: any_significant\n"
        "children: [{worker: w, run: 'once:work', significant: true, restart: transient}]"
    )
    assert main(["run", "tree.yaml", "--plain", "--overlay", "once"]) == 0
    assert "finished" in capsys.readouterr().out
    sys.modules.pop("once", None)


def test_an_overlay_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "tree.yaml", "--overlay", "mor"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(
        "tree.mor.yaml:0:0: it cannot be read: No such file or directory; did you mean"
    )


@pytest.mark.parametrize(("options", "overlay"), [([], False), (["--for-overlays"], True)])
def test_schema_is_written(options: list[str], overlay: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", *options]) == 0
    assert json.loads(capsys.readouterr().out) == tree_schema(overlay=overlay)
    assert main(["schema", *options, "--output", "s.json"]) == 0
    assert json.loads(Path("s.json").read_text()) == tree_schema(overlay=overlay)
    assert capsys.readouterr() == ("", "")


def test_a_schema_that_cannot_be_written_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--output", "none/s.json"]) == 2
    assert "resprout: none/s.json cannot be written: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["schema", "s.json"])
    assert "expected no file in front of --output FILE, got: s.json" in capsys.readouterr().err
