"""A worker for tests that has one item, runs it alone, and says what came of it.

``python -m tests.support.workers.lone_worker URL ATTEMPT PAYLOAD``
"""

from __future__ import annotations

import sys
import threading

import redis

from shared.ledger import ChunkRef, Ledger, WorkerIdentity
from shared.stages import PREPROCESS
from tests.support import samples
from workers.suspects import KillVerdict, SuspectTrial
from workers.suspects.packet import Packet

ITEM = 3


def main() -> int:
    """Claim the first chunk and run its item, which may take this process along."""
    url, attempt, payload = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
    client = redis.Redis.from_url(url, decode_responses=True)
    ledger = Ledger(client, lease_seconds=0.2)
    worker = WorkerIdentity("preprocess", "lone", "testhost")
    ref = ChunkRef(samples.INCARNATION, samples.JOB_UID, 0, attempt)
    ledger.claim(ref, PREPROCESS, worker)
    trial: SuspectTrial[str] = SuspectTrial(
        "tests.support.suspect_child",
        Packet({}),
        lambda packet: str(packet.payload),
        start_seconds=30,
        item_seconds=30,
        note=lambda item: ledger.mark_running_alone(ref, PREPROCESS, worker, item),
        stopping=threading.Event(),
    )
    with trial:
        verdict = trial.run(ITEM, payload)
    print(verdict.reason if isinstance(verdict, KillVerdict) else verdict)
    return 0


if __name__ == "__main__":
    sys.exit(main())
