"""For `gunicorn --workers 3 web:app`: without `--preload` each worker imports the application itself."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    """Start the tree in a worker that has imported the application."""
    import web

    if not worker.cfg.preload_app:
        web.start()
