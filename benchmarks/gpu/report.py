"""From jobs and limits to ratios, and from ratios to a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.gpu.system import Job

LIMIT_TARGET = BUSY_TARGET = 0.95


def summary(limits: dict[str, float], jobs: Sequence[Job]) -> dict[str, Any]:
    """Medians over the jobs, against the smaller of the two limits."""
    steady = median(job.steady_images_per_second for job in jobs)
    limit = min(limits["model"], limits["decode"])
    return {
        "alone_images_per_second": limits,
        "limit": "model" if limits["model"] == limit else "decode",
        "steady_images_per_second": steady,
        "images_per_second": median(job.images_per_second for job in jobs),
        "share_of_limit": steady / limit,
        "device_busy": median(job.device_busy for job in jobs),
        "jobs": [asdict(job) for job in jobs],
    }


def markdown(report: dict[str, Any]) -> str:
    """The table, for people."""
    about, networks = report["machine"], report["networks"]
    columns = list(
        dict.fromkeys(k for n in networks.values() for k in n["alone_images_per_second"])
    )
    device = report["gpu"] or "no GPU: on the CPU"
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v)
    engines = {job["engine"]["device"] for n in networks.values() for job in n["jobs"]}
    lines = [
        "# The whole system on a device, beside its limits",
        "",
        f"{device}; {about['cpu']}, {about['cores']} cores; {about['system']}, Python "
        f"{about['python']}; commit {about['commit']}; {versions}. {report['images']} images a "
        f"job, random weights, {report['precision']}, {report['preprocess_processes']} preprocess "
        f"workers; the jobs ran on {', '.join(sorted(engines))}. Images/s; medians. Targets: "
        f"{LIMIT_TARGET:.0%} of the smaller of model and decode alone, and the device busy for "
        f"{BUSY_TARGET:.0%} where that is the model.",
        "",
        "| | system, steady | with start-up | of the limit | the limit | device busy | "
        + " | ".join(f"{column.replace('_', ' ')} alone" for column in columns)
        + " |",
        "|---|" + "--:|" * 3 + "---|" + "--:|" * (1 + len(columns)),
    ]
    for name, found in networks.items():
        alone = found["alone_images_per_second"]
        lines.append(
            f"| {name} | {found['steady_images_per_second']:.0f} "
            f"| {found['images_per_second']:.0f} | {found['share_of_limit']:.2f} "
            f"| {found['limit']} | {found['device_busy']:.1%} | "
            + " | ".join(f"{alone[column]:.0f}" if column in alone else "–" for column in columns)
            + " |"
        )
    return "\n".join(lines) + "\n"
