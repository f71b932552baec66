"""A job through the whole system, and when the device was busy meanwhile."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from benchmarks.stack import BUCKET, BenchStack
from producer.connections import connect_stack
from producer.jobs.submission import announce
from producer.version import version
from shared.job import JobSpec, new_job_id
from shared.pipeline import Pipeline
from shared.rows import own_metadata
from workers.collector.part import PartFooter


@dataclass(frozen=True, slots=True)
class Job:
    """What came of one. ``runs``: for each chunk, when it was on the device and its share of that.

    ``steady_images_per_second``: between the first and the last run of the model;
    ``images_per_second``: from the start to the end. ``runs`` are in seconds since the first one.
    """

    images: int
    steady_images_per_second: float
    images_per_second: float
    device_busy: float
    timings: dict[str, Any]
    engine: dict[str, Any]
    runs: list[tuple[float, float, float]]


def run(stack: BenchStack, pipeline: Pipeline, prefix: str, limit: int | None = None) -> Job:
    """One job over the bucket, from its spec to its manifest. Raises RuntimeError if one failed."""
    started = time.monotonic()
    job_id = _start(stack, pipeline, prefix, limit)
    while (manifest := stack.output_manifest_or_none(job_id)) is None:
        time.sleep(0.05)
    seconds = time.monotonic() - started
    images = manifest["accounting"]["succeeded"]
    if images != manifest["listed"]["images"]:
        raise RuntimeError(f"{job_id} failed: {_first_error(stack, job_id)}")
    runs = device_runs(stack, job_id, manifest)
    span_seconds = max(end for _, end, _ in runs)
    return Job(
        images=images,
        steady_images_per_second=images / span_seconds,
        images_per_second=images / seconds,
        device_busy=sum(busy for _, _, busy in runs) / span_seconds,
        timings=manifest["timings"],
        engine=manifest["engines"][0],
        runs=runs,
    )


def _first_error(stack: BenchStack, job_id: str) -> str:
    return stack.run("results", job_id, "--status", "failed", "--limit", "1", "--format", "jsonl")


def _start(stack: BenchStack, pipeline: Pipeline, prefix: str, limit: int | None) -> str:
    """What ``enqueue`` does, for a model that has no file in ``config/``."""
    spec = JobSpec(
        job_id=new_job_id(pipeline.name),
        bucket=BUCKET,
        prefix=prefix,
        limit=limit,
        output_bucket=stack.settings.results_bucket,
        pipeline=pipeline,
        pipeline_sha256=pipeline.sha256,
        headrace_version=version(),
    )
    connections = connect_stack(stack.home)
    connections.jobs.create_spec(spec)
    announce(connections, spec.job_id, lambda text: print(text, file=sys.stderr))
    return spec.job_id


def device_runs(
    stack: BenchStack, job_id: str, manifest: dict[str, Any]
) -> list[tuple[float, float, float]]:
    """Every chunk's time on the device, in seconds since the first one began."""
    found = list(_chunk_runs(stack, job_id, manifest))
    first = min(started for started, _, _ in found)
    return sorted((start - first, end - first, busy) for start, end, busy in found)


def first_run_at(stack: BenchStack, job_id: str, manifest: dict[str, Any]) -> float:
    """The Unix time at which the device began with the first chunk."""
    return min(started for started, _, _ in _chunk_runs(stack, job_id, manifest))


def _chunk_runs(
    stack: BenchStack, job_id: str, manifest: dict[str, Any]
) -> Iterator[tuple[float, float, float]]:
    """As the parts' footers have them, in Unix times."""
    for part in manifest["parts"]:
        data = stack.store.get(stack.settings.results_bucket, f"{job_id}/{part['name']}")
        footer = PartFooter.of_metadata(own_metadata(pq.read_metadata(io.BytesIO(data)).metadata))
        yield from footer.device_runs
