"""What a command reaches, in memory: for tests of the logic behind the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from producer.connections import Connections
from shared.errors import TransientError
from shared.job_store import JobStore
from shared.ledger import ChunkPlace, ChunkRef, JobProgress, Ledger, LiveWorker
from shared.settings import RingSettings, S3Settings, Settings
from tests.support.memory_store import MemoryStore

MIB = 2**20
PIPELINE = """\
name: shape
preprocess:
  resize_shorter_pixels: 64
  crop_pixels: 64
model:
  python: shape:Shape
"""


@dataclass
class FakeLedger:
    """``down`` makes it answer nothing."""

    down: bool = False
    hints: list[str] = field(default_factory=list)
    live: list[LiveWorker] = field(default_factory=list)
    open_jobs: dict[str, JobProgress] = field(default_factory=dict)
    held: list[ChunkPlace] = field(default_factory=list)
    stale: dict[str, int] = field(default_factory=dict)

    def hint(self, job_id: str) -> None:
        self._check()
        self.hints.append(job_id)

    def workers(self) -> list[LiveWorker]:
        self._check()
        return self.live

    def progress(self, job_uid: str) -> JobProgress | None:
        self._check()
        return self.open_jobs.get(job_uid)

    def jobs(self) -> list[str]:
        self._check()
        return sorted(self.open_jobs)

    def places(self, job_uids: Iterable[str]) -> list[ChunkPlace]:
        self._check()
        uids = list(job_uids)
        return [place for place in self.held if place.job_uid in uids]

    def stale_counts(self) -> dict[str, int]:
        self._check()
        return self.stale

    def still_staged(self, refs: list[ChunkRef]) -> list[bool]:
        self._check()
        return [False for _ in refs]

    def _check(self) -> None:
        if self.down:
            raise TransientError("ledger_unavailable", "The ledger does not answer.")


@dataclass
class Fake:
    """Connections, and the doubles behind them; ``pipeline`` is a file that resolves."""

    connections: Connections
    store: MemoryStore
    ledger: FakeLedger
    pipeline: Path
    warnings: list[str] = field(default_factory=list)

    def put_images(self, bucket: str, *keys: str) -> None:
        self.store.make_bucket(bucket)
        for key in keys:
            self.store.put(bucket, key, b"image " + key.encode())


def fake_connections(folder: Path, **settings: Any) -> Fake:
    """A fresh state bucket, a live producer, and a class ``shape:Shape`` beside its pipeline."""
    (folder / "shape.py").write_text("class Shape: ...\n")
    pipeline = folder / "shape.yaml"
    pipeline.write_text(PIPELINE)
    given: dict[str, Any] = {
        "home": folder,
        "host_id": "host",
        "broker_url": "redis://:secret@127.0.0.1:1/0",
        "ledger_url": "redis://:secret@127.0.0.1:1/1",
        "s3": S3Settings(endpoint="127.0.0.1:1", access_key="a", secret_key="s"),
        "ring": RingSettings(directory=folder, slot_bytes=(MIB, 10 * MIB), slot_counts=(1, 2)),
        "signing_keys": ("k" * 32,),
        **settings,
    }
    store = MemoryStore("state", "models")
    ledger = FakeLedger(live=[LiveWorker("p", "producer", "producer-1", "host", 1, ())])
    connections = Connections(
        settings=Settings(**given),
        jobs=JobStore(store, "state"),
        ledger=cast(Ledger, ledger),
        store_of=lambda _bucket: store,
    )
    return Fake(connections, store, ledger, pipeline)
