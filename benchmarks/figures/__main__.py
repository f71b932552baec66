"""``python -m benchmarks.figures [NAME...]``: Headrace's own figures, each with its target.

    python -m benchmarks.figures up first_row_of_many --objects 1000000

Without names, all of them. Writes ``benchmarks/results/figures.json``, in which figures that were
not asked for stay as they are, and a plot of the simulated device.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS, photos
from benchmarks.figures import (
    adding,
    boxes_head,
    catalogue,
    class_host,
    device,
    listing,
    overhead,
    start,
    vgg,
)
from benchmarks.figures.bench import Bench
from benchmarks.machine import machine
from benchmarks.plots import plot_busy, plot_many
from benchmarks.stack import BenchStack

FEW_OBJECTS = 100
Figure = Callable[[Bench], dict[str, Any]]
BUSY_TITLES = {
    "device_busy": "A simulated device that is just fed",
    "device_busy_in_bursts": "The same, and the store stands still for one second in five",
}


def figures(given: argparse.Namespace) -> dict[str, Figure]:
    """Every figure that can be asked for by its name, in the order in which they are taken.

    Those of the long listing come last: no producer runs after it.
    """
    return {
        "up": start.up,
        "first_row": lambda bench: start.first_row(bench, FEW_OBJECTS),
        "first_row_of_many": lambda bench: start.first_row(bench, given.objects),
        "overhead": overhead.overhead,
        "class_host": class_host.class_host,
        "boxes_head": boxes_head.boxes_head,
        "catalogue": catalogue.catalogue,
        "catalogue_large_photos": catalogue.large_photos,
        "catalogue_many_images": catalogue.many_images,
        "vgg16": vgg.vgg16,
        "models_add": adding.models_add,
        "device_busy": device.device_busy,
        "device_busy_in_bursts": device.device_busy_in_bursts,
        "real_listing": lambda bench: listing.real_listing(bench, given.objects),
        "listing": listing.listing,
        "broker_memory": listing.broker_memory,
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the figures; all by default")
    parser.add_argument("--images", type=int, default=2000, help="photos in the bucket")
    parser.add_argument("--photos", type=Path, help="a folder of images; the demo's by default")
    parser.add_argument("--keys", type=int, default=10_000_000, help="of the made-up listing")
    parser.add_argument("--objects", type=int, default=1_000_000, help="of the real listings")
    given = parser.parse_args()
    if unknown := set(given.names) - set(figures(given)):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}. {', '.join(figures(given))}.")
    return given


def main() -> None:
    given = options()
    known = figures(given)
    path = RESULTS / "figures.json"
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        work = Path(folder)
        stack = BenchStack(work / "home")
        bench = Bench(stack, lambda: photos(given.photos, work), given.images, given.keys)
        with stack.up():
            for model in ("mobilenet_v2", "ssd_mobilenet_v3"):
                stack.run("models", "pull", model)
            for name in [name for name in known if name in given.names or not given.names]:
                report[name] = {**known[name](bench), "machine": machine()}
                shown = {k: v for k, v in report[name].items() if k not in ("runs", "machine")}
                print(name, json.dumps(shown), file=sys.stderr, flush=True)
                write(path, report)


def write(path: Path, report: dict[str, Any]) -> None:
    """The report, and beside it the plot of the devices that were watched."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    watched = {title: report[name] for name, title in BUSY_TITLES.items() if name in report}
    if watched:
        runs = {title: found["runs"] for title, found in watched.items()}
        plot_busy(runs, path.with_name("device-busy.png"))
    if "catalogue_many_images" in report:
        plot_many(report["catalogue_many_images"], path.with_name("catalogue-many.png"))


if __name__ == "__main__":
    main()
