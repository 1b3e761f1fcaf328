"""The command language: a line in, the lines of its answer out.

Elixir's idea: pattern matching is the parser, and what no pattern fits is the last pattern.
"""

from __future__ import annotations

from resprout import NotFound, ProcessExit

from . import buckets


def answer(line: str) -> str:
    r"""Carries a command out.

    Example:
        >>> answer("FETCH shopping milk\r\n")
        'UNKNOWN COMMAND'
    """
    try:
        match line.split():
            case ["CREATE", bucket]:
                buckets.create(bucket)
                return "OK"
            case ["PUT", bucket, key, value]:
                buckets.put(bucket, key, value)
                return "OK"
            case ["GET", bucket, key]:
                return f"{buckets.get(bucket, key) or ''}\r\nOK"
            case ["DELETE", bucket, key]:
                buckets.delete(bucket, key)
                return "OK"
            case _:
                return "UNKNOWN COMMAND"
    except NotFound:
        return "NOT FOUND"
    except ProcessExit:  # the bucket went down over this very command
        return "ERROR"
