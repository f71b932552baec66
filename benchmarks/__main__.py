"""``make bench``: Headrace, its peers and the limits in turn, on one machine in one run.

    python -m benchmarks --images 2000 --rounds 3 --engine onnxruntime

Writes ``benchmarks/results/peers-ENGINE-PRECISION.json``, and the same as Markdown and as a plot
beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.contestants import PEERS, Contestant, Run, Table, headrace, peer, tables
from benchmarks.machine import machine
from benchmarks.peers.task import Task
from benchmarks.plots import plot_tables
from benchmarks.report import compare, markdown
from benchmarks.stack import BUCKET, ROOT, BenchStack
from examples.demo.images import build
from shared.catalog.published import ONNX, WEIGHTS

RESULTS = ROOT / "benchmarks" / "results"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace" / "samples"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="objects in the bucket")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, interleaved")
    parser.add_argument("--photos", type=Path, help="a folder of images; the demo's by default")
    parser.add_argument("--engine", default="onnxruntime", choices=("onnxruntime", "openvino"))
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--tables", default="abc", help="which of a, b and c to fill")
    return parser.parse_args()


def photos(given: Path | None, work: Path) -> list[Path]:
    """The given folder's images, or the demo's without the damaged ones."""
    if given is None:
        build(work / "images", CACHE, say)
    found = sorted((given or work / "images").rglob("*.*"))
    return [path for path in found if path.parent.name != "damaged"]


def prepared(stack: BenchStack, given: argparse.Namespace, work: Path) -> Task:
    """The bucket filled, the model pulled and at hand for everyone."""
    stack.run("models", "pull", "mobilenet_v2")
    say(f"filling the bucket with {given.images} objects")
    prefix = stack.fill(photos(given.photos, work), given.images)
    found = stack.store.list("models", "mobilenet_v2/")
    files = {Path(entry.key).name: entry.key for entry in found}
    return Task(
        store=stack.info["s3"],
        bucket=BUCKET,
        prefix=prefix,
        engine=given.engine,
        precision=given.precision,
        onnx=str(stack.fetch("models", files[ONNX], work / "model.onnx")),
        weights=str(stack.fetch("models", files[WEIGHTS], work / "model.pth")),
        decoder="usual",
        threads=os.cpu_count() or 1,
        meter=str(work / "meter"),
    )


def limits(stack: BenchStack, task: Task) -> dict[str, Any]:
    """What ``benchmarks.limits`` says."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits", json.dumps(asdict(task))],
        cwd=ROOT,
        env={**os.environ, "HEADRACE_HOME": str(stack.home)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(json.loads(done.stdout))


def rounds_of(
    stack: BenchStack, table: Table, rounds: int
) -> tuple[dict[str, list[Run]], list[dict[str, Any]]]:
    """Every contestant's runs, one of each in turn, and the limits, found anew in each round."""
    contestants: dict[str, Contestant] = {"Headrace": headrace(stack, table.pipeline)}
    contestants |= {name: peer(module) for name, module in PEERS.items()}
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    found = []
    for number in range(rounds):
        found.append(limits(stack, table.task))
        for name, contestant in contestants.items():
            run = contestant(table.task)
            runs[name].append(run)
            say(
                f"table {table.name}, round {number + 1}, {name}: {run.images} images, steady "
                f"{run.steady_images_per_second:.0f}/s, with start-up {run.images_per_second:.0f}/s"
            )
    return runs, found


def main() -> None:
    given = options()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        work = Path(folder)
        stack = BenchStack(work / "home")
        with stack.up():
            report = measured(stack, prepared(stack, given, work), given)
    RESULTS.mkdir(exist_ok=True)
    name = f"peers-{given.engine}-{given.precision}"
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    (RESULTS / f"{name}.md").write_text(markdown(report))
    plot_tables(report, RESULTS / f"{name}.png")
    print(markdown(report))


def measured(stack: BenchStack, task: Task, given: argparse.Namespace) -> dict[str, Any]:
    """The whole report."""
    found: dict[str, Any] = {"machine": machine(), "images": given.images, "rounds": given.rounds}
    found |= {"engine": given.engine, "precision": given.precision, "tables": {}}
    pipelines = ROOT / "benchmarks" / "pipelines"
    for table in tables(task, given.engine, given.precision, pipelines):
        if table.name not in given.tables:
            continue
        runs, limited = rounds_of(stack, table, given.rounds)
        found["tables"][table.name] = {
            "title": table.title,
            "limits": limited,
            **compare(runs, limited),
        }
    return found


if __name__ == "__main__":
    main()
