"""Writes a file whole or not at all, whenever the process is killed."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: str | Path, text: str) -> None:
    """Puts a new file in the place of an old one."""
    new = Path(f"{path}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
