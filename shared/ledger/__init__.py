"""The ledger: which chunk is where, and who lives. A cache of the bucket; it may be wiped."""

from shared.ledger.connection import Stale
from shared.ledger.ledger import Ledger, connect_ledger
from shared.ledger.records import (
    ChunkPlace,
    ChunkRef,
    Claim,
    GivenBack,
    JobProgress,
    LiveWorker,
    WorkerIdentity,
)

__all__ = [
    "ChunkPlace",
    "ChunkRef",
    "Claim",
    "GivenBack",
    "JobProgress",
    "Ledger",
    "LiveWorker",
    "Stale",
    "WorkerIdentity",
    "connect_ledger",
]
