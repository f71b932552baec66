"""A job in memory, a ledger of sets, and a store that can be interrupted at every step."""

from __future__ import annotations

import io
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pyarrow.parquet as pq

from shared import keys
from shared.errors import ItemErrorCode
from shared.item import Item, ItemFailure
from shared.job import Closing, EngineUsed, JobSpec
from shared.job_store import JobStore
from shared.ledger import JobProgress, Ledger, Stale
from shared.manifest import Items, Seal, Segment, encode_seal, encode_segment
from shared.messages import Result, Timings
from tests.support import samples
from tests.support.memory_store import MemoryStore
from tests.support.samples import INCARNATION, JOB_UID
from workers.collector.chunk_file import ChunkFiles
from workers.collector.closing_loop import ClosingLoop

Identity = tuple[str, str]
Row = dict[str, Any] | ItemFailure
CAT = {
    "classes": {
        "class_index": 3,
        "predictions": [{"label": "cat", "score": 0.75}, {"label": 'a "dog"', "score": 0.25}],
    }
}
_T = TypeVar("_T")


class Died(BaseException):
    """A SIGKILL, as far as a thread can feel one."""


class SteppingStore(MemoryStore):
    """Calls ``at_step`` with a count before every operation, and again after those that write.

    ``written``: what came, and what went, in order.
    """

    def __init__(self, *buckets: str) -> None:
        super().__init__(*buckets)
        self.at_step: Callable[[int], None] = lambda _step: None
        self.written: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Count from zero."""
        self._steps = itertools.count()
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            number = next(self._steps)
        self.at_step(number)

    def request(self, name: str, key: str, action: Callable[[], _T]) -> _T:
        self.step()
        answer = action()
        if name == "delete" or (name == "create" and answer):
            self.written.append(f"without {key}" if name == "delete" else key)
            self.step()
        return answer


@dataclass
class SetLedger:
    """What a collector asks of the ledger. ``done``: chunks by job uid."""

    job_ids: dict[str, str] = field(default_factory=dict)
    done: dict[str, set[int]] = field(default_factory=dict)
    live: dict[str, int] = field(default_factory=dict)
    reopened: list[int] = field(default_factory=list)

    def register_job(self, uid: str, job_id: str) -> None:
        self.job_ids[uid] = job_id
        self.done.setdefault(uid, set())

    def incarnation(self) -> str:
        return INCARNATION

    def jobs(self) -> list[str]:
        return sorted(self.job_ids)

    def progress(self, uid: str) -> JobProgress | None:
        if uid not in self.job_ids:
            return None
        done, live = len(self.done[uid]), self.live.get(uid, 0)
        return JobProgress(uid, self.job_ids[uid], done, live, False, {})

    def done_between(self, uid: str, first: int, end: int) -> int:
        return sum(first <= chunk < end for chunk in self.done.get(uid, ()))

    def reopen(self, incarnation: str, uid: str, chunk: int) -> None:
        if uid not in self.job_ids:
            raise Stale("job")
        self.done[uid].discard(chunk)
        self.reopened.append(chunk)

    def close_job(self, incarnation: str, uid: str) -> None:
        self.job_ids.pop(uid, None)
        self.done.pop(uid, None)


class MemoryJob:
    """A job with its spec and all of its manifest but the seal written, and its results to be had.

    Every fifth image fails. ``answer``: that of all others, by analysis.
    """

    def __init__(
        self,
        chunks: int | list[Items],
        chunk_items: int = 2,
        *,
        store: SteppingStore | None = None,
        answer: dict[str, Any] = CAT,
        **spec: Any,
    ) -> None:
        given = {
            "job_id": "job",
            "job_uid": JOB_UID,
            "bucket": "photos",
            "output_bucket": "results",
            "pipeline": samples.pipeline(),
            "pipeline_sha256": samples.pipeline().sha256,
            "headrace_version": "1.2.3",
        }
        self.answer = answer
        self.spec = JobSpec.model_validate({**given, **spec})
        self.store = store or SteppingStore("state", "results")
        self.jobs = JobStore(self.store, "state")
        self.ledger = SetLedger()
        self.chunks = chunks if isinstance(chunks, list) else _numbered(chunks, chunk_items)
        self.jobs.create_spec(self.spec)
        self.ledger.register_job(self.spec.job_uid, self.spec.job_id)
        self._segments = self._write_segments()

    @property
    def images(self) -> Counter[Identity]:
        """What is listed."""
        return Counter((item.key, item.etag) for items in self.chunks for item in items)

    def _write_segments(self) -> int:
        """Two segments, where there are chunks enough. Returns their number."""
        half = len(self.chunks) // 2
        spans = [(0, half), (half, len(self.chunks))]
        segments = [Segment(a, tuple(self.chunks[a:b])) for a, b in spans if b > a]
        for number, segment in enumerate(segments):
            self._write_manifest_part(number, encode_segment(segment))
        return len(segments)

    def seal(self, **changes: Any) -> None:
        """End the manifest, with what is listed or with other totals."""
        items = [item for chunk in self.chunks for item in chunk]
        totals = {
            "chunks": len(self.chunks),
            "listed": len(items),
            "total_bytes": sum(item.size for item in items),
            "skipped": 1,
        }
        self._write_manifest_part(self._segments, encode_seal(Seal(**{**totals, **changes})))

    def _write_manifest_part(self, number: int, data: bytes) -> None:
        self.store.put("state", keys.segment_key(self.spec.job_id, number), data)

    def result(self, chunk: int, **changes: Any) -> Result:
        """The result of one chunk. ``rows``: of all its items, where they are not as usual."""
        pipeline = self.spec.pipeline
        rows = changes.pop("rows", None) or [self.row_of(item) for item in self.chunks[chunk]]
        engine = changes.pop("engine", "onnxruntime")
        by = EngineUsed(engine=engine, precision="float32", device="cpu")
        given = {
            "chunk": chunk,
            "job_id": self.spec.job_id,
            "job_uid": self.spec.job_uid,
            "pipeline": pipeline,
            "answers": samples.answers(pipeline, pipeline.route[-2], *rows),
            "computed": dict.fromkeys(pipeline.network_analyses, by),
            "timings": Timings(
                fetch_seconds=0.1,
                device_seconds=0.5,
                device_started_at=1000.0 + chunk,
                device_ended_at=1000.5 + chunk,
            ),
        }
        return samples.result(**{**given, **changes})

    def row_of(self, item: Item) -> Row:
        """What is known of an item: every fifth fails."""
        if int(item.etag[1:]) % 5 == 4:
            return ItemFailure(error_code=ItemErrorCode.CORRUPT, error_message="It is damaged.")
        return {"width": 40, "height": 30, **self.answer}

    def finish(self, *chunks: int, **changes: Any) -> None:
        """Do what the collector's stage and the runtime do for these chunks."""
        for chunk in chunks:
            ChunkFiles(self.store, "state").write(self.result(chunk, **changes))
            if self.spec.job_uid in self.ledger.done:
                self.ledger.done[self.spec.job_uid].add(chunk)

    def finish_all(self) -> None:
        self.finish(*range(len(self.chunks)))

    def collector(self) -> ClosingLoop:
        """A collector that has just started."""
        files = ChunkFiles(self.store, "state")
        return ClosingLoop(cast(Ledger, self.ledger), self.jobs, files, lambda _bucket: self.store)

    def rows(self) -> Counter[Identity]:
        """What a glob over the parts gives."""
        found: Counter[Identity] = Counter()
        for key, data in self.output("rows/").items():
            assert key.endswith(".parquet")
            table = pq.read_table(io.BytesIO(data), columns=["key", "etag"])
            found.update(zip(*(column.to_pylist() for column in table.columns), strict=True))
        return found

    def output(self, below: str = "") -> dict[str, bytes]:
        """The objects in the job's output folder, by their names there."""
        root = keys.output_root(self.spec)
        return {
            key.removeprefix(root): data
            for key, data in self.store.buckets["results"].items()
            if key.startswith(root + below)
        }

    def chunk_files(self) -> list[str]:
        prefix = keys.chunks_prefix(self.spec.job_id)
        return [key for key in self.store.buckets["state"] if key.startswith(prefix)]

    def closing(self) -> Closing:
        existing = self.jobs.closing(self.spec.job_id)
        assert existing is not None
        return existing


def _numbered(chunks: int, chunk_items: int) -> list[Items]:
    names = itertools.count()
    return [tuple(_item(next(names)) for _ in range(chunk_items)) for _ in range(chunks)]


def _item(number: int) -> Item:
    return Item(key=f"a photo {number:04}.jpg", etag=f"e{number}", size=100 + number)
