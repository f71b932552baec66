"""The broker's users as a server reads them, an old one too: every rule must be known to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import redis

from producer.stack.rights.broker_users import ADMIN
from producer.stack.roles import ROLES
from shared.broker.dead_letters import DeadLetter, DeadLetters
from shared.broker.redis_queues import RedisQueues
from shared.ledger import ChunkRef
from shared.staging import NetworkStaging
from tests.support.broker_accounts import add_users, url_as
from tests.support.rights import FOREIGN, NEVER, OWN
from tests.support.rights_tried import allowed
from tests.support.servers import RunningValkey, start_valkey

OTHERS = (
    *("CLIENT LIST", "CLIENT KILL TYPE normal", "CLIENT PAUSE 1", "CLIENT UNBLOCK 1"),
    *("CLIENT NO-EVICT on", "CLIENT TRACKING on", "CLIENT REPLY SKIP", "CLIENT INFO"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningValkey]:
    directory = tmp_path_factory.mktemp("users")
    server = start_valkey(directory)
    add_users(server.url)
    yield server
    server.stop()


def as_role(server: RunningValkey, role: str) -> Any:
    return redis.Redis.from_url(url_as(server.url, role), decode_responses=True)


@pytest.mark.parametrize("role", [ADMIN, *ROLES])
def test_every_role_may_connect_and_say_what_it_is(server: RunningValkey, role: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.acl_log_reset()
        with as_role(server, role) as of_role:
            assert of_role.ping()
        assert client.acl_log() == []


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_touch_other_connections(server: RunningValkey, role: str) -> None:
    with as_role(server, role) as client:
        for command in OTHERS:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_its_own_commands_and_keys_only(server: RunningValkey, role: str) -> None:
    commands = (*NEVER, *(command.format(host="host") for command in FOREIGN[role]))
    with as_role(server, role) as client:
        assert allowed(client, ["PING", *commands]) == ["PING"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_uses_its_queues_of_both_lanes(server: RunningValkey, role: str) -> None:
    commands = [command.format(host="host") for command in OWN[role]]
    with as_role(server, role) as client:
        assert allowed(client, commands) == commands
    with redis.Redis.from_url(server.url) as client:
        client.flushall()


@pytest.mark.parametrize("role", ["preprocess", "inference", "collector"])
def test_a_worker_adds_dead_letters_and_moves_the_oldest_on(
    server: RunningValkey, role: str
) -> None:
    with redis.Redis.from_url(server.url) as client, as_role(server, role) as of_role:
        everybodys, own = (DeadLetters(c, RedisQueues.put_back) for c in (client, of_role))
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


def test_pixels_for_other_hosts_are_for_the_two_roles_that_need_them(
    server: RunningValkey,
) -> None:
    def staging(role: str) -> NetworkStaging:
        client = redis.Redis.from_url(url_as(server.url, role))
        return NetworkStaging(client, lambda refs: [False for _ in refs], budget_bytes=100)

    ref, other = ChunkRef("1" * 16, "2" * 16, 0, 1), ChunkRef("1" * 16, "2" * 16, 1, 1)
    preprocess = staging("preprocess")
    preprocess.take(100, other, stopping=lambda: False)  # which is to make room
    hold = preprocess.take(100, ref, stopping=lambda: False)
    hold.pixels[:] = 7
    hold.send(100)
    for role in ("producer", "collector", "flower"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            staging(role).read(ref, 100)
    assert np.all(staging("inference").read(ref, 100) == 7)
    for role in ("producer", "inference", "collector", "flower"):
        with pytest.raises(redis.ResponseError, match=r"can't (run|access)|[Pp]ermission"):
            staging(role).take(100, ref, stopping=lambda: False)
