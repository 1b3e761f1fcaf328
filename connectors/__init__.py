"""Connectors: real systems as supervised children of a tree."""

from . import kafka

__all__ = ["kafka"]
