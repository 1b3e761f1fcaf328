"""The side door for kinds of children that resprout's own rooms add to tree files: what options are made of.

Apart from `engine`, since it loads what reads tree files.
"""

from .trees.asgi import AsgiChild, AsgiServer
from .trees.bound import Bound
from .trees.durations import Seconds
from .trees.kinds import Common, WorkerChild, above_zero, not_negative
from .trees.listener import Listener
from .trees.references import Reference, parameters_of, refused
from .trees.structuring import Arguments, plain
from .trees.web_serving import AsgiOptions

__all__ = [
    "Arguments",
    "AsgiChild",
    "AsgiOptions",
    "AsgiServer",
    "Bound",
    "Common",
    "Listener",
    "Reference",
    "Seconds",
    "WorkerChild",
    "above_zero",
    "not_negative",
    "parameters_of",
    "plain",
    "refused",
]
