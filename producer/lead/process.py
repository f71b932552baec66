"""``python -m producer.lead.process``: one producer. Any number may run, and one leads.

It leads by a lock, which saves work; where two believe that they lead, the bucket decides.
"""

from __future__ import annotations

import logging
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from shared.environment import settle

if __name__ == "__main__":
    settle()

from producer.lead.feed import Sender
from producer.lead.leader import Leader
from producer.sources.failed_rows import FailedRows
from producer.sources.listing import BucketListing, Listing
from shared.broker.publisher import MessagePublisher
from shared.errors import HeadraceError
from shared.job import JobSpec
from shared.job_store import JobStore
from shared.lease import LeaseKeeper
from shared.ledger import Ledger, WorkerIdentity, connect_ledger
from shared.patience import Outage
from shared.settings import Settings, load_settings
from shared.stages import PRODUCER_ROLE
from shared.storage import Store, resolve_store, wait_for_store_access
from shared.threads import guarded

log = logging.getLogger("producer")

LEADERSHIP_SECONDS = 5.0
RENEW_SECONDS = 1.0
BUSY_SECONDS = 0.02
IDLE_SECONDS = 0.1
STANDBY_SECONDS = 1.0
MAX_PAUSE_SECONDS = 2.0
# So long without a step that went well, other processes may be without their leases too.
OUTAGE_SECONDS = 2.0
STOP_SECONDS = 2.0


class ProducerProcess:
    """Leads while it can, stands by otherwise, until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        sender: Sender,
        store_of: Callable[[str], Store],
        stopping: threading.Event,
    ) -> None:
        self._settings = settings
        self._ledger, self._sender, self._store_of = ledger, sender, store_of
        self._stopping = stopping
        self._token = secrets.token_hex(8)
        self._led_at = 0.0
        self._leader: Leader | None = None

    def run(self) -> None:
        """Return when told to stop. Services that do not answer are waited for."""
        pause_seconds, went_well_at, outage = IDLE_SECONDS, time.monotonic(), Outage(log)
        while not self._stopping.wait(pause_seconds):
            try:
                pause_seconds = self._step()
                outage.clear()
                went_well_at = time.monotonic()
            except HeadraceError as error:
                outage.report(error)
                pause_seconds = min(2 * pause_seconds, MAX_PAUSE_SECONDS)
                # Now and then a call fails; were that an outage, nothing would ever be rescued.
                if self._leader is not None and time.monotonic() - went_well_at > OUTAGE_SECONDS:
                    self._leader.pause_rescue()

    def end(self) -> None:
        """Stop listing, and let another producer lead at once."""
        if self._leader is None:
            return
        self._leader.end()
        try:
            self._ledger.stop_leading(self._token)
        except HeadraceError:
            log.info("the leadership is left to run out")

    def _step(self) -> float:
        """Returns the seconds until the next step."""
        if not self._lead():
            if self._leader is not None:
                log.warning("another producer leads now")
                self._leader.end()
                self._leader = None
            return STANDBY_SECONDS
        if self._leader is None:
            log.info("leading")
            self._leader = self._make_leader()
        return BUSY_SECONDS if self._leader.tick() else IDLE_SECONDS

    def _lead(self) -> bool:
        now = time.monotonic()
        if self._leader is not None and now - self._led_at < RENEW_SECONDS:
            return True
        leads = self._ledger.lead(self._token, LEADERSHIP_SECONDS)
        self._led_at = now if leads else 0.0
        return leads

    def _make_leader(self) -> Leader:
        settings, store_of = self._settings, self._store_of
        jobs = JobStore(store_of(settings.state_bucket), settings.state_bucket)

        def listing_of(spec: JobSpec) -> Listing:
            if spec.retry_of is not None:
                return FailedRows(store_of, jobs, spec)
            return BucketListing(store_of(spec.bucket), spec)

        return Leader(
            *(settings, jobs, listing_of, self._ledger, self._sender),
            keep_leading=self._lead,
            clock=time.monotonic,
        )


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
        return _run(load_settings(), stopping)
    except HeadraceError as error:
        log.error("%s", error)
        return 1


def _run(settings: Settings, stopping: threading.Event) -> int:
    identity = WorkerIdentity.of_this_process(PRODUCER_ROLE, settings.host_id)
    lease = LeaseKeeper(
        connect_ledger(settings),
        identity,
        settings.lease_seconds,
        alive_file=settings.alive_file,
    )
    store_of = partial(resolve_store, settings)
    process = ProducerProcess(
        *(settings, connect_ledger(settings), MessagePublisher(settings), store_of, stopping)
    )

    def work() -> None:
        store = resolve_store(settings, settings.state_bucket)
        wait_for_store_access(store, settings.state_bucket, stopping)
        lease.start()
        log.info("%s is ready", identity.name)
        process.run()

    # In a thread, so that a store that hangs does not keep the process from stopping.
    thread = guarded("leader", work, ended=stopping.is_set)
    thread.start()
    stopping.wait()
    thread.join(STOP_SECONDS)
    process.end()
    lease.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
