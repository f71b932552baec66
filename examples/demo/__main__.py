"""The main job on real images with real weights, as a user would type it.

``make demo``; ``KEEP=1`` leaves the stack up. Exits 1 if anything but the damaged images fails.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from examples.demo.images import DAMAGED, build

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("HEADRACE_DEMO_HOME", ROOT / ".headrace-demo")).absolute()
RESULTS = ROOT / "demo-results"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SOURCE = "s3://demo/images"


def say(text: str) -> None:
    print(text, flush=True)


def headrace(*arguments: str, capture: bool = False) -> str:
    """Run one command of ours in the demo's home. Raises CalledProcessError."""
    say(f"\n$ headrace {shlex.join(arguments)}")
    done = subprocess.run(
        [sys.executable, "-m", "producer", *arguments],
        cwd=ROOT,
        env={**os.environ, "HEADRACE_HOME": str(HOME)},
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=True,
    )
    return done.stdout or ""


def run() -> list[str]:
    """The demo proper. Returns what is wrong with its outcome, nothing if all is well."""
    HOME.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    images = build(HOME / "images", CACHE / "headrace" / "samples", say)
    say(f"{images} images with distinct contents, and {len(DAMAGED)} damaged ones")
    headrace("up")
    for model in ("mobilenet_v2", "ssd_mobilenet_v3"):
        headrace("models", "pull", model)
    headrace("upload", str(HOME / "images"), SOURCE)
    answer = headrace("enqueue", SOURCE, "--pipeline", "classify", "--wait", "--json", capture=True)
    status = json.loads(answer)
    job = status["job_id"]
    headrace("status", job)
    RESULTS.mkdir(exist_ok=True)
    for form in ("parquet", "csv"):
        headrace("results", job, "--format", form, "-o", str(RESULTS / f"rows.{form}"))
    headrace("results", job, "--limit", "10")
    headrace("errors", job)
    wrong = detect()
    flower = json.loads(headrace("info", "--json", capture=True))["flower_url"]
    say(f"\nThe dashboard: {flower}")
    say(f"The rows: {RESULTS}/rows.parquet and rows.csv")
    say(f"{images + len(DAMAGED)} images in {time.monotonic() - started:.1f} s, set-up included")
    return [*wrong, *problems(job, status, images)]


def detect() -> list[str]:
    """The objects in each photo. Returns what is wrong with them."""
    photos = ("--pipeline", "detect", "--include", "images/photos/*")
    answer = headrace("enqueue", SOURCE, *photos, "--wait", "--json", capture=True)
    job = json.loads(answer)["job_id"]
    headrace("results", job)
    rows = headrace("results", job, "--format", "jsonl", capture=True).splitlines()
    found = {row["name"]: row["objects"] or [] for row in map(json.loads, rows)}
    in_photo = {box["label"] for box in found.get("chelsea.png", [])}
    return [] if "cat" in in_photo else [f"chelsea.png shows a cat, and {in_photo} was found"]


def problems(job: str, status: dict[str, Any], images: int) -> list[str]:
    """Whatever is not as it must be: the accounting, and each damaged image's code by name."""
    found = []
    counted = {name: status["images"][name] for name in ("listed", "succeeded", "failed")}
    expected = {
        "listed": images + len(DAMAGED),
        "succeeded": images,
        "failed": len(DAMAGED),
    }
    if status["state"] != "succeeded" or counted != expected:
        found.append(f"the job is {status['state']} with {counted} and not {expected}")
    answer = headrace("results", job, "--format", "jsonl", "--status", "failed", capture=True)
    failed = [json.loads(line) for line in answer.splitlines()]
    codes = {row["key"].removeprefix("images/"): row["error_code"] for row in failed}
    if codes != DAMAGED:
        found.append(f"the failures are {codes} and not {DAMAGED}")
    return found


def finish() -> None:
    again = f"HEADRACE_HOME={shlex.quote(str(HOME))} {ROOT}/.venv/bin/headrace"
    if os.environ.get("KEEP"):
        say(f"The stack is up. To end it: {again} down")
        return
    headrace("down")
    say(f"To bring the stack back: {again} up")


def main() -> int:
    try:
        wrong = run()
        finish()
    except KeyboardInterrupt:
        say("\ninterrupted: ending the stack")
        headrace("down")
        return 130
    except subprocess.CalledProcessError as error:
        headrace("down")
        return error.returncode or 1
    except RuntimeError as error:
        say(f"error: {error}")
        return 1
    for problem in wrong:
        say(f"error: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
