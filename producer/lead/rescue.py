"""Bringing back what is lost: chunks of dead holders, and chunks whose messages are gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from producer.lead.feed import Sender
from shared.ledger import ChunkRef, Ledger
from shared.stages import host_of_queue

log = logging.getLogger(__name__)

SAMPLES = 3
SAMPLE_SECONDS = 0.03
# So long a host may be without a worker of a stage, which may just be starting again.
DRAIN_LEASES = 3


class Rescuer:
    """One pass after another, each about a second apart.

    ``resend`` sends the first stage's message of a rescued chunk. Between ledger and broker there
    is often a chunk on its way, so only what is missing from a queue in every sample of two passes
    in a row counts as lost.
    """

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        resend: Callable[[ChunkRef], None],
        lease_seconds: float,
    ) -> None:
        self._ledger, self._sender, self._resend = ledger, sender, resend
        self._drain_seconds = DRAIN_LEASES * lease_seconds
        self._missing_before: dict[str, int] = {}
        self._deserted_since: dict[str, float] = {}

    def forget(self) -> None:
        """After an outage what was counted before says nothing."""
        self._missing_before, self._deserted_since = {}, {}

    def rescue(self, incarnation: str, now: float) -> int:
        """One pass, at ``now`` by a monotonic clock, in seconds.

        Returns how many chunks were sent back. Raises TransientError, Stale.
        """
        refs = self._ledger.rescue_held(incarnation)
        if refs:
            log.warning("rescued %d chunks whose holders are gone", len(refs))
        queues = self._ledger.queues()
        refs += self._drain(incarnation, queues, now)
        refs += self._rescue_queued(incarnation, queues)
        for ref in refs:
            self._resend(ref)
        return len(refs)

    def _drain(self, incarnation: str, queues: list[str], now: float) -> list[ChunkRef]:
        """Send back what waits for a host that has had no worker of its stage for long.

        While no such worker lives on any other host either, moving it would not help.
        """
        hosts = {queue: found for queue in queues if (found := host_of_queue(queue))}
        live = {stage: self._ledger.hosts(stage.role) for stage, _ in hosts.values()}
        since = self._deserted_since
        self._deserted_since = {
            queue: since.get(queue, now)
            for queue, (stage, host) in hosts.items()
            if live[stage] and host not in live[stage]
        }
        refs = []
        for queue, deserted_at in self._deserted_since.items():
            if now - deserted_at >= self._drain_seconds:
                self._sender.discard(queue)
                count = self._ledger.queued_count(queue)
                log.warning("drained %d chunks of %s: no worker lives there", count, queue)
                refs += self._ledger.rescue_queued(incarnation, queue, count)
        return refs

    def _rescue_queued(self, incarnation: str, queues: list[str]) -> list[ChunkRef]:
        before, self._missing_before = self._missing_before, self._missing(queues)
        refs = []
        for queue, missing in self._missing_before.items():
            lost = min(missing, before.get(queue, 0))
            if lost:
                log.warning("rescued %d chunks whose messages are gone from %s", lost, queue)
                refs += self._ledger.rescue_queued(incarnation, queue, lost)
                self._missing_before[queue] = 0  # their messages are on their way
        return refs

    def _missing(self, queues: list[str]) -> dict[str, int]:
        """For each queue, how many messages were missing at all times."""
        missing = {queue: self._sample(queue) for queue in queues}
        for _ in range(SAMPLES - 1):
            short = [queue for queue, count in missing.items() if count]
            if not short:
                break
            time.sleep(SAMPLE_SECONDS)
            for queue in short:
                missing[queue] = min(missing[queue], self._sample(queue))
        return missing

    def _sample(self, queue: str) -> int:
        # In this order a chunk that is queued meanwhile is not missed.
        recorded = self._ledger.queued_count(queue)
        return max(0, recorded - self._sender.ready_length(queue))
