"""Plots beside the reports, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS, THEIRS, LIMIT = "#1f6f8b", "#b8c4ca", "#c8553d"
BIN_SECONDS = 0.25
MAX_BINS = 400

Runs = Sequence[Sequence[float]]


def plot_tables(report: Mapping[str, Any], path: Path) -> None:
    """Of each table the steady rates as bars, our rate over each one's, and the cores' limit."""
    tables = report["tables"]
    figure = Figure(figsize=(4.2 * len(tables), 4.2), layout="constrained")
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for panel, (name, table) in zip(panels, tables.items(), strict=True):
        _table(panel, name, table)
    panels[0].set_ylabel("images/s, steady")
    figure.savefig(path, dpi=150)


def _table(panel: Axes, name: str, table: Mapping[str, Any]) -> None:
    contestants = table["contestants"]
    rates = [found["steady_images_per_second"] for found in contestants.values()]
    colours = [OURS, *[THEIRS] * (len(rates) - 1)]
    bars = panel.bar(list(contestants), rates, color=colours)
    ratios = [found["steady_ratio"] for found in contestants.values()]
    said = ["", *[f"ours is {ratio:.2f}×" for ratio in ratios[1:]]]
    panel.bar_label(bars, said, fontsize=8, padding=2)
    if name != "c":  # there each one has another engine, and so another limit
        limit = table["combined_limit_images_per_second"]
        panel.axhline(limit, color=LIMIT, linestyle="--", label=f"the cores' limit, {limit:.0f}/s")
        panel.legend(loc="center right", fontsize=8)
    panel.set_title(f"{name}: {table['title']}", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.margins(y=0.12)


def plot_busy(watched: Mapping[str, Runs], path: Path) -> None:
    """The busy share of devices over time. ``watched``: by title, their runs; see below."""
    figure = Figure(figsize=(9, 2.4 * len(watched)), layout="constrained")
    panels = figure.subplots(len(watched), 1, squeeze=False)[:, 0]
    for panel, (title, runs) in zip(panels, watched.items(), strict=True):
        edges, shares = busy_shares(runs)
        panel.stairs(100 * shares, edges, fill=True, color=OURS)
        whole = float((shares * np.diff(edges)).sum() / edges[-1])
        panel.axhline(100 * whole, color=LIMIT, linestyle="--", label=f"{whole:.1%} in all")
        panel.set(ylim=(0, 105), xlim=(0, edges[-1]), ylabel="device busy, %")
        panel.set_title(title, fontsize=9)
        panel.legend(loc="lower right", fontsize=8)
    panels[-1].set_xlabel("seconds since the first batch")
    figure.savefig(path, dpi=150)


def busy_shares(runs: Runs) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Edges of bins of time in seconds, from the first start on, and each bin's busy share.

    ``runs``: start and end of each, and for how many of these seconds it kept the device busy.
    """
    starts, ends, busy = np.asarray(runs, np.float64).T[:, :, None]
    starts, ends = starts - starts.min(), ends - starts.min()
    whole = float(ends.max())
    edges = np.linspace(0, whole, 1 + max(1, min(MAX_BINS, round(whole / BIN_SECONDS))))
    inside = np.minimum(ends, edges[1:]) - np.maximum(starts, edges[:-1])
    density = busy / np.maximum(ends - starts, 1e-9)
    return edges, (density * inside.clip(0)).sum(axis=0) / np.diff(edges)


def plot_many(report: Mapping[str, Any], path: Path) -> None:
    """A long job: the busy share of its device, and the memory of each process, over time."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1)
    edges, shares = busy_shares(report["runs"])
    above.stairs(100 * shares, edges, fill=True, color=OURS)
    above.set(ylim=(0, 105), xlim=(0, edges[-1]), ylabel="device busy, %")
    above.set_title(f"catalogue over {report['objects']:,} small photos", fontsize=9)
    seconds = [moment for moment, _ in report["resident_mib"]]
    for name in report["resident_mib"][0][1]:
        below.plot(seconds, [by_name[name] for _, by_name in report["resident_mib"]], label=name)
    below.set(ylim=(0, None), ylabel="resident, MiB", xlabel="seconds since the job was made")
    below.legend(fontsize=7, ncols=3)
    figure.savefig(path, dpi=150)
