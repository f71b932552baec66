"""The ledger: which chunk is where, and who lives. A cache of the bucket; it may be wiped."""

from shared.ledger.ledger import Ledger, Stale, connect
from shared.ledger.records import ChunkRef, Claim, JobProgress, LiveWorker, Stage, WorkerIdentity

__all__ = [
    "ChunkRef",
    "Claim",
    "JobProgress",
    "Ledger",
    "LiveWorker",
    "Stage",
    "Stale",
    "WorkerIdentity",
    "connect",
]
