"""Sums up repeated reports; see ``resprout.actors.engine``."""

from ..actors.engine import Bursts, Summary

__all__ = ["Bursts", "Summary"]
