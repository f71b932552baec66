"""Each contestant: how it is started, and what its run says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.peers.task import Task
from benchmarks.stack import BUCKET, ROOT, BenchStack

PEERS_PYTHON = Path(os.environ.get("PEERS_PYTHON", ROOT / ".venv-peers" / "bin" / "python"))
# Of a run over some thousand images, which takes a minute or two.
MAX_RUN_SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Run:
    """One run over all images.

    ``steady_images_per_second``: between the first and the last run of the model.
    ``images_per_second``: with start-up, from the command to its end.
    """

    images: int
    steady_images_per_second: float
    images_per_second: float
    model_share: float


Contestant = Callable[[Task], Run]


def headrace(stack: BenchStack, pipeline: str) -> Contestant:
    """``enqueue --wait`` on the stack that is up."""

    def run(task: Task) -> Run:
        started = time.monotonic()
        source = f"s3://{BUCKET}/{task.prefix}"
        status = stack.json("enqueue", source, "--pipeline", pipeline, "--wait")
        seconds = time.monotonic() - started
        manifest = stack.output_manifest(status["job_id"])
        images = manifest["accounting"]["succeeded"]
        busy = manifest["device_busy"]
        span_seconds = manifest["timings"]["device"]["seconds"] / busy
        return Run(images, images / span_seconds, images / seconds, busy)

    return run


def peer(module: str) -> Contestant:
    """A program of ``benchmarks.peers``, on its own interpreter."""

    def run(task: Task) -> Run:
        meter = Path(task.meter)
        meter.unlink(missing_ok=True)
        started = time.monotonic()
        _run_program(module, task)
        return _metered(meter, time.monotonic() - started)

    return run


def _run_program(module: str, task: Task) -> None:
    """Raises RuntimeError where it fails, or is not done in time, with all that it started."""
    program = subprocess.Popen(
        [str(PEERS_PYTHON), "-m", f"benchmarks.peers.{module}", json.dumps(asdict(task))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = program.communicate(timeout=MAX_RUN_SECONDS)
    except subprocess.TimeoutExpired as expired:
        raise RuntimeError(f"{module} was not done after {MAX_RUN_SECONDS} s.") from expired
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()
    if program.returncode:
        raise RuntimeError(f"{module} failed: {errors[-2000:]}")


def _metered(meter: Path, seconds: float) -> Run:
    lines = (line.split() for line in meter.read_text().splitlines())
    runs = sorted((float(end), float(start), int(images)) for start, end, images in lines)
    images = sum(run[2] for run in runs)
    span_seconds = runs[-1][0] - runs[0][0]
    busy_seconds = sum(end - start for end, start, _ in runs[1:])
    return Run(
        images,
        (images - runs[0][2]) / span_seconds,
        images / seconds,
        min(1.0, busy_seconds / span_seconds),
    )


PEERS = {"by hand": "by_hand", "Daft": "daft_frame", "Ray Data": "ray_data"}


@dataclass(frozen=True, slots=True)
class Table:
    """Who runs how: the peers' engine and decoder, and our pipeline."""

    name: str
    title: str
    pipeline: str
    task: Task


def tables(task: Task, engine: str, precision: str, pipelines: Path) -> list[Table]:
    """The three tables. ``engine`` and ``precision`` are the ones that all take in two of them."""
    ours = str(pipelines / f"{engine}-{precision}.yaml")
    shared = replace(task, engine=engine, precision=precision)
    return [
        Table("a", "same engine, our decoder for all", ours, replace(shared, decoder="ours")),
        Table("b", "same engine, each one's usual decoder", ours, replace(shared, decoder="usual")),
        Table("c", "everyone's defaults", "classify", replace(task, engine="eager")),
    ]
