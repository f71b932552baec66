"""The product's users at a test's broker, each with a password that follows from its name."""

from __future__ import annotations

from typing import Any

import redis

from producer.stack.rights.broker_users import ADMIN, acl_file
from producer.stack.roles import ROLES


def add_users(url: str) -> None:
    """Let every role in, beside the user of ``url``."""
    passwords = {name: _password(name) for name in (ADMIN, *ROLES)}
    client: Any
    with redis.Redis.from_url(url) as client:
        for line in acl_file(passwords).splitlines()[1:]:  # the first closes our own door
            client.execute_command("ACL", "SETUSER", *_rules(line))


def url_as(url: str, role: str) -> str:
    """The same server and database, as a role."""
    _, _, address = url.partition("@")
    return f"redis://{role}:{_password(role)}@{address}"


def _password(name: str) -> str:
    return f"password-of-{name}"


def _rules(line: str) -> list[str]:
    """Name and rules of a user, a selector being one rule."""
    words: list[str] = []
    for word in line.removeprefix("user ").split():
        if words and words[-1].startswith("(") and not words[-1].endswith(")"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words
