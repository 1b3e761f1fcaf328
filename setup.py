"""What pyproject.toml cannot say: the README as whoever has no clone can read it.

`packaging/description.py` says why.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "packaging"))

from description import without_the_clone  # noqa: E402  # beside the build backend, which is no package

setup(
    long_description=without_the_clone((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
