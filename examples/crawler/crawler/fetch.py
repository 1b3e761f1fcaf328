"""What a task does for one page: wait for a slot of the host, ask, and see what the page links to."""

from __future__ import annotations

import logging
from contextlib import suppress
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin

import httpx

from resprout import Shutdown, process, throttle

from .hosts import lock_of

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of each request


async def fetch(client: httpx.AsyncClient, url: str) -> list[str]:
    """Gets a page, and gives the URLs that it links to.

    What has to be expected of a network ends the task, too, but as an exit that is no crash: nobody logs it.
    """
    try:
        async with throttle.slot(await lock_of(url)):
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # the last two are no URLs
        process.exit(Shutdown(repr(error)))
    if answer.is_error:
        process.exit(Shutdown(f"status {answer.status_code}"))
    page = Page(url)
    page.feed(answer.text)
    return page.links


class Page(HTMLParser):
    """Collects the links of a page."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes what `<a href="...">` leads to, without the part behind `#`, if it is a URL at all."""
        target = dict(attrs).get("href")
        if tag == "a" and target is not None:
            with suppress(ValueError):
                self.links.append(urldefrag(urljoin(self.url, target)).url)
