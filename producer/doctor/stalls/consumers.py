"""Workers that live by their leases and take messages from another broker than the settings'."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import closing
from urllib.parse import urlsplit

import redis

from producer.doctor.stalls.finding import Finding
from producer.stack.rights.broker_users import ADMIN
from shared.broker.queues import connect_queues
from shared.errors import HeadraceError
from shared.ledger import Ledger, LiveWorker
from shared.settings import Settings
from shared.stages import STAGES

# Of a lease. A worker that lives has renewed it by then, and has said there if it is stopping; one
# that has just lost its connection is back.
LOOK_AGAIN_AFTER = 0.5

Missing = dict[str, tuple[int, int]]


def missing_consumers(
    settings: Settings, ledger: Ledger, workers: Collection[LiveWorker]
) -> list[Finding]:
    """A finding for each role of which more workers live than take messages at this broker.

    A worker that stops takes none and is left out, and so is one that was killed: its lease runs
    on, but nobody renews it between two looks. The producer only sends. Nothing is said where a
    service does not answer, or the broker does not tell who is connected.
    """
    pause_seconds = LOOK_AGAIN_AFTER * settings.lease_seconds
    try:
        alive = _taking(workers)
        if not alive or not _missing(settings, alive):
            return []
        time.sleep(pause_seconds)
        until = settings.lease_seconds - pause_seconds
        alive = _taking(w for w in ledger.workers() if w.lease_left_seconds > until)
        missing = _missing(settings, alive)
    except (redis.RedisError, HeadraceError):
        return []
    return [_finding(settings, role, *counts) for role, counts in missing.items()]


def _consumers() -> set[str]:
    """The roles that take messages."""
    return {stage.role for stage in STAGES.values()}


def _taking(workers: Iterable[LiveWorker]) -> list[LiveWorker]:
    """The workers that should be taking messages."""
    return [w for w in workers if w.role in _consumers() and not w.stopping]


def _missing(settings: Settings, alive: Collection[LiveWorker]) -> Missing:
    """For each role that misses any: how many live, and how many of them are connected.

    A worker that is connected listens for Celery's remote control, as long as it works.
    """
    found = _connected(settings, alive)
    living = Counter(worker.role for worker in alive)
    if found.keys() - _consumers():  # one user for all roles: which of them is missing is not known
        connected = sum(found.values())
        return {} if connected >= living.total() else {role: (n, 0) for role, n in living.items()}
    return {role: (n, found[role]) for role, n in living.items() if found[role] < n}


def _connected(settings: Settings, alive: Collection[LiveWorker]) -> Counter[str]:
    """How many workers are connected, by role, or by user where all roles have the same."""
    roles = {f"{w.process}@{w.host_id}": w.role for w in alive}
    user_is_role = urlsplit(settings.broker_url).username == ADMIN
    found: Counter[str] = Counter()
    with closing(connect_queues(settings)) as queues:
        for name, count in queues.listeners(roles).items():
            role = roles.get(name, name)
            if role in _consumers() or not user_is_role:
                found[role] += count
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
