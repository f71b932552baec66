"""Bringing back what is lost: chunks of dead holders, and chunks whose messages are gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from producer.feed import Sender
from shared.ledger import ChunkRef, Ledger

log = logging.getLogger(__name__)

SAMPLES = 3
SAMPLE_SECONDS = 0.03


class Rescuer:
    """One pass after another, each some seconds apart.

    ``resend`` sends the first stage's message of a rescued chunk. Between ledger and broker there
    is often a chunk on its way, so only what is missing from a queue in every sample of two passes
    in a row counts as lost.
    """

    def __init__(
        self,
        ledger: Ledger,
        sender: Sender,
        resend: Callable[[ChunkRef], None],
    ) -> None:
        self._ledger, self._sender, self._resend = ledger, sender, resend
        self._missing_before: dict[str, int] = {}

    def forget(self) -> None:
        """After an outage what was counted before says nothing."""
        self._missing_before = {}

    def rescue(self, incarnation: str) -> int:
        """One pass. Returns how many chunks were sent back. Raises TransientError, Stale."""
        refs = self._ledger.rescue_held(incarnation)
        if refs:
            log.warning("rescued %d chunks whose holders are gone", len(refs))
        refs += self._rescue_queued(incarnation)
        for ref in refs:
            self._resend(ref)
        return len(refs)

    def _rescue_queued(self, incarnation: str) -> list[ChunkRef]:
        # The queue of a host that is gone would be drained here; a stopped worker's is left alone.
        before, self._missing_before = self._missing_before, self._missing()
        refs = []
        for queue, missing in self._missing_before.items():
            lost = min(missing, before.get(queue, 0))
            if lost:
                log.warning("rescued %d chunks whose messages are gone from %s", lost, queue)
                refs += self._ledger.rescue_queued(incarnation, queue, lost)
                self._missing_before[queue] = 0  # their messages are on their way
        return refs

    def _missing(self) -> dict[str, int]:
        """For each queue, how many messages were missing at all times."""
        missing = {queue: self._sample(queue) for queue in self._ledger.queues()}
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
