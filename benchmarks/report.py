"""From runs to ratios, and from ratios to a page."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.contestants import Run

# What Headrace must reach against each peer, by table.
TARGETS = {
    "a": {"Daft": 1.35, "Ray Data": 2.5},
    "b": {"Daft": 1.5, "Ray Data": 3.0, "by hand": 1.25},
    "c": {"Daft": 3.5, "Ray Data": 6.0},
}
LIMIT_TARGET = 0.93


def compare(runs: dict[str, list[Run]], limits: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and the medians of the ratios within each round, Headrace over the other."""
    ours = runs["Headrace"]
    rates = [found["combined_limit_images_per_second"] for found in limits]
    found: dict[str, Any] = {}
    for name, theirs in runs.items():
        pairs = list(zip(ours, theirs, strict=True))
        found[name] = {
            "steady_images_per_second": median(r.steady_images_per_second for r in theirs),
            "images_per_second": median(r.images_per_second for r in theirs),
            "model_share": median(r.model_share for r in theirs),
            "steady_ratio": median(
                a.steady_images_per_second / b.steady_images_per_second for a, b in pairs
            ),
            "ratio": median(a.images_per_second / b.images_per_second for a, b in pairs),
            "runs": [asdict(run) for run in theirs],
        }
    return {
        "contestants": found,
        "combined_limit_images_per_second": median(rates),
        "limit_share": median(
            run.steady_images_per_second / rate for run, rate in zip(ours, rates, strict=True)
        ),
    }


def markdown(report: dict[str, Any]) -> str:
    """The tables, for people."""
    about = report["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v)
    lines = [
        "# Headrace beside its peers",
        "",
        f"{about['cpu']}, {about['cores']} cores; {about['system']}, Python {about['python']}; "
        f"commit {about['commit']}; {versions}. {report['images']} images a run, "
        f"{report['rounds']} rounds in turn, MobileNetV2 by {report['engine']} in "
        f"{report['precision']} where the engine is shared. Figures are medians; ratios are "
        "Headrace's rate over the other's, taken round by round.",
    ]
    for name, table in report["tables"].items():
        lines += ["", f"## Table {name}: {table['title']}", "", *_rows(name, table)]
    return "\n".join(lines) + "\n"


def _rows(name: str, table: dict[str, Any]) -> list[str]:
    rows = [
        "| | steady, images/s | with start-up | busy | steady ratio | with start-up | target |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for contestant, figures in table["contestants"].items():
        target = TARGETS[name].get(contestant)
        rows.append(
            f"| {contestant} | {figures['steady_images_per_second']:.0f} "
            f"| {figures['images_per_second']:.0f} | {figures['model_share']:.2f} "
            f"| {figures['steady_ratio']:.2f} | {figures['ratio']:.2f} | {target or ''} |"
        )
    if name != "c":
        rows.append(
            f"| the cores' limit | {table['combined_limit_images_per_second']:.0f} | | "
            f"| {table['limit_share']:.2f} | | {LIMIT_TARGET} |"
        )
    return rows
