"""A large network with random weights: the whole system over its engine alone, on these cores."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.figures.bench import Bench
from benchmarks.gpu import system
from benchmarks.gpu.alone import Task
from benchmarks.gpu.networks import pipeline_of, random_weights
from benchmarks.stack import BUCKET, ROOT
from shared.model import Precision

ARCHITECTURE = "vgg16"
PRECISION: Precision = "bfloat16"
IMAGES = 384
ROUNDS = 2
# Published for one container with eight cores, by the batch that this is to stand in for.
PUBLISHED_PER_MINUTE = 238


def vgg16(bench: Bench) -> dict[str, Any]:
    """Images per second of the engine alone and of a job, in turn, and the ratio of the best."""
    prefix = bench.photos.removeprefix(f"s3://{BUCKET}/")
    alone, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights(ARCHITECTURE, Path(folder))
        pipeline = pipeline_of(bench.stack, ARCHITECTURE, weights, PRECISION)
        system.run(bench.stack, pipeline, prefix, limit=64)  # loads the model
        for _ in range(ROUNDS):
            alone.append(_engine_alone(weights))
            job = system.run(bench.stack, pipeline, prefix, limit=IMAGES)
            whole.append(job.steady_images_per_second)
    return {
        "engine_images_per_second": alone,
        "images_per_second": whole,
        "ratio_to_the_engine": max(whole) / max(alone),
        "images_per_minute": 60 * max(whole),
        "published_images_per_minute_on_eight_cores": PUBLISHED_PER_MINUTE,
        "target_at_least": 0.9,
    }


def _engine_alone(weights: Path) -> float:
    """Images per second of the engine of the workers, in a process of its own."""
    task = Task("model", ARCHITECTURE, str(weights), PRECISION, [], 64, 20.0)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.alone", json.dumps(asdict(task))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(json.loads(done.stdout)["model"])
