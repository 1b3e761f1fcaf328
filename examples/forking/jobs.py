"""Tasks for a Celery worker with a pool of processes: `celery --app jobs worker --pool prefork`."""

from __future__ import annotations

import os

from celery import Celery

from resprout import throttle

app = Celery("jobs")
app.config_from_envvar("JOBS_CONFIG")

throttle.new("reports", 2)  # a declaration: each process of the pool makes a lock of its own from it


@app.task
def report(number: int) -> tuple[int, int]:
    """Do something that at most two threads of a process may do at once."""
    with throttle.slot("reports"):
        return number * number, os.getpid()
