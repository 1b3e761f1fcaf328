"""A request -> the line that answers it, whatever becomes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..actors import Killed
from .errors import Refusal
from .protocol import Request, answer, refusal

__all__ = ["line_of"]

logger = logging.getLogger("resprout.control")


def line_of(request: Request, do: Callable[[], Any], most: int) -> bytes:
    """Carries a request out.

    Args:
        request: Which.
        do: Does it.
        most: Bytes that an answer may have.

    Returns:
        The line of its answer, or of a refusal.
    """
    try:
        line = answer(request.id, do())
    except Refusal as refused:
        return refusal(request.id, refused)
    except Killed:
        raise
    except Exception as error:
        logger.exception("the control socket could not answer %s", request.do)
        failed = Refusal("failed", f"{request.do} failed: {type(error).__name__}; the log has the reason")
        return refusal(request.id, failed)
    if len(line) > most:
        wanted = f"the answer has more than {most} bytes; ask for a smaller page"
        return refusal(request.id, Refusal("too_large", wanted))
    return line
