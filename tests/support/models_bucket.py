"""A models bucket with versions, releases and jobs in it, and what removes from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from producer.models import removable, remove_model
from producer.pins import Pin
from shared.catalog import ModelConstants, PublishedModel
from shared.job import Accounting, Closing, JobSpec
from shared.model import Model
from shared.views.crop import Crop
from tests.support import samples
from tests.support.fake_connections import Fake

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
WEEK = timedelta(days=7)
VIEW = Crop(resize_shorter_pixels=64, crop_pixels=64)


def put_version(fake: Fake, name: str, sha256: str, age_days: float = 30) -> Pin:
    version = PublishedModel(
        name=name,
        sha256=sha256,
        constants=ModelConstants(view=VIEW, mean=(0, 0, 0), std=(1, 1, 1)),
        outputs={"scores": 2},
        created_at=datetime.now(UTC) - timedelta(days=age_days),
        files={"weights": sha256, "labels.txt": sha256},
        licence="MIT",
        source="a test",
    )
    for file in version.files:
        fake.store.put("models", f"{name}/{sha256}/{file}", b"0123456789")
    fake.store.put("models", f"{name}/{sha256}/model.json", version.model_dump_json().encode())
    return Pin(name, sha256)


def rm(fake: Fake, reference: str) -> list[Pin]:
    """As the command does."""
    pins = removable(fake.connections, reference)
    remove_model(fake.connections, reference, pins)
    return pins


def put_release(fake: Fake, name: str, number: int, sha256: str) -> str:
    key = f"{name}/releases/{number:08d}.json"
    release = {"number": number, "sha256": sha256, "created_at": "2026-01-01T00:00:00Z"}
    fake.store.put("models", key, json.dumps(release).encode())
    return key


def put_job(fake: Fake, job_id: str, model: Model, ended_days_ago: float | None = None) -> JobSpec:
    pipeline = samples.pipeline(model=model)
    spec = JobSpec(
        job_id=job_id,
        bucket="photos",
        output_bucket="results",
        pipeline=pipeline,
        pipeline_sha256=pipeline.sha256,
        headrace_version="0",
    )
    fake.connections.jobs.create_spec(spec)
    if ended_days_ago is not None:
        ended_at = datetime.now(UTC) - timedelta(days=ended_days_ago)
        counts = Accounting(listed=1, failed=1)
        fake.connections.jobs.create_closing(
            job_id, Closing(state="failed", accounting=counts, closed_at=ended_at)
        )
    return spec


def network(sha256: str, name: str = "pets") -> Model:
    return samples.MODEL.model_copy(update={"name": name, "sha256": sha256})


def written(fake: Fake, key: str, ago: timedelta) -> None:
    """Have it be written so long ago."""
    fake.store.modified_at[key] = datetime.now(UTC) - ago


def keys(fake: Fake) -> set[str]:
    return set(fake.store.buckets["models"])


def keys_of(pin: Pin) -> set[str]:
    return {f"{pin.folder}/{pin.sha256}/{file}" for file in ("weights", "labels.txt", "model.json")}
