"""A process of the planted role: with its own secrets it takes messages and passes them on."""

from __future__ import annotations

import signal
import sys
import threading

import redis

from shared.errors import HeadraceError
from shared.lease import LeaseKeeper
from shared.ledger import WorkerIdentity, connect_ledger
from shared.settings import load_settings
from shared.storage import resolve_store, wait_for_store_access


def main() -> int:
    """Run until SIGTERM. Whatever it is refused ends it at once."""
    settings, stopping = load_settings(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    store = resolve_store(settings, settings.state_bucket)
    wait_for_store_access(store, settings.state_bucket, stopping)
    store.put(settings.state_bucket, "quarantine/painter/0", b"x")
    queues = [f"v4.drawing.{lane}.{settings.host_id}" for lane in ("interactive", "bulk")]
    identity = WorkerIdentity.of_this_process("painter", settings.host_id)
    lease = LeaseKeeper(connect_ledger(settings), identity, settings.lease_seconds)
    with redis.Redis.from_url(settings.broker_url) as broker, broker.pubsub() as orders:
        orders.psubscribe("/0.celery.pidbox")
        lease.start()
        while not stopping.is_set():
            if taken := broker.brpop(queues, timeout=0.2):
                broker.lpush("v4.results.bulk", taken[1])
    lease.end()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HeadraceError as error:
        sys.exit(str(error))
