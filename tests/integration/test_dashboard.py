"""Flower's door: nothing is shown without its password, and no order passes with it."""

from __future__ import annotations

import base64
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from flower.urls import handlers

from producer.stack import dashboard
from tests.support.stack import Stack

# "OK", "you are logged out", the page that is not there, and files that are no secret.
OPEN = (r"/healthcheck", r"/logout", r"/static/(.*)", r".*")
PATTERNS = [
    pattern
    for handler in handlers
    if (pattern := handler.regex.pattern.rstrip("$") if hasattr(handler, "regex") else handler[0])
    not in OPEN
]


def status(stack: Stack, path: str, method: str = "GET", user: str = "", **headers: str) -> int:
    place = stack.info["flower_url"].rpartition("@")[2]
    if user:
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    data = b"" if method == "POST" else None
    request = urllib.request.Request(
        f"http://{place}{path}", data=data, headers=headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def user_of(stack: Stack) -> str:
    return str(stack.info["flower_url"]).removeprefix("http://").partition("@")[0]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_page_is_shown_to_strangers(stack: Stack, pattern: str) -> None:
    path = re.sub(r"\(\.[+*]\)", "x", pattern).removesuffix("/?")
    answers = {
        status(stack, path, method, user)
        for method in ("GET", "POST")
        for user in ("", "headrace:", "headrace:wrong", "admin:admin")
    }
    # Without a provider of logins there is nothing to log in with; 405: no such request at all.
    assert answers <= {401, 403, 404, 405}, answers
    assert 401 in answers or path == "/login"


def test_who_has_the_password_sees_the_metrics(stack: Stack) -> None:
    for path in ("/", "/metrics", "/api/workers"):
        assert status(stack, path, user=user_of(stack)) == 200


@pytest.mark.parametrize(
    "order",
    [
        *("worker/shutdown", "worker/pool/shrink", "worker/pool/restart"),
        *("worker/queue/cancel-consumer", "worker/queue/add-consumer"),
        *("task/revoke", "task/rate-limit", "task/async-apply", "task/send-task"),
    ],
)
def test_nobody_orders_workers_about(stack: Stack, order: str) -> None:
    (worker, *_) = stack.flower("/api/workers?refresh=1")
    before = stack.pids("preprocess")
    path = f"/api/{order}/{worker}"
    assert status(stack, path, "POST", user_of(stack)) == 403
    assert stack.pids("preprocess") == before


def test_a_page_elsewhere_cannot_use_the_browsers_password(stack: Stack) -> None:
    user = user_of(stack)
    assert status(stack, "/api/workers", "POST", user, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert status(stack, "/api/workers", "POST", user, Origin="http://elsewhere.example") == 403


def test_a_missing_password_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "flower_auth"
    assert dashboard.main([str(missing)]) == 1
    assert capsys.readouterr().err == (
        f"headrace: error: There is no {missing}. Mount the secret there.\n"
    )
