"""Workers that live by their leases and take messages from another broker than the settings'."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import redis

from producer.stack.broker_users import ADMIN
from producer.standing.finding import Finding
from shared import rabbitmq
from shared.errors import HeadraceError
from shared.ledger import LiveWorker
from shared.queues import queues
from shared.redis_client import redis_client
from shared.settings import Settings

# A worker that has just lost its connection is back by then.
LOOK_AGAIN_SECONDS = 1.0

Missing = dict[str, tuple[int, int]]


def missing_consumers(settings: Settings, workers: Collection[LiveWorker]) -> list[Finding]:
    """A finding for each role of which more workers live than take messages at this broker.

    The producer only sends, so it is not among them. Nothing is said where the broker does not
    answer, or does not tell who is connected.
    """
    alive = Counter((w.role, w.host_id) for w in workers if w.role in _CONSUMERS)
    try:
        if not alive or not _missing(settings, alive):
            return []
        time.sleep(LOOK_AGAIN_SECONDS)
        missing = _missing(settings, alive)
    except (redis.RedisError, HeadraceError):
        return []
    return [_finding(settings, role, *counts) for role, counts in missing.items()]


_CONSUMERS = {queue.role for queue in queues("")}


def _missing(settings: Settings, alive: Counter[tuple[str, str]]) -> Missing:
    """For each role that misses any: how many live, and how many of them are connected."""
    if rabbitmq.speaks_amqp(settings.broker_url):
        found = _at_rabbitmq(settings, alive)
    else:
        found = _at_redis(settings)
    living: Counter[str] = Counter()
    for (role, _), count in alive.items():
        living[role] += count
    if found.keys() - _CONSUMERS:  # one user for all roles: which of them is missing is not known
        connected = sum(found.values())
        return {} if connected >= living.total() else {role: (n, 0) for role, n in living.items()}
    return {role: (n, found[role]) for role, n in living.items() if found[role] < n}


def _at_redis(settings: Settings) -> Counter[str]:
    """How many workers are connected, by the role whose user they are.

    Each has one connection that listens for Celery's remote control, and keeps it while it works.
    Its other connections prove nothing: dead letters go to the settings' broker in any case.
    """
    url = settings.broker_url
    client: Any = redis_client(url, settings.ca_file, timeout_seconds=3)
    database = str(client.connection_pool.connection_kwargs.get("db") or 0)
    by_role = urlsplit(url).username == ADMIN
    found: Counter[str] = Counter()
    with closing(client):
        for connection in client.client_list():
            listens = connection["db"] == database and connection["psub"] != "0"
            user = connection.get("user", "")
            if listens and (user in _CONSUMERS or not by_role):
                found[user] += 1
    return found


def _at_rabbitmq(settings: Settings, alive: Counter[tuple[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    with closing(rabbitmq.connect(settings)) as broker:
        names = {
            (q.role, q.name) for _, host in alive for q in queues(host) if (q.role, host) in alive
        }
        for role, name in names:
            found[role] += broker.consumers(name)
    return found


def _finding(settings: Settings, role: str, alive: int, connected: int) -> Finding:
    place = urlsplit(settings.broker_url).netloc.rpartition("@")[2]
    living = f"{alive} {role} worker{'s live' if alive > 1 else ' lives'}"
    taking = {0: "none takes", 1: "only one takes"}.get(connected, f"only {connected} take")
    return Finding(
        f"{living}, but {taking} messages from the broker that the settings name, {place}.",
        "Set HEADRACE_BROKER_URL here and at 'headrace up' to the same, or to nothing; then run "
        f"'headrace restart {role}', and see 'headrace logs {role}'.",
        role,
    )
