"""Puts the folders of the examples on `sys.path`, as the loader does with that of a tree file."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

sys.path[:0] = [str(tree.parent) for tree in sorted(EXAMPLES.glob("*/tree.yaml"))]
