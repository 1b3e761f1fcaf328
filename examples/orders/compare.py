"""Shows what the lock is for: does the job with it and without it, and prints what the API had of the pool.

python examples/orders/compare.py
python examples/orders/compare.py --database postgresql+psycopg://user@localhost/empty --set pool=psycopg
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, inspect

from orders import store

TREE = Path(__file__).with_name("tree.yaml")

RUNS = {"2 slots": "2", "no throttle": "16"}
"""How many of the sixteen consumers the lock lets in at once."""

ROWS = (
    ("connections of the pool", "pool_size", ""),
    ("... that consumers had at once", "consumer_connections", ""),
    ("requests to the API", "api_requests", ""),
    ("... that found no connection free", "api_found_none", ""),
    ("... that got none in time", "api_wait_errors", ""),
    ("... without a good answer", "api_errors", ""),
    ("wait for a connection: half at most", "api_wait_p50_ms", " ms"),
    ("... 95% at most", "api_wait_p95_ms", " ms"),
    ("... all at most", "api_wait_max_ms", " ms"),
    ("answer: half within", "api_p50_ms", " ms"),
    ("... 99% within", "api_p99_ms", " ms"),
    ("the whole job", "seconds", " s"),
)


def main() -> None:
    """Does the job twice, each time on empty tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--database", help="URL of a database without the tables; a new SQLite file otherwise"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the tree file")
    parser.add_argument("--tree", type=Path, default=TREE, help="another tree file than the one beside this")
    parser.add_argument("--report", type=Path, help="write both reports into this file, too")
    options = parser.parse_args()
    reports = {}
    for name, slots in RUNS.items():
        print(f"with {name} ...", flush=True)
        with empty_database(options.database) as url:
            settings = [f"database={url}", "port=0", f"slots={slots}", *options.set]
            reports[name] = run(options.tree, settings)
    if options.report is not None:
        options.report.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")
    print(table(reports))


@contextmanager
def empty_database(url: str | None) -> Iterator[str]:
    """A database that has none of the tables, before and afterwards."""
    if url is None:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/orders.db"
        return
    engine = create_engine(url)
    try:
        known = set(inspect(engine).get_table_names()) & set(store.metadata.tables)
        if known:
            sys.exit(f"expected a database without the tables of the example, got one with: {sorted(known)}")
        try:
            yield url
        finally:
            store.metadata.drop_all(engine)
    finally:
        engine.dispose()


def run(tree: Path, settings: list[str]) -> dict[str, Any]:
    """Does the job once, and gives its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "resprout", "run", str(tree), "--quiet", "--report", str(report)]
        given = [word for each in settings for word in ("--set", each)]
        done = subprocess.run([*command, *given], check=False)
        if done.returncode:
            sys.exit(done.returncode)
        read: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return read


def table(reports: dict[str, dict[str, Any]]) -> str:
    """The reports side by side."""
    lines = [f"{'':40}" + "".join(f"{name:>14}" for name in reports)]
    for words, field, unit in ROWS:
        cells = "".join(f"{_cell(report[field], unit):>14}" for report in reports.values())
        lines.append(f"{words:40}{cells}")
    return "\n".join(lines)


def _cell(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,}{unit}"


if __name__ == "__main__":
    main()
