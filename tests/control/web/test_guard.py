"""Who may ask a page for what: others' pages, others' names for this host, and whoever has no token."""

from __future__ import annotations

import httpx
import pytest

from resprout.control.web.guard import Guard
from resprout.control.web.page_server import PageServer

from .conftest import TOKEN, Page

GUARD = Guard(TOKEN)
HERE = {"host": "127.0.0.1:4000"}
ACTS = {**HERE, "x-resprout-token": TOKEN, "content-length": "2"}


def refused(method: str = "GET", path: str = f"/{TOKEN}/", headers: dict[str, str] = HERE) -> int | None:
    answer = GUARD.refusal(method, path, headers)
    return None if answer is None else answer.status


@pytest.mark.parametrize("path", [f"/{TOKEN}/", f"/{TOKEN}/static/app.js", f"/{TOKEN}"])
def test_an_address_with_the_token_is_answered(path: str) -> None:
    assert refused(path=path) is None


@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "", f"/{TOKEN}x/", f"/{TOKEN[1:]}", "/é/", f"//{TOKEN}/"]
)
def test_nothing_is_answered_without_the_token(path: str) -> None:
    assert refused(path=path) == 403


@pytest.mark.parametrize("host", ["127.0.0.1:4000", "localhost:4000", "localhost", "127.0.0.1:22"])
def test_the_host_is_this_one(host: str) -> None:
    assert refused(headers={"host": host}) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:4000", "localhost.evil.example", "127.0.0.1.evil", "a:4000\n"],
)
def test_a_name_that_leads_here_is_none_of_this_host(host: str) -> None:
    assert refused(headers={"host": host}) == 403


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"origin": "http://127.0.0.1:4000"}, None),
        ({"origin": "https://127.0.0.1:4000"}, 403),
        ({"origin": "http://127.0.0.1:4001"}, 403),
        ({"origin": "http://localhost:4000"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, None),
        ({"sec-fetch-site": "none"}, None),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_what_another_page_sends_is_refused(more: dict[str, str], status: int | None) -> None:
    assert refused(headers={**HERE, **more}) == status
    assert refused("POST", headers={**ACTS, **more}) == status


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("GET", f"/{TOKEN}/", "document", None),
        ("GET", "/another-token/", "document", 403),
        ("GET", f"/{TOKEN}/", "iframe", 403),
        ("GET", f"/{TOKEN}/stream", "document", 403),
        ("GET", f"/{TOKEN}/act/stop/", "document", 403),
        ("POST", f"/{TOKEN}/", "document", 403),
    ],
)
def test_another_page_may_lead_to_this_one_if_it_knows_the_address_and_to_nothing_else(
    method: str, path: str, kind: str, status: int | None
) -> None:
    sent = {**ACTS, "sec-fetch-site": "cross-site", "sec-fetch-dest": kind}
    assert refused(method, path, sent) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (ACTS, None),
        ({**HERE, "content-length": "2"}, 403),
        ({**ACTS, "x-resprout-token": "another"}, 403),
        ({**HERE, "x-resprout-token": TOKEN}, 413),
        ({**ACTS, "content-length": "65537"}, 413),
        ({**ACTS, "content-length": "-1"}, 413),
        ({**ACTS, "content-length": "9" * 5_000}, 413),
    ],
)
def test_what_acts_has_the_token_in_a_header_and_says_its_length(
    headers: dict[str, str], status: int | None
) -> None:
    assert refused("POST", headers=headers) == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "HEAD"])
def test_there_are_no_other_methods(method: str) -> None:
    assert refused(method, headers=ACTS) == 405


# As it is served


def test_every_answer_has_a_policy_that_lets_nothing_else_in(page: Page) -> None:
    elsewhere = f"http://127.0.0.1:{page.port}/"
    for answer in (page.get(""), page.get("static/none"), httpx.get(elsewhere, trust_env=False)):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


def test_whoever_has_no_right_gets_the_reason_and_nothing_else(page: Page) -> None:
    answer = page.get("", host="evil.example")
    assert answer.status_code == 403
    assert answer.text == "expected the host 127.0.0.1 or localhost, got: 'evil.example'\n"
    for path in ("", "static/style.css", "stream", "another-token/", "another-token/stream"):
        answer = httpx.get(f"http://127.0.0.1:{page.port}/{path}", trust_env=False)
        assert (answer.status_code, "the token" in answer.text) == (403, True)
        assert TOKEN not in answer.text
    assert TOKEN not in repr(GUARD)


def test_it_listens_on_this_host_alone(page: Page) -> None:
    assert PageServer.address(page.pid)[0] == "127.0.0.1"
