"""Several answers in one pass: what that saves, and that it stays flat over many images."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
from PIL import Image

from benchmarks import limits
from benchmarks.figures.bench import MIB, Bench
from benchmarks.figures.overhead import cpu_seconds
from benchmarks.figures.sampling import sampled
from benchmarks.gpu.system import device_runs, first_run_at
from benchmarks.peers import decoders
from benchmarks.stack import BUCKET

PIPELINES = ("detect", "classify", "embed", "palette", "catalogue")
ROUNDS = 3
LARGE_SIZE = (4000, 3000)
LARGE_OBJECTS = 256
LARGE_PHOTOS = 32
SMALL_SIDE_PIXELS = 240
MANY_OBJECTS = 130_000


def catalogue(bench: Bench) -> dict[str, Any]:
    """CPU of the whole stack for each image: four jobs, and one that does the same in one pass.

    ``fetch_and_decode``: what the one pass does once instead of four times.
    """
    spent, rates = _in_turn(bench, bench.photos)
    spared = _fetch_and_decode(bench)
    apart = sum(spent[name] for name in PIPELINES[:-1])
    return {
        "cpu_milliseconds_per_image": spent,
        "images_per_second": rates,
        "fetch_and_decode_cpu_milliseconds": spared,
        "ratio_to_four_jobs_without_three_fetches_and_decodes": (
            spent["catalogue"] / (apart - 3 * spared)
        ),
        "target_at_most": 1.05,
    }


def large_photos(bench: Bench) -> dict[str, Any]:
    """Photos of 12 megapixels: the rate of one pass over that of four jobs one after another."""
    prefix = "large/"
    photos = [_large(path.read_bytes()) for path in bench.open_photos()[:LARGE_PHOTOS]]
    bench.stack.put((f"{prefix}{n:05d}.jpg", photos[n % len(photos)]) for n in range(LARGE_OBJECTS))
    _, rates = _in_turn(bench, f"s3://{BUCKET}/{prefix}")
    one_after_another = 1 / sum(1 / rates[name] for name in PIPELINES[:-1])
    return {
        "images_per_second": rates,
        "ratio_to_four_jobs": rates["catalogue"] / one_after_another,
        "target_at_least": 1.5,
    }


def many_images(bench: Bench) -> dict[str, Any]:
    """``catalogue`` over many small photos: the first batch, the device's time, and memory.

    ``runs``: for each chunk when it was on the device and its share of that, in seconds since the
    first. ``resident_mib``: of each process, at moments of the job.
    """
    prefix = f"many-{MANY_OBJECTS}/"
    bench.stack.put(_many(bench, prefix))
    bench.run(bench.photos, "catalogue", "--limit", "128")
    resident: list[list[Any]] = []
    started = time.time()
    with sampled(partial(_note_resident, bench, resident, started)):
        manifest = bench.run(f"s3://{BUCKET}/{prefix}", "catalogue")
    runs = device_runs(bench.stack, manifest["job_id"], manifest)
    first = first_run_at(bench.stack, manifest["job_id"], manifest)
    return {
        "objects": MANY_OBJECTS,
        "succeeded": manifest["accounting"]["succeeded"],
        "images_per_second": manifest["images_per_second"],
        "first_batch_seconds": first - started,
        "device_busy": manifest["device_busy"],
        "resident_mib": resident[:: max(1, len(resident) // 200)],
        "runs": [[round(value, 3) for value in run] for run in runs[:: max(1, len(runs) // 200)]],
        "target_first_batch_seconds_at_most": 3.0,
    }


def _in_turn(bench: Bench, source: str) -> tuple[dict[str, float], dict[str, float]]:
    """CPU milliseconds an image and the best rate of each pipeline, run in turn."""
    spent: dict[str, list[float]] = {name: [] for name in PIPELINES}
    rates: dict[str, list[float]] = {name: [] for name in PIPELINES}
    for name in PIPELINES:
        bench.run(source, name, "--limit", "128")  # loads the models
    for _ in range(ROUNDS):
        for name in PIPELINES:
            before = sum(cpu_seconds(bench.stack).values())
            started = time.monotonic()
            images = bench.run(source, name)["accounting"]["succeeded"]
            rates[name].append(images / (time.monotonic() - started))
            used = sum(cpu_seconds(bench.stack).values()) - before
            spent[name].append(1000 * used / images)
    middle = ROUNDS // 2
    return (
        {name: sorted(values)[middle] for name, values in spent.items()},
        {name: sorted(values)[middle] for name, values in rates.items()},
    )


def _fetch_and_decode(bench: Bench) -> float:
    """CPU milliseconds of GET, the store's share included, and of decoding to the square."""
    bodies = [path.read_bytes() for path in bench.open_photos()]
    prefix = bench.photos.removeprefix(f"s3://{BUCKET}/")
    names = [info.key for info in bench.stack.store.list(BUCKET, prefix)][: limits.IMAGES]
    weed = [
        psutil.Process(entry["pid"])
        for entry in bench.stack.json("info")["processes"]
        if entry["role"] == "seaweedfs"
    ]

    def get() -> int:
        for name in names:
            bench.stack.store.get(BUCKET, name)
        return len(names)

    decode = decoders.ours()

    def decode_all() -> int:
        for body in bodies:
            decode(body)
        return len(bodies)

    return 1000 * (limits.per_image(get, weed)[0] + limits.per_image(decode_all, [])[0])


def _large(photo: bytes) -> bytes:
    sink = io.BytesIO()
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    image.resize(LARGE_SIZE, Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
    return sink.getvalue()


def _many(bench: Bench, prefix: str) -> Iterator[tuple[str, bytes]]:
    bodies = []
    for path in bench.open_photos():
        with Image.open(path) as image:
            image.thumbnail((SMALL_SIDE_PIXELS, SMALL_SIDE_PIXELS))
            sink = io.BytesIO()
            image.convert("RGB").save(sink, "JPEG", quality=85)
            bodies.append(sink.getvalue())
    for number in range(MANY_OBJECTS):
        yield f"{prefix}{number // 1000:04d}/{number:07d}.jpg", bodies[number % len(bodies)]


def _note_resident(bench: Bench, found: list[list[Any]], started: float) -> None:
    processes = bench.stack.info["processes"]
    by_name = {
        entry["name"]: round(psutil.Process(entry["pid"]).memory_info().rss / MIB)
        for entry in processes
    }
    found.append([round(time.time() - started, 2), by_name])
