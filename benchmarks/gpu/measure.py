"""The benchmark from end to end: a bucket, the limits, and jobs of each network in turn."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.gpu import system
from benchmarks.gpu.alone import Task
from benchmarks.gpu.networks import pipeline_of, random_weights
from benchmarks.gpu.pictures import pictures
from benchmarks.gpu.report import markdown, summary
from benchmarks.machine import gpu, machine
from benchmarks.plots import plot_busy
from benchmarks.stack import ROOT, BenchStack
from workers.inference.task import device_profile

RESULTS = ROOT / "benchmarks" / "results"
# Models are loaded and warm, and all workers have what they keep.
WARM_UP_IMAGES = 2000


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(given: argparse.Namespace) -> None:
    """Run it all and write the report."""
    with tempfile.TemporaryDirectory(prefix="headrace-gpu-") as folder:
        work = Path(folder)
        photos = _photos(given.photos, work)
        weights = {name: random_weights(name, work) for name in given.networks}
        limits = {name: _limits(given, name, weights[name], photos) for name in given.networks}
        stack = BenchStack(work / "home")
        scale = f"preprocess={given.preprocess},collector={given.collectors}"
        with stack.up("--workers", scale):
            jobs = _jobs(given, stack, weights, photos)
    report = {
        "machine": machine(),
        "gpu": gpu(),
        "images": given.images,
        "precision": given.precision,
        "preprocess_processes": given.preprocess,
        "networks": {name: summary(limits[name], jobs[name]) for name in given.networks},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gpu.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / "gpu.md").write_text(markdown(report))
    plot_busy({name: found[-1].runs for name, found in jobs.items()}, RESULTS / "gpu.png")
    print(markdown(report))


def _photos(given: Path | None, work: Path) -> list[Path]:
    if given is None:
        say("making images up")
        return pictures(work / "pictures")
    return sorted(path for path in given.rglob("*") if path.is_file())


def _limits(
    given: argparse.Namespace, network: str, weights: Path, photos: list[Path]
) -> dict[str, float]:
    """Each in a process of its own; decoding is the same for all networks, but so is its place."""
    found: dict[str, float] = {}
    for what in ("model", "decode", *(["gpu-decode"] if given.gpu_decode else [])):
        task = Task(
            what=what,
            architecture=network,
            weights=str(weights),
            precision=given.precision,
            photos=[str(photo) for photo in photos[:256]],
            batch_images=device_profile().batch_images,
            seconds=given.seconds,
        )
        command = [sys.executable, "-m", "benchmarks.gpu.alone", json.dumps(asdict(task))]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        found |= json.loads(done.stdout)
    say(f"{network} alone, images/s: " + ", ".join(f"{k} {v:.0f}" for k, v in found.items()))
    return found


def _jobs(
    given: argparse.Namespace, stack: BenchStack, weights: dict[str, Path], photos: list[Path]
) -> dict[str, list[system.Job]]:
    """Every network's jobs, one of each in turn."""
    say(f"filling the bucket with {given.images} objects")
    prefix = stack.fill(photos, given.images)
    pipelines = {n: pipeline_of(stack, n, path, given.precision) for n, path in weights.items()}
    jobs: dict[str, list[system.Job]] = {name: [] for name in pipelines}
    for number in range(given.rounds):
        for name, pipeline in pipelines.items():
            system.run(stack, pipeline, prefix, min(WARM_UP_IMAGES, given.images // 4))
            job = system.run(stack, pipeline, prefix)
            jobs[name].append(job)
            say(
                f"{name}, round {number + 1}: steady {job.steady_images_per_second:.0f} images/s, "
                f"device busy {job.device_busy:.1%}, {os.getloadavg()[0]:.1f} processes at work"
            )
    return jobs
