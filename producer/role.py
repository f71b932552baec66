"""``python -m producer.role``: one producer. Any number may run; one leads, by a lock that saves
work, and the bucket's create-only writes decide where two believe that they lead."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
from functools import partial

from producer.failed_rows import FailedRows
from producer.leader import Leader
from producer.listing import BucketListing, Listing
from shared.celery_app import Publisher
from shared.errors import HeadraceError, TransientError
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.lease import LeaseKeeper
from shared.ledger import Ledger, WorkerIdentity
from shared.ledger import connect as connect_ledger
from shared.settings import Settings, load_settings
from shared.storage import resolve_store

log = logging.getLogger("producer")

LEADERSHIP_SECONDS = 5.0
BUSY_SECONDS = 0.02
IDLE_SECONDS = 0.1
STANDBY_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 2.0


class Role:
    """Leads while it can, stands by otherwise, until it is told to stop."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._settings = settings
        self._stopping = stopping
        self._ledger: Ledger = connect_ledger(settings)
        self._token = secrets.token_hex(8)
        process = os.environ.get("HEADRACE_PROCESS", "producer-1")
        self._identity = WorkerIdentity("producer", process, settings.host_id)
        self._leader: Leader | None = None

    def run(self) -> None:
        """Return when told to stop."""
        lease = LeaseKeeper(self._ledger, self._identity, self._settings.lease_seconds)
        lease.start()
        pause_seconds = IDLE_SECONDS
        while not self._stopping.is_set():
            try:
                pause_seconds = self._step()
            except TransientError as error:
                if pause_seconds < LONGEST_PAUSE_SECONDS / 2:
                    log.warning("%s", error)
                pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)
                if self._leader is not None:
                    self._leader.hold_off()
            self._stopping.wait(pause_seconds)
        self._end()
        lease.end()

    def _step(self) -> float:
        """Returns the seconds until the next step."""
        if not self._ledger.lead(self._token, LEADERSHIP_SECONDS):
            if self._leader is not None:
                log.warning("another producer leads now")
                self._leader.end()
                self._leader = None
            return STANDBY_SECONDS
        if self._leader is None:
            log.info("%s leads", self._identity.name)
            self._leader = self._make_leader()
        return BUSY_SECONDS if self._leader.tick() else IDLE_SECONDS

    def _make_leader(self) -> Leader:
        settings = self._settings
        store_of = partial(resolve_store, settings)
        jobs = JobStore(store_of(settings.state_bucket), settings.state_bucket)

        def listing_of(spec: JobSpec) -> Listing:
            if spec.retry_of is not None:
                return FailedRows(store_of, jobs, spec)
            return BucketListing(store_of(spec.bucket), spec)

        return Leader(settings, jobs, listing_of, self._ledger, Publisher(settings))

    def _end(self) -> None:
        if self._leader is not None:
            self._leader.end()
            try:
                self._ledger.stop_leading(self._token)
            except TransientError:
                log.info("the leadership is left to run out")


def main() -> int:
    """Run until SIGTERM. Returns the exit code."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        Role(load_settings(), stopping).run()
    except HeadraceError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
