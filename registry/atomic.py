"""Compare-and-set on a dict; see ``resprout.actors.engine``."""

from ..actors.engine import remove, remove_all, remove_empty, replace

__all__ = ["remove", "remove_all", "remove_empty", "replace"]
