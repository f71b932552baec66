"""The real inference worker: real broker, ledger, store, ring, engine and plugin."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import redis
import torch
import torchvision

from producer.models.export import export_model
from shared.analyses import Analysis
from shared.analyses.classes import Classes
from shared.analyses.vector import Vector
from shared.broker.publisher import MessagePublisher
from shared.catalog.exports import ExportRequest
from shared.job import EngineUsed
from shared.keys import code_key
from shared.ledger import Ledger, WorkerIdentity, connect_ledger
from shared.messages import Batch, Result, Slot, Timings
from shared.model import Model
from shared.pipeline import Pipeline
from shared.settings import RingSettings, S3Settings, Settings
from shared.stages import INFERENCE, PREPROCESS, RESULTS, queue_name
from shared.staging import StagingRing, create_ring, open_ring
from shared.storage import Store, connect_store
from shared.views.crop import Crop
from shared.views.stretch import Stretch
from tests.support import samples
from tests.support.envelopes import message_in
from tests.support.packed_class import packed
from tests.support.samples import save_settings
from tests.support.servers import start_seaweedfs, start_valkey
from tests.support.staged_batches import pixels_of
from tests.support.waiting import wait_for

PIXELS = 32
REPOSITORY = Path(__file__).parents[2]
HELPER = WorkerIdentity("preprocess", "helper", "testhost")
BRIGHTNESS = """
class Brightness:
    def __call__(self, images):
        return ["bright" if image.mean() > 100 else "dark" for image in images]
"""


@dataclass
class InferenceHarness:
    """A worker at work, and what stands before and behind it."""

    settings: Settings
    ledger: Ledger
    ring: StagingRing
    publisher: MessagePublisher
    client: redis.Redis
    store: Store
    log: Path
    chunks: int = 0

    def send(self, pipeline: Pipeline, *values: int) -> int:
        """Stage images, each of one value, as preprocessing does. Returns the chunk's number."""
        chunk, self.chunks = self.chunks, self.chunks + 1
        _, (ref,) = self.ledger.feed(
            samples.INCARNATION, samples.JOB_UID, chunk, chunk + 1, bound=100
        )
        self.ledger.claim(ref, PREPROCESS, HELPER)
        pixels = pixels_of(pipeline, *values)
        hold = self.ring.take(
            pixels.size, ref, staged=self.ledger.still_staged, stopping=lambda: False
        )
        hold.pixels[: pixels.size] = pixels
        queue = queue_name(INFERENCE, host="testhost")
        self.ledger.advance(ref, PREPROCESS, HELPER, INFERENCE, queue)
        hold.release()
        batch = Batch(
            incarnation=samples.INCARNATION,
            job_id="job",
            job_uid=samples.JOB_UID,
            chunk=chunk,
            attempt=ref.attempt,
            pipeline=pipeline,
            bucket="photos",
            answers=samples.answers(pipeline, PREPROCESS, *[{} for _ in values]),
            keys=[str(n) for n in range(len(values))] if pipeline.has_class else [],
            staged=Slot(host_id="testhost", index=hold.index, images=len(values)),
            timings=Timings(),
        )
        self.publisher.send(INFERENCE.task, queue, batch)
        return chunk

    def results(self, count: int) -> dict[int, Result]:
        """The next ``count`` messages for the collector, by chunk."""
        wait_for(
            lambda: self.client.llen(queue_name(RESULTS)) >= count,
            what=f"{count} results: {self.log.read_text()[-2000:]}",
            deadline_seconds=60,
        )
        found = {}
        for _ in range(count):
            raw = self.client.rpop(queue_name(RESULTS))
            result = message_in(raw, Result)  # type: ignore[arg-type]
            found[result.chunk] = result
        return found


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceHarness]:
    home = tmp_path_factory.mktemp("worker home")
    valkey, weed = start_valkey(home / "valkey"), start_seaweedfs(home / "weed")
    settings = samples.settings(home, valkey.url).model_copy(
        update={
            "ring": RingSettings(
                directory=home / "ring", slot_bytes=(70 * PIXELS * PIXELS * 3,), slot_counts=(4,)
            ),
            "s3": S3Settings(
                endpoint=weed.endpoint, access_key=weed.access_key, secret_key=weed.secret_key
            ),
        }
    )
    save_settings(settings)
    create_ring(settings.ring)
    ledger = connect_ledger(settings)
    ledger.begin(samples.INCARNATION)
    ledger.register_job(samples.INCARNATION, samples.JOB_UID, "job", samples.FIRST_QUEUE)
    store = connect_store(settings.s3)
    store.make_bucket("models")
    store.make_bucket("state")
    log = home / "worker.log"
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.inference"],
        env={**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_PROCESS": "inference-1"},
        stderr=log.open("wb"),
        cwd=REPOSITORY,
    )
    try:
        wait_for(ledger.workers, what="the worker's lease")
        yield InferenceHarness(
            settings,
            ledger,
            open_ring(settings.ring, "testhost"),
            MessagePublisher(settings),
            redis.Redis.from_url(valkey.url),
            store,
            log,
        )
    finally:
        process.terminate()
        assert process.wait(20) == 0
        weed.stop()
        valkey.stop()


