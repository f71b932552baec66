"""Real collectors: real broker, ledger and store; one is killed, another ends in good order."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from producer.job_rows import iter_rows
from producer.lead.leader import RESCUE_SECONDS
from producer.lead.rescue import Rescuer
from shared import keys
from shared.broker.publisher import MessagePublisher
from shared.item import Item
from shared.job import Closing, EngineUsed, JobSpec
from shared.job_store import JobStore
from shared.ledger import ChunkRef, Ledger, WorkerIdentity, connect_ledger
from shared.manifest import Seal, Segment, encode_seal, encode_segment
from shared.messages import Result, Timings
from shared.settings import S3Settings, Settings
from shared.stages import INFERENCE, PREPROCESS, RESULTS, queue_name
from shared.storage import Store, connect_store
from tests.support import samples
from tests.support.samples import save_settings
from tests.support.servers import start_seaweedfs, start_valkey
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
HELPER = WorkerIdentity("inference", "helper", "testhost")


@dataclass
class CollectorHarness:
    """A broker, a ledger and a store, and the collectors that work on them."""

    settings: Settings
    ledger: Ledger
    jobs: JobStore
    publisher: MessagePublisher
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return self.jobs.store

    def start_collector(self) -> subprocess.Popen[bytes]:
        """Returns when its lease stands."""
        name = f"collector-{len(self.processes) + 1}"
        environment = {"HEADRACE_HOME": str(self.settings.home), "HEADRACE_PROCESS": name}
        with (self.settings.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.collector"],
                env={**os.environ, **environment},
                stderr=log,
                cwd=REPOSITORY,
            )
        self.processes.append(process)
        wait_for(lambda: process.pid in {w.pid for w in self.ledger.workers()}, what=name)
        return process

    def register_job(
        self, job_id: str, uid: str, chunks: list[tuple[Item, ...]], output_bucket: str = "results"
    ) -> JobSpec:
        """A job whose manifest is written and sealed."""
        spec = JobSpec(
            job_id=job_id,
            job_uid=uid,
            bucket="photos",
            output_bucket=output_bucket,
            pipeline=samples.pipeline(),
            pipeline_sha256=samples.pipeline().sha256,
            headrace_version="1",
        )
        self.jobs.create_spec(spec)
        seal = Seal(chunks=len(chunks), listed=sum(map(len, chunks)), total_bytes=0, skipped=0)
        for number, body in enumerate(
            (encode_segment(Segment(0, tuple(chunks))), encode_seal(seal))
        ):
            self.store.put("state", keys.segment_key(job_id, number), body)
        self.ledger.register_job(samples.INCARNATION, uid, job_id, samples.FIRST_QUEUE)
        return spec

    def send(self, spec: JobSpec, chunks: list[tuple[Item, ...]], first: int, end: int) -> None:
        """Do what producer, preprocessing and inference do for chunks ``[first, end)``."""
        _, refs = self.ledger.feed(samples.INCARNATION, spec.job_uid, first, end, bound=10_000)
        for ref in refs:
            self.bring(spec, chunks, ref)

    def bring(self, spec: JobSpec, chunks: list[tuple[Item, ...]], ref: ChunkRef) -> None:
        """Take one attempt at a chunk through the first two stages."""
        for stage, after in ((PREPROCESS, INFERENCE), (INFERENCE, RESULTS)):
            self.ledger.claim(ref, stage, HELPER)
            queue = queue_name(RESULTS) if after is RESULTS else "elsewhere"
            self.ledger.advance(ref, stage, HELPER, after, queue)
        message = result(spec, ref, chunks[ref.chunk])
        self.publisher.send(RESULTS.task, queue_name(RESULTS), message)

    def rows(self, spec: JobSpec) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for info in self.store.list("results", keys.rows_prefix(spec)):
            table = pq.read_table(io.BytesIO(self.store.get("results", info.key)))
            found.update(zip(table["key"].to_pylist(), table["etag"].to_pylist(), strict=True))
        return found

    def closing(self, spec: JobSpec) -> Closing:
        found = wait_for(lambda: self.jobs.closing(spec.job_id), what=f"the end of {spec.job_id}")
        assert found is not None
        return found


def result(spec: JobSpec, ref: ChunkRef, items: tuple[Item, ...]) -> Result:
    row, used = {"classes": samples.prediction("cat", 0.5)}, spec.pipeline
    by = EngineUsed(engine="onnxruntime", precision="float32", device="cpu")
    return Result(
        incarnation=ref.incarnation,
        job_id=spec.job_id,
        job_uid=spec.job_uid,
        chunk=ref.chunk,
        attempt=ref.attempt,
        bucket=spec.bucket,
        pipeline=used,
        answers=samples.answers(used, INFERENCE, *[row] * len(items)),
        computed={"classes": by},
        scored_at=1000.0,
        timings=Timings(device_seconds=0.1, device_started_at=50.0, device_ended_at=50.1),
    )


def chunks_of(count: int) -> list[tuple[Item, ...]]:
    return [
        tuple(Item(key=f"in/{c:04}/{n} é#?.jpg", etag=f"{c}-{n}", size=7) for n in range(4))
        for c in range(count)
    ]


def identities(chunks: list[tuple[Item, ...]]) -> Counter[tuple[str, str]]:
    return Counter((item.key, item.etag) for items in chunks for item in items)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorHarness]:
    home = tmp_path_factory.mktemp("collector home")
    valkey, weed = start_valkey(home / "valkey"), start_seaweedfs(home / "weed")
    s3 = S3Settings(endpoint=weed.endpoint, access_key=weed.access_key, secret_key=weed.secret_key)
    settings = samples.settings(home, valkey.url).model_copy(update={"s3": s3})
    save_settings(settings)
    ledger = connect_ledger(settings)
    ledger.begin(samples.INCARNATION)
    store = connect_store(settings.s3)
    for bucket in ("state", "results"):
        store.make_bucket(bucket)
    harness = CollectorHarness(
        settings, ledger, JobStore(store, "state"), MessagePublisher(settings)
    )
    try:
        yield harness
    finally:
        for process in harness.processes:
            process.kill()
            process.wait()
        weed.stop()
        valkey.stop()


def test_a_killed_collector_loses_nothing_and_the_other_closes(harness: CollectorHarness) -> None:
    chunks = chunks_of(120)
    spec = harness.register_job("photos-1", samples.JOB_UID, chunks)
    first, second = harness.start_collector(), harness.start_collector()
    harness.send(spec, chunks, 0, 60)
    wait_for(lambda: harness.rows(spec), what="the first part")
    assert harness.rows(spec) <= identities(chunks)
    harness.send(spec, chunks, 60, 110)
    first.kill()
    first.wait()
    harness.send(spec, chunks, 110, 120)

    rescuer = Rescuer(
        *(harness.ledger, harness.publisher, partial(harness.bring, spec, chunks)),
        harness.settings.lease_seconds,
    )

    def closed_at_last() -> bool:
        """What the killed one held comes back, as the producer sees to."""
        rescuer.rescue(samples.INCARNATION, time.monotonic())
        return harness.jobs.closing(spec.job_id) is not None

    wait_for(closed_at_last, what="the end", every=RESCUE_SECONDS, deadline_seconds=150)
    closing = harness.closing(spec)
    assert (closing.state, closing.accounting.succeeded) == ("succeeded", 480)
    assert (closing.engine, closing.precision, closing.device) == ("onnxruntime", "float32", "cpu")
    assert harness.rows(spec) == identities(chunks)
    assert harness.store.exists("results", keys.success_key(spec))
    manifest: Any = json.loads(harness.store.get("results", keys.output_manifest_key(spec)))
    assert sum(part["rows"] for part in manifest["parts"]) == 480
    wait_for(lambda: not harness.ledger.jobs(), what="a ledger without the job")
    assert not list(harness.store.list("state", keys.chunks_prefix(spec.job_id)))
    tables = iter_rows(lambda _bucket: harness.store, harness.jobs, spec, status="ok")
    assert sum(table.num_rows for table in tables) == 480
    second.terminate()
    assert second.wait(20) == 0


def test_an_output_bucket_that_is_not_there_ends_the_job(harness: CollectorHarness) -> None:
    chunks = chunks_of(1)
    spec = harness.register_job("photos-2", "4" * 16, chunks)
    gone = harness.register_job("photos-3", "5" * 16, chunks, output_bucket="nowhere")
    harness.start_collector()
    harness.send(spec, chunks, 0, 1)
    harness.send(gone, chunks, 0, 1)
    assert harness.closing(gone).state == "failed"
    assert "nowhere" in (harness.closing(gone).error or "")
    assert harness.closing(spec).state == "succeeded"


def test_a_result_about_other_images_than_listed_is_sent_again(harness: CollectorHarness) -> None:
    chunks = chunks_of(3)
    spec = harness.register_job("photos-4", "6" * 16, chunks)
    collector = harness.start_collector()
    harness.send(spec, [chunks[0], chunks[1][:2], chunks[2]], 0, 3)
    rescuer = Rescuer(
        *(harness.ledger, harness.publisher, partial(harness.bring, spec, chunks)),
        harness.settings.lease_seconds,
    )

    def closed_at_last() -> bool:
        rescuer.rescue(samples.INCARNATION, time.monotonic())
        return harness.jobs.closing(spec.job_id) is not None

    wait_for(closed_at_last, what="the end", every=0.1)
    assert harness.closing(spec).state == "succeeded"
    assert harness.rows(spec) == identities(chunks)
    assert collector.poll() is None
