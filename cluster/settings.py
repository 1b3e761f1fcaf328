"""What an engine is started with, what is refused of it, and its URL as it may be shown."""

from __future__ import annotations

import math
import os
import re
import socket
from urllib.parse import quote, unquote, unquote_plus

import attrs

SHORTEST_TTL = 1.0
LONGEST_TTL = 86_400.0
HELD_SHARE = 0.8
"""The share of the ttl after which grants are void here, counted from the last answered request's sending."""
_HOST = r"(\[[^\]]*\]|[^\[\]:,@]*)(:\d*)?"
_LATE = re.compile(r"[^?]*(\?[^=]*)?@")
_PARAMETER = re.compile(r"[?&](?:amp;)?([\w.%-]+)=(.*?)(?=&(?:amp;)?[\w.%-]+=|\Z)", re.DOTALL)
"""A key and its value as it is written, up to what looks like the next key."""
_SECRET = re.compile("password|passfile|secret|scram_.*_key", re.IGNORECASE)


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
    if not isinstance(url, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        got = type(url).__name__ if not isinstance(url, str) else "a text that begins with no scheme and ://"
        raise ValueError(f"expected url to be a URL such as postgresql://user@host/database, got: {got}")
    _check_readable(url)
    seconds = _seconds("ttl", ttl)
    if not SHORTEST_TTL <= seconds <= LONGEST_TTL:
        at_most = f"at least {SHORTEST_TTL:g} s and at most {LONGEST_TTL:g} s"
        raise ValueError(f"expected ttl to be {at_most}, got: {ttl!r}")
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


def _check_readable(url: str) -> None:
    """Refuse a URL whose password would be taken for something else, without showing any of it."""
    scheme, _, rest = url.partition("://")
    if scheme.lower().startswith("postgres"):
        # As libpq reads it: other marks may stand in the part with the password.
        before = rest.partition("/")[0]
        where = rest.partition("@")[2] if "@" in before else rest
    else:
        before = re.split("[/?#]", rest, maxsplit=1)[0]
        where = rest[before.rfind("@") + 1 :]
    host = re.split("[/?#]", where, maxsplit=1)[0]
    # Behind the host an @ stands only in what a parameter says; else this was a piece of a password.
    if _LATE.match(where, len(host)) or not re.fullmatch(f"{_HOST}(,{_HOST})*", host):
        raise ValueError(
            "expected url to have a host, with the number of a port if any, behind its user and password, as "
            "in postgresql://user:password@host:5432/database; percent-encode what the password has of "
            "/ ? # @ : [ ] and %, and each @ of a database (/ is %2F, ? is %3F, # is %23, @ is %40)"
        )


def secrets_of(url: str) -> list[str]:
    """What of a URL nobody may see, the longest first; more of it than its password where that is not told
    from what stands around it, as it is not percent-encoded.
    """
    rest = url.partition("://")[2]
    secret = rest.rpartition("@")[0].partition(":")[2]
    # Its parts as well: somebody may have taken one for a host, a port or a path, and say so.
    found = {secret, *re.split(r"[/?#@:,\[\]]", secret)}
    for key, value in _PARAMETER.findall(rest):
        if _SECRET.search(unquote(key)):
            found.update({value, *re.split("[&#@]", value)})
    found.update([as_read(secret) for secret in found for as_read in (unquote, unquote_plus)])
    found.update([quote(secret, safe="") for secret in found])
    return sorted(found - {""}, key=len, reverse=True)


def without_secrets(text: str, url: str) -> str:
    """A text as it may be shown."""
    secrets = secrets_of(url)
    return re.sub("|".join(map(re.escape, secrets)), "***", text) if secrets else text


def shown(url: str) -> str:
    """A URL as it may be shown."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{without_secrets(rest, url)}"
