"""Bringing back what is lost: chunks of dead holders, and chunks whose messages are gone."""

from __future__ import annotations

import logging
from collections.abc import Callable

from producer.feed import Sender
from shared.ledger import ChunkRef, Ledger

log = logging.getLogger(__name__)

_SAMPLES = 3


class Rescuer:
    """One pass after another, each some seconds apart.

    ``resend`` sends the first stage's message of a rescued chunk. Between ledger and broker there
    is always a chunk on its way, so only what is missing from a queue in every sample of two
    passes in a row counts as lost.
    """

    def __init__(self, ledger: Ledger, sender: Sender, resend: Callable[[ChunkRef], None]) -> None:
        self._ledger, self._sender, self._resend = ledger, sender, resend
        self._missing_before: dict[str, int] = {}

    def forget(self) -> None:
        """After an outage what was counted before says nothing."""
        self._missing_before.clear()

    def rescue(self, incarnation: str) -> int:
        """One pass. Returns how many chunks were sent back. Raises TransientError, Stale."""
        refs = self._ledger.rescue_held(incarnation)
        if refs:
            log.warning("rescued %d chunks whose holders are gone", len(refs))
        for queue in self._ledger.queues():
            refs += self._rescue_queued(incarnation, queue)
        for ref in refs:
            self._resend(ref)
        return len(refs)

    def _rescue_queued(self, incarnation: str, queue: str) -> list[ChunkRef]:
        missing = min(self._sample(queue) for _ in range(_SAMPLES))
        lost = min(missing, self._missing_before.pop(queue, 0))
        if lost <= 0:
            self._missing_before[queue] = missing
            return []
        log.warning("rescued %d chunks whose messages are gone from %s", lost, queue)
        return self._ledger.rescue_queued(incarnation, queue, lost)

    def _sample(self, queue: str) -> int:
        recorded = self._ledger.queued_count(queue)
        return max(0, recorded - self._sender.ready_length(queue))