def pipeline(model: Model, **changes: object) -> Pipeline:
    preprocess = {"resize_shorter_pixels": PIXELS, "crop_pixels": PIXELS}
    return samples.pipeline(model=model, preprocess=preprocess, **changes)


def labels(result: Result) -> list[list[str]]:
    """Of each image, the best first."""
    answers = result.answers["classes"].to_pylist()
    return [[each["label"] for each in answer["predictions"]] for answer in answers]


@pytest.fixture(scope="module")
def small(harness: InferenceHarness, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A small classifier of random weights, put into the bucket as ``models pull`` does it."""
    folder = tmp_path_factory.mktemp("small")
    weights, onnx = folder / "weights", folder / "model.onnx"
    torch.save(
        torchvision.models.get_model("mobilenet_v3_small", weights=None).state_dict(), weights
    )
    request = ExportRequest(
        weights=weights,
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        output=onnx,
        architecture="mobilenet_v3_small",
        canvas=(PIXELS, PIXELS),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    outputs = export_model(request).outputs
    assert outputs == {"scores": 1000, "features": 1024}
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "labels.txt").write_text("".join(f"class {n}\n" for n in range(1000)))
    for file in ("weights", "model.onnx", "labels.txt"):
        harness.store.put_file("models", f"small/{sha256}/{file}", folder / file)
    return Model(
        name="small",
        sha256=sha256,
        architecture="mobilenet_v3_small",
        outputs=tuple(outputs),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


def test_every_engine_answers_through_the_real_worker(
    harness: InferenceHarness, small: Model
) -> None:
    for engine in ("torch", "onnxruntime", "openvino"):
        chunks = [harness.send(pipeline(small, engine=engine), *range(n, 64 + n)) for n in range(3)]
        results = harness.results(3)
        assert sorted(results) == chunks
        for result in results.values():
            used = EngineUsed(engine=engine, precision="float32", device="cpu")
            assert result.computed == {"classes": used}
            assert result.timings.device_seconds > 0
            assert result.answers["error_code"].null_count == 64
            for found in labels(result):
                assert len(found) == 5
                assert found[0].startswith("class ")
    cached = harness.settings.home / "cache" / "models" / "small" / small.sha256
    assert {path.name for path in cached.iterdir()} == {"weights", "model.onnx", "labels.txt"}


def test_a_users_class_answers_through_the_real_worker(harness: InferenceHarness) -> None:
    model, archive = packed("brightness:Brightness", BRIGHTNESS)
    harness.store.create("models", code_key(str(model.code_sha256)), archive)
    chunk = harness.send(pipeline(model), 10, 200)
    result = harness.results(1)[chunk]
    assert labels(result) == [["dark"], ["bright"]]
    used = result.computed["classes"]
    assert used is not None
    assert (used.engine, used.precision) == ("python", None)


def test_one_image_has_many_answers_in_one_message(harness: InferenceHarness, small: Model) -> None:
    """Two analyses of a network in two views, and one of a user's class."""
    own, archive = packed("shade:Brightness", BRIGHTNESS)
    harness.store.create("models", code_key(str(own.code_sha256)), archive)
    square = Crop(resize_shorter_pixels=PIXELS, crop_pixels=PIXELS)
    exact = {"engine": "torch", "precision": "float32"}
    analyses: dict[str, Analysis] = {
        "kinds": Classes(model=small.name, view=square, softmax=True, **exact),
        "style": Vector(model=small.name, view=square, length=1024, **exact),
        "shade": Classes(model=own.name, view=Stretch(width=PIXELS, height=8)),
    }
    chunk = harness.send(samples.long_pipeline(analyses, (small, own)), 10, 200)
    result = harness.results(1)[chunk]
    assert result.answers["error_code"].null_count == 2
    shades = [each["predictions"][0]["label"] for each in result.answers["shade"].to_pylist()]
    assert shades == ["dark", "bright"]
    vectors = np.array(result.answers["style"].to_pylist())
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    engines = {name: used and used.engine for name, used in result.computed.items()}
    assert engines == {"kinds": "torch", "style": "torch", "shade": "python"}


def test_a_model_that_is_not_in_the_bucket_fails_its_images(harness: InferenceHarness) -> None:
    model = samples.MODEL.model_copy(update={"name": "absent"})
    chunk = harness.send(pipeline(model), 1, 2)
    said = harness.results(1)[chunk].answers["error_message"].to_pylist()
    assert all("headrace models pull absent" in message for message in said)
    assert harness.log.read_text().count("model 'absent' cannot be used") == 1


def test_all_slots_are_free_again(harness: InferenceHarness) -> None:
    holds = [
        harness.ring.take(
            1,
            harness.ledger.feed(samples.INCARNATION, samples.JOB_UID, n, n + 1, bound=100)[1][0],
            staged=lambda refs: [True for _ in refs],
            stopping=lambda: False,
        )
        for n in range(1000, 1004)
    ]
    for hold in holds:
        hold.abandon()
