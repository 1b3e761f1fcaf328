"""Supervision trees, registries and supervised locks for Python."""

from __future__ import annotations

__all__: list[str] = []
