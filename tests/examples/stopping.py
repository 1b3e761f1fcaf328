"""Trees of the examples that are stopped in the middle of their work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from ..programs import resprout

WATCHDOG = 60.0


def stopped(tree: Path, folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """A run that is told to stop when it has shown its first line: its report, and what it printed."""
    command = resprout("run", tree, "--plain", "--report", folder / "report.json", *arguments)
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.send_signal(signal.SIGTERM)
        output = program.communicate(timeout=WATCHDOG)[0]
    assert program.returncode == 0, output
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["reason"] == "stopped by SIGTERM"
    return report, output
