"""``python -m benchmarks.detection``: how right two detectors are, and how fast YOLOX-nano is.

    python -m benchmarks.detection --data ../shared/data --rounds 3

Adds YOLOX-nano as a user would and pulls the default model, detects in the labelled photos,
evaluates the rows beside a plain script's boxes, and then runs Headrace, Daft and a loop by hand in
turn over many photos, all with one engine and one head.

Writes ``benchmarks/results/detection.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq

from benchmarks.__main__ import RESULTS, say
from benchmarks.contestants import Run, headrace, peer
from benchmarks.detection.plain import Found, PlainScript
from benchmarks.detection.plain_ssd import PlainSsd
from benchmarks.detection.truth import Truth
from benchmarks.figures.bench import PIPELINES
from benchmarks.machine import machine
from benchmarks.peers.task import Task
from benchmarks.stack import BUCKET, BenchStack
from shared.catalog.catalog import CONFIG
from shared.catalog.published import ONNX, WEIGHTS, model_key

PEERS = {"by hand": "detect_by_hand", "Daft": "detect_daft"}
TARGETS = {"map_above_the_scripts": -0.01, "steady_ratio_to_daft": 1.15}
# As in ``detect-map.yaml``.
BOUNDS: Any = {"min_score": 0.01, "overlap": 0.65, "most": 300}
PREFIX = "coco/"
DEFAULT_MODEL = "ssd_mobilenet_v3"
_SIDES = ("x1", "y1", "x2", "y2")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the test data")
    parser.add_argument("--images", type=int, default=1000, help="photos that are detected in")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, interleaved")
    return parser.parse_args()


def accuracy(
    stack: BenchStack, truth: Truth, pipeline: str, script: Callable[[Path], Found]
) -> dict[str, Any]:
    """What the rows of a job are worth, and what the script's boxes are."""
    source = f"s3://{BUCKET}/{PREFIX}"
    path = str(PIPELINES / pipeline)
    job = stack.json("enqueue", source, "--pipeline", path, "--wait")["job_id"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        stack.run("results", job, "--format", "parquet", "-o", str(file))
        rows = pq.read_table(file, columns=["name", "status", "objects"]).to_pylist()
    ours: dict[str, Found] = {
        row["name"]: [
            (*(box[side] for side in _SIDES), box["score"], truth.number_of(box["label"]))
            for box in row["objects"] or ()
        ]
        for row in rows
    }
    theirs = {path.name: script(path) for path in truth.images}
    return {
        "images": len(rows),
        "failed": sum(row["status"] != "ok" for row in rows),
        "headrace": truth.measured(ours),
        "script": truth.measured(theirs),
    }


def default_model(stack: BenchStack, truth: Truth, work: Path) -> dict[str, Any]:
    """How right the model of ``detect`` is on these photos, of which it has seen most before."""
    pulled = stack.json("models", "pull", DEFAULT_MODEL)
    key = model_key(DEFAULT_MODEL, pulled["sha256"], WEIGHTS)
    names = (CONFIG / "models" / "labels" / "coco-90.txt").read_text().splitlines()
    script = PlainSsd(stack.fetch("models", key, work / "ssd.pb"), **BOUNDS)
    numbers = [truth.number_of(name) for name in names]

    def numbered(path: Path) -> Found:
        return [(*box[:5], numbers[box[5]]) for box in script(path)]

    return accuracy(stack, truth, "detect-map-ssd.yaml", numbered)


def speed(stack: BenchStack, task: Task, rounds: int) -> dict[str, Any]:
    """Every contestant's runs, one of each in turn, and the medians of the rounds' ratios."""
    contestants = {
        "Headrace": headrace(stack, str(PIPELINES / "detect-onnxruntime-float32.yaml")),
        **{name: peer(module) for name, module in PEERS.items()},
    }
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            runs[name].append(contestant(task))
            say(f"{name}: {json.dumps(asdict(runs[name][-1]))}")
    return {
        name: {
            "steady_images_per_second": median(r.steady_images_per_second for r in theirs),
            "steady_ratio": median(
                ours.steady_images_per_second / run.steady_images_per_second
                for ours, run in zip(runs["Headrace"], theirs, strict=True)
            ),
            "runs": [asdict(run) for run in theirs],
        }
        for name, theirs in runs.items()
    }


def main() -> None:
    given = options()
    weights = given.data / "weights" / "yolox_nano_dynbatch.onnx"
    truth = Truth(given.data / "coco-val")
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        work = Path(folder)
        labels = work / "labels.txt"
        labels.write_text("\n".join(truth.names) + "\n")
        stack = BenchStack(work / "home")
        with stack.up():
            stack.put((f"{PREFIX}{path.name}", path.read_bytes()) for path in truth.images)
            started = time.monotonic()
            added = stack.json("models", "add", "yolox", str(weights), "--labels", str(labels))
            report: dict[str, Any] = {
                "machine": machine(),
                "add_seconds": time.monotonic() - started,
                "accuracy": accuracy(
                    stack, truth, "detect-map.yaml", PlainScript(weights, **BOUNDS)
                ),
                "accuracy_of_the_default_model": default_model(stack, truth, work),
            }
            say(json.dumps({k: v for k, v in report.items() if k.startswith("accuracy")}))
            photos = sorted((given.data / "photos").iterdir())
            key = model_key("yolox", added["sha256"], ONNX)
            task = Task(
                store=stack.info["s3"],
                bucket=BUCKET,
                prefix=stack.fill(photos, given.images),
                engine="onnxruntime",
                precision="float32",
                onnx=str(stack.fetch("models", key, work / "model.onnx")),
                weights="",
                decoder="ours",
                threads=os.cpu_count() or 1,
                meter=str(work / "meter"),
            )
            report["speed"] = speed(stack, task, given.rounds)
    report["targets"] = TARGETS
    (RESULTS / "detection.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2), file=sys.stdout)


if __name__ == "__main__":
    main()
