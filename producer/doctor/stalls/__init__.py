"""What stands still though every lease is renewed, each in one line with what to do."""

from __future__ import annotations

from collections.abc import Collection

from producer.connections import Connections
from producer.doctor.stalls.chunks import overdue_chunks
from producer.doctor.stalls.consumers import missing_consumers
from producer.doctor.stalls.finding import Finding, late_messages
from producer.doctor.stalls.slots import full_ring
from shared.errors import HeadraceError
from shared.ledger import LiveWorker

__all__ = [
    "Finding",
    "findings",
    "full_ring",
    "late_messages",
    "missing_consumers",
    "overdue_chunks",
]


def findings(
    connections: Connections,
    workers: Collection[LiveWorker] | None = None,
    job_uids: Collection[str] | None = None,
) -> list[Finding]:
    """All that stands still, of these jobs or of all; nothing where a service does not answer.

    A few requests where all is well; only what looks wrong is looked at twice, seconds apart.
    """
    settings, ledger = connections.settings, connections.ledger
    try:
        living = ledger.workers() if workers is None else workers
        ring = full_ring(settings, ledger, living)
        chunks = overdue_chunks(connections, job_uids)
    except HeadraceError:
        return []
    return [*chunks, *([ring] if ring else []), *missing_consumers(settings, ledger, living)]
