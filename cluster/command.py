"""``resprout cluster install | status | remove``: what an engine keeps on a server, made, looked at and
ended.
"""

from __future__ import annotations

from typing import Literal

import attrs

from .driver import ConnectionLost, find_administrator
from .errors import EngineRefused
from .settings import engine_settings, without_secrets

__all__ = ["ClusterOptions", "administer"]


@attrs.frozen
class ClusterOptions:
    """What was asked for.

    Attributes:
        only_print: write the statements, and run none.
        grant: to whom what is installed is granted.
    """

    action: Literal["install", "status", "remove"]
    url: str
    schema: str = "resprout"
    only_print: bool = False
    grant: str | None = None


def administer(options: ClusterOptions) -> tuple[int, str]:
    """Do what was asked for.

    Returns:
        The exit status (2 when it could not be done), and what is to be shown.
    """
    try:
        settings = engine_settings(
            options.url, name="resprout cluster", ttl=10.0, grace=0.15, schema=options.schema, node=None
        )
        if options.grant is not None and (options.action != "install" or not options.grant.isprintable()):
            raise ValueError("expected --grant ROLE with install, and a role whose name can be printed")
        administrator = find_administrator(settings)
        if options.only_print:
            return 0, administrator.statements(settings, options.action, options.grant)
        return 0, administrator.perform(settings, options.action, options.grant)
    except EngineRefused as error:
        return 2, without_secrets(error.why, options.url)
    except (ValueError, ConnectionLost) as error:
        return 2, without_secrets(str(error), options.url)
