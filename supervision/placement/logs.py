"""Log records of a placed child, told in its parent: at the parent's levels, by the parent's handlers."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

from ...actors.engine import crossing

_BASE = logging.Formatter()
_onlookers: tuple[Callable[[logging.LogRecord], object], ...] = ()


def look_on(told: Callable[[logging.LogRecord], object]) -> None:
    """Has a function called with each record that is told here, before the handlers have it: such a record
    is made elsewhere, so no factory of records sees it.
    """
    global _onlookers
    _onlookers = (*_onlookers, told)


def look_away(told: Callable[[logging.LogRecord], object]) -> None:
    """Ends that."""
    global _onlookers
    _onlookers = tuple(each for each in _onlookers if each is not told)


def levels() -> tuple[int, dict[str, int]]:
    """What this process logs: what is disabled, and the level of each logger that has one."""
    named = {"": logging.root.level}
    for name, each in list(logging.root.manager.loggerDict.items()):
        if isinstance(each, logging.Logger) and (each.level or each.disabled):
            named[name] = logging.CRITICAL + 1 if each.disabled else each.level
    return logging.root.manager.disable, named


def take_levels(given: tuple[int, dict[str, int]]) -> None:
    """Has this process log what another does."""
    logging.disable(given[0])
    for name, level in given[1].items():
        logging.getLogger(name or None).setLevel(level)


class Forwarding(logging.Handler):
    """Sends records away, as text and numbers.

    Args:
        send: Takes a record, packed.
        skip: Tells which records are not sent.
    """

    def __init__(self, send: Callable[[bytes], object], skip: Callable[[Any], bool]) -> None:
        super().__init__()
        self._send_away = send
        self._skip = skip

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record; one that cannot be sent is told of on stderr, as by any other handler."""
        if self._skip(record):
            return
        try:
            told = dict(record.__dict__, msg=record.getMessage(), args=None, exc_info=None)
            if record.exc_info:
                told["exc_text"] = record.exc_text or _BASE.formatException(record.exc_info)
            told.pop("crash_report", None)
            self._send_away(crossing(told))
        except Exception:
            self.handleError(record)


def retell(body: bytes, proxy: object) -> None:
    """Logs a record of a child here.

    Args:
        body: What `Forwarding` has sent.
        proxy: The process that stands for the child, which becomes `record.proxy`.
    """
    record = logging.makeLogRecord({**pickle.loads(body), "proxy": proxy})
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        for each in _onlookers:
            each(record)
        logger.handle(record)
