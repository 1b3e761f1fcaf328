"""What an import costs: processor time, resident memory and modules, each against `import asyncio`.

Run it with ``python benchmarks/imports.py``; exit status 1 when a bar is missed. Each row is the median of
new interpreters that take turns, so what else the machine does touches all of them alike; the ratio is what
to compare between machines. Byte code is written by the first round, which does not count. Memory is read
from /proc, so it is left out where there is none.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

ROUNDS = 11
ASYNCIO = "import asyncio"
FACE = "import resprout"
# The row of the bar first; then what the first use of each room adds, with all that it stands on.
ROWS = [
    ASYNCIO,
    FACE,
    "from resprout import GenServer",
    "from resprout import Registry",
    "from resprout import Supervisor",
    "from resprout import throttle",
    "from resprout import Application",
]
MOST_MS, MOST_MB = 90.0, 20.0
PROBE = """
import sys, time
def resident():
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * {page}
    except OSError:
        return 0
modules, memory, start = len(sys.modules), resident(), time.process_time()
{row}
print(1e3 * (time.process_time() - start), (resident() - memory) / 1e6, len(sys.modules) - modules)
"""


def measure(row: str) -> tuple[float, float, float]:
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(page=page, row=row)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    milliseconds, megabytes, modules = map(float, done.stdout.split())
    return milliseconds, megabytes, modules


def main() -> int:
    seen: dict[str, list[tuple[float, float, float]]] = {row: [] for row in ROWS}
    for _ in range(ROUNDS + 1):
        for row in ROWS:
            seen[row].append(measure(row))
    medians = {
        row: [statistics.median(column) for column in zip(*rows[1:], strict=True)]
        for row, rows in seen.items()
    }
    print(f"{'':34}{'ms':>8}{'asyncio':>9}{'MB':>7}{'modules':>9}")
    for row, (milliseconds, megabytes, modules) in medians.items():
        ratio = milliseconds / medians[ASYNCIO][0]
        print(f"{row:34}{milliseconds:8.1f}{ratio:8.2f}x{megabytes:7.1f}{modules:9.0f}")
    milliseconds, megabytes, _ = medians[FACE]
    missed = milliseconds > MOST_MS or megabytes > MOST_MB
    print(f"the bar of `{FACE}`: {MOST_MS:.0f} ms and {MOST_MB:.0f} MB{', missed' if missed else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
