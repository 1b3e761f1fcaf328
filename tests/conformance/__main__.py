"""`python -m tests.conformance FILE.jsonl`: what real OTP processes did, and whether ours do the same."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import processes
from .runner import run
from .trace import differences, normalized


def check(line: dict[str, Any]) -> list[str]:
    """Runs one scenario of a corpus; what is different, as lines for people."""
    scenario = line["scenario"]
    try:
        if "procs" in scenario:
            return _check_processes(line)
        raw = run(scenario)
    except Exception as error:
        return [f"the run failed: {type(error).__name__}: {error}"]
    return differences(line["trace"], normalized(scenario, raw), scenario["steps"])


def _check_processes(line: dict[str, Any]) -> list[str]:
    """The same for a scenario of processes."""
    trace = processes.run(line["scenario"], line.get("way", "pool"))
    return processes.differences(line["trace"], trace, line["scenario"])


def inlined(line: dict[str, Any]) -> dict[str, Any]:
    """The same scenario, with all workers that never sleep run on the sender's thread."""

    def change(spec: dict[str, Any]) -> dict[str, Any]:
        changed = {**spec}
        if spec.get("type", "worker") == "worker":
            changed["inline"] = not spec.get("behaviour", {}).get("terminate_ms", 0)
        if "children" in spec:
            changed["children"] = [change(child) for child in spec["children"]]
        return changed

    scenario = line["scenario"]
    if "procs" in scenario:
        return {**line, "way": "inline"}
    steps = [{**step, "spec": change(step["spec"])} if "spec" in step else step for step in scenario["steps"]]
    return {**line, "scenario": {"tree": change(scenario["tree"]), "steps": steps}}


def main() -> int:
    """Runs the files that the command line names; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios whose name contains this")
    parser.add_argument("--times", type=int, default=1, help="how often each scenario is run")
    parser.add_argument("--jobs", type=int, default=4, help="how many scenarios run at once")
    parser.add_argument("--inline", action="store_true", help="workers run on the sender's thread")
    parser.add_argument(
        "--coroutines", action="store_true", help="servers run on the event loop (scenarios of processes)"
    )
    parser.add_argument("--switch", type=float, default=None, help="sys.setswitchinterval, in seconds")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # crashes are what the scenarios are about
    if options.switch is not None:
        sys.setswitchinterval(options.switch)
    lines = [
        json.loads(text) for file in options.files for text in file.read_text().splitlines() if text.strip()
    ]
    lines = [line for line in lines if options.only in line["name"]] * options.times
    if options.inline:
        lines = [inlined(line) for line in lines]
    if options.coroutines:
        lines = [{**line, "way": "coroutines"} for line in lines]
    failed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for line, problems in zip(lines, pool.map(check, lines)):  # noqa: B905 - both are of one length
            if problems:
                failed += 1
                sys.stdout.write("\n  ".join([line["name"], *problems]) + "\n")
    sys.stdout.write(f"{len(lines) - failed} passed, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
