"""What the lock is for, shown by the command that does the job with it and without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sqlalchemy import inspect

from compare import empty_database
from orders import store

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "orders"
LINES = 20


def small(folder: Path) -> Path:
    """The tree file beside a topic of fewer lines."""
    topic = folder / "topic"
    topic.mkdir()
    for partition in sorted((EXAMPLE / "topic").iterdir()):
        lines = partition.read_bytes().splitlines(keepends=True)[:LINES]
        (topic / partition.name).write_bytes(b"".join(lines))
    tree = yaml.safe_load((EXAMPLE / "tree.yaml").read_text(encoding="utf-8"))
    tree["job"]["args"]["topic"] = str(topic)
    tree["children"][-1]["args"] = {"topic": str(topic)}
    path = folder / "tree.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def test_without_the_lock_consumers_take_the_pool_and_with_it_two_connections(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "compare.py"), "--tree", str(small(tmp_path))]
    done = subprocess.run(
        [*command, "--report", str(tmp_path / "both.json")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    reports = json.loads((tmp_path / "both.json").read_text())
    throttled, free = reports.values()
    for report in (throttled, free):
        assert (report["processed"], report["mismatches"]) == (16 * LINES, 0)
        assert (report["pool_size"], report["api_errors"], report["api_wait_errors"]) == (10, 0, 0)
    assert (throttled["num_slots"], throttled["max_running"], throttled["consumer_connections"]) == (2, 2, 2)
    assert throttled["api_found_none"] == 0
    assert free["num_slots"] == 16
    # How many there are at once is the machine's to say; it is what nobody keeps below two.
    taken = free["consumer_connections"]
    assert free["max_running"] >= taken > throttled["consumer_connections"]

    table = done.stdout.splitlines()
    assert f"... that consumers had at once                       2{taken:>14}" in table


def test_tables_that_are_there_are_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"
    store.connect(url, 1).dispose()

    with pytest.raises(SystemExit, match="expected a database without the tables of the example"):
        with empty_database(url):
            raise AssertionError("it was taken")

    engine = store.connect(url, 1)
    assert set(inspect(engine).get_table_names()) == set(store.metadata.tables)
    engine.dispose()


def test_a_database_is_left_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/orders.db"

    with empty_database(url) as the_same:
        assert the_same == url
        store.connect(url, 1).dispose()

    with empty_database(url):
        pass
