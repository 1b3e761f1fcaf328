"""Who may ask for what: decided before anything of a request is read.

The page belongs to whoever runs the system, and a browser also obeys pages of others. So every address
begins with a token that nobody can guess; the host that the browser believes to talk to has to be this one,
whatever a name server says (DNS rebinding); what another page has sent is refused; and what acts has to have
the token in a header, which no other page can set.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import attrs

__all__ = ["HEADER", "Answer", "Guard", "Guarded"]

HEADER = "x-resprout-token"
"""The header with the token, of whatever is not only looked at."""
_LONGEST_BODY = 64 * 1024
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII)
"""With any port: it may come through a tunnel."""
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
"""What every answer has."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@attrs.frozen
class Answer:
    """Why a request is refused.

    Args:
        status: Of HTTP.
        text: What was expected, and what was got.
    """

    status: int
    text: str


@attrs.frozen
class Guard:
    """Decides by what a request says of itself.

    Args:
        token: What every address begins with.
    """

    token: str = attrs.field(repr=False)

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> Answer | None:
        """Why a request is refused; None if it is not.

        Args:
            method: Of HTTP.
            path: Of its address.
            headers: By their names in small letters.
        """
        host = headers.get("host", "")
        if _HOST.fullmatch(host) is None:
            return Answer(403, f"expected the host 127.0.0.1 or localhost, got: {host[:80]!r}")
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return Answer(403, f"expected a request of this page, got one of {origin[:80]!r}")
        site = headers.get("sec-fetch-site", "none")
        # To the page itself any other may lead, such as the file of `resprout observe --open`: who has the
        # token has it, and nobody gets it by that.
        whole_page = path.endswith("/") and path.count("/") == 2
        leads = method == "GET" and whole_page and headers.get("sec-fetch-dest") == "document"
        if site not in ("same-origin", "none") and not leads:
            return Answer(403, f"expected a request of this page, got a {site[:20]} one")
        if not _same(path.split("/")[1] if path.startswith("/") else "", self.token):
            wanted = "expected an address with the token of this system; `resprout observe` tells it"
            return Answer(403, wanted)
        if method == "GET":
            return None
        if method != "POST":
            return Answer(405, f"expected GET or POST, got: {method[:20]}")
        if not _same(headers.get(HEADER, ""), self.token):
            return Answer(403, f"expected the token in the header {HEADER}")
        length = headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 9 or int(length) > _LONGEST_BODY:
            return Answer(413, f"expected a content-length of at most {_LONGEST_BODY}, got: {length[:20]!r}")
        return None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


class Guarded:
    """An ASGI application behind a guard; it sees paths without the token.

    Args:
        app: The application.
        guard: The guard.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or has the application answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._guard.refusal(scope["method"], scope["path"], headers)
        with_headers = _adding_headers(send)
        if refused is None:
            path = scope["path"].removeprefix(f"/{self._guard.token}")
            await self._app({**scope, "path": path, "raw_path": None}, receive, with_headers)
            return
        text = f"{refused.text}\n".encode("utf-8", "replace")
        kind = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        await with_headers({"type": "http.response.start", "status": refused.status, "headers": kind})
        await with_headers({"type": "http.response.body", "body": text})


def _adding_headers(send: Send) -> Send:
    async def add(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    return add
