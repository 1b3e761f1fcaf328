"""Celery's pool of processes: a lock that the module makes at import is there in every one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

TASKS = 8
CONFIG = """
broker_url = "filesystem://"
broker_transport_options = {{
    "data_folder_in": "{folder}", "data_folder_out": "{folder}", "control_folder": "{folder}/control",
    "polling_interval": 0.01,
}}
result_backend = "file://{folder}"
broker_connection_retry_on_startup = True
"""
CLIENT = f"""
import os, jobs
calls = [jobs.report.delay(number) for number in range({TASKS})]
results = [call.get(timeout=30, interval=0.01) for call in calls]
print("results", [square for square, _ in results])
print("by the worker itself", {{pid for _, pid in results}} & {{int(os.environ["WORKER"])}})
"""


def test_all_tasks_of_a_forked_pool_are_done(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "jobs_config.py").write_text(CONFIG.format(folder=tmp_path.as_posix()))
    env = {"JOBS_CONFIG": "jobs_config", "PYTHONPATH": str(tmp_path)}
    worker = start(
        *("-m", "celery", "--app", "jobs", "worker", "--pool", "prefork", "--concurrency", "2"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"),
        env=env,
    )
    client = start("-c", CLIENT, env={**env, "WORKER": str(worker.pid)})
    assert client.wait() == 0, client.text + worker.text
    assert client.lines == [
        f"results {[number * number for number in range(TASKS)]}",
        "by the worker itself set()",
    ]
    assert worker.stop() == 0, worker.text
    assert worker.text.count("succeeded in") == TASKS, worker.text
    assert "Traceback" not in worker.text
