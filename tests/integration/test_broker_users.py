"""The broker's users as a server reads them, an old one too: every rule must be known to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from producer.stack.broker_users import ADMIN, acl_file
from producer.stack.credentials import BROKER_ROLES
from shared.dead_letters import DeadLetter, DeadLetters
from tests.servers import RunningValkey, start_valkey

OTHERS = (
    *("CLIENT LIST", "CLIENT KILL TYPE normal", "CLIENT PAUSE 1", "CLIENT UNBLOCK 1"),
    *("CLIENT NO-EVICT on", "CLIENT TRACKING on", "CLIENT REPLY SKIP", "CLIENT INFO"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningValkey]:
    directory = tmp_path_factory.mktemp("users")
    server = start_valkey(directory)
    passwords = {name: f"of-{name}" for name in (ADMIN, *BROKER_ROLES)}
    with redis.Redis.from_url(server.url) as client:
        for line in acl_file(passwords, "testhost").splitlines()[1:]:  # the first closes our door
            client.execute_command("ACL", "SETUSER", *_rules(line))
    yield server
    server.stop()


def _rules(line: str) -> list[str]:
    """Name and rules of a user, a selector being one rule."""
    words: list[str] = []
    for word in line.removeprefix("user ").split():
        if words and words[-1].startswith("(") and not words[-1].endswith(")"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words


def as_role(server: RunningValkey, role: str) -> Any:
    _, _, address = server.url.partition("@")
    return redis.Redis.from_url(f"redis://{role}:of-{role}@{address}", decode_responses=True)


@pytest.mark.parametrize("role", [ADMIN, *BROKER_ROLES])
def test_every_role_may_connect_and_say_what_it_is(server: RunningValkey, role: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.acl_log_reset()
        with as_role(server, role) as of_role:
            assert of_role.ping()
        assert client.acl_log() == []


@pytest.mark.parametrize("role", BROKER_ROLES)
def test_no_role_may_touch_other_connections(server: RunningValkey, role: str) -> None:
    with as_role(server, role) as client:
        for command in OTHERS:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


@pytest.mark.parametrize("role", ["preprocess", "inference", "collector"])
def test_a_worker_adds_dead_letters_and_moves_the_oldest_on(
    server: RunningValkey, role: str
) -> None:
    with redis.Redis.from_url(server.url) as client, as_role(server, role) as of_role:
        everybodys, own = DeadLetters(client), DeadLetters(of_role)
        for _ in range(2):  # put back in between, and so counted
            own.add(DeadLetter.of(queue=f"bad.{role}", layer="body", reason="r", raw=b"x"))
            (letter,) = everybodys.list()
            if not letter.replays:
                everybodys.replay([letter.id])
        assert letter.replays == 1
        assert own.begin_move(role, 60)
        assert [oldest.id for oldest in own.oldest(10, 100)] == [letter.id]
        assert own.forget_moved(role, [letter.id])
        assert own.load().entries == 0
        client.delete("dead:mover", f"bad.{role}")
