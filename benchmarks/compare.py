"""Headrace beside a hand-written loop, in turn, on the stack that is up.

    headrace up && python -m benchmarks.compare s3://BUCKET/PREFIX --runs 3

Writes ``benchmarks/results/compare.json`` with the machine, the commit and the versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.hand_loop import images_per_second

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("celery", "onnxruntime", "openvino", "torch", "obstore", "pillow", "simplejpeg")


def headrace(*arguments: str) -> Any:
    """The JSON answer of one command."""
    done = subprocess.run(
        [sys.executable, "-m", "producer", *arguments, "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def one_job(source: str, batch_size: int) -> dict[str, Any]:
    """Run ``classify`` once."""
    size = ("--batch-size", str(batch_size))
    return dict(headrace("enqueue", source, "--pipeline", "classify", "--wait", *size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    info = headrace("info")
    home = Path(info["home"])
    (model,) = (home / "cache" / "models").rglob("model.onnx")
    bucket, _, prefix = options.source.removeprefix("s3://").partition("/")
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(options.runs):
        status = one_job(options.source, options.batch_size)
        ours.append(status["images_per_second"])
        theirs.append(images_per_second(info["s3"], bucket, prefix, model))
        print(f"headrace {ours[-1]:.0f}, by hand {theirs[-1]:.0f} images/s", flush=True)
    report = {
        "images_per_second": {"headrace": ours, "hand_written_loop": theirs},
        "median_ratio": statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        "images": status["images"]["listed"],
        "engine": status["engine"],
        "device_busy": status["device_busy"],
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip(),
    }
    path = ROOT / "benchmarks" / "results" / "compare.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"headrace / by hand: {report['median_ratio']:.2f}")


if __name__ == "__main__":
    main()
