"""What an engine is started with, what is refused of it, and its URL as it may be shown."""

from __future__ import annotations

import math
import os
import re
import socket
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import attrs

SHORTEST_TTL = 1.0
HELD_SHARE = 0.8
"""The share of the ttl after which grants are void here, counted from the last answered request's sending."""
_SECRETS = ("password", "sslpassword", "ssl_password", "passfile")


@attrs.frozen
class EngineSettings:
    """What an engine is started with; see ``Engine.start_link``."""

    name: str
    url: str = attrs.field(repr=False)
    ttl: float = 10.0
    grace: float = 0.15
    schema: str = "resprout"
    node: str = ""
    """What people are shown of this process."""
    named: bool = False
    """Somebody has said what that is."""

    @property
    def scheme(self) -> str:
        """Of the URL, without a driver (``postgresql+psycopg``)."""
        return self.url.partition("://")[0].partition("+")[0].lower()


def engine_settings(
    url: object, *, name: object, ttl: object, grace: object, schema: object, node: object
) -> EngineSettings:
    """Check what an engine is started with.

    Raises:
        ValueError: which names what was expected, and what was got.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected name to be a non-empty string, got: {name!r}")
    if not isinstance(url, str) or "://" not in url:
        got = type(url).__name__ if not isinstance(url, str) else "a text without ://"
        raise ValueError(f"expected url to be a URL such as postgresql://user@host/database, got: {got}")
    seconds = _seconds("ttl", ttl)
    if seconds < SHORTEST_TTL:
        raise ValueError(f"expected ttl to be at least {SHORTEST_TTL:g} s, got: {ttl!r}")
    patience = _seconds("grace", grace)
    if patience >= seconds / 3:
        raise ValueError(f"expected grace to be less than a third of ttl ({seconds / 3:g} s), got: {grace!r}")
    if not isinstance(schema, str) or not re.fullmatch(r"[a-z_][a-z0-9_]{0,39}", schema):
        raise ValueError(
            f"expected schema to be a name of at most 40 small letters, digits and underscores, "
            f"got: {schema!r}"
        )
    named = node is not None
    if node is None:
        node = this_node()
    if not isinstance(node, str) or not node or not node.isprintable() or len(node) > 200:
        raise ValueError(f"expected node to be a printable text of at most 200 characters, got: {node!r}")
    return EngineSettings(name, url, seconds, patience, schema, node, named)


def this_node() -> str:
    """What people are shown of this process, unless somebody says something else."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _seconds(what: str, value: object) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value <= 0:  # type: ignore[operator]  # a number
        raise ValueError(f"expected {what} to be a positive number of seconds, got: {value!r}")
    return float(value)  # type: ignore[arg-type]  # a number


def secrets_of(url: str) -> list[str]:
    """What of a URL nobody may see, the longest first."""
    found = set()
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
    except ValueError:
        # It makes no sense, so nothing of it is shown.
        return [url.partition("://")[2]]
    before = parts.netloc.rpartition("@")[0]
    if ":" in before:
        found.add(before.partition(":")[2])
    found.update(value for key, value in query if key.lower() in _SECRETS)
    found.update([unquote(secret) for secret in found], [quote(secret, safe="") for secret in found])
    return sorted([secret for secret in found if secret], key=len, reverse=True)


def without_secrets(text: str, url: str) -> str:
    """A text as it may be shown."""
    for secret in secrets_of(url):
        text = text.replace(secret, "***")
    return text


def shown(url: str) -> str:
    """A URL as it may be shown."""
    return without_secrets(url, url)
