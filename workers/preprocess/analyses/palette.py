"""The dominant colours of an image: k-means in CIELAB, the same for the same pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageColor

from shared.analyses.palette import Palette
from shared.cielab import Lab, Rgb, to_lab
from shared.pixels import Pixels

# Colours are first counted in cells of 8 levels a channel: an image of 64x64 pixels then has some
# hundreds of them. Cells also bound what k-means costs, however large the view is.
_LEVELS_BITS = 3
_CELLS = 2 ** (3 * (8 - _LEVELS_BITS))
# Photos settle after 5 to 15 rounds; what still moves then is not visible.
_MAX_ROUNDS = 12
# Colours that are closer than this in CIELAB look alike (the "just noticeable difference").
_ALIKE = 2.3


def analyse(analysis: Palette, pixels: Pixels) -> Any:
    """See ``Analyser``."""
    colours, weights = _counted(pixels)
    lab = to_lab(colours)
    nearest = _clustered(lab, weights, _seeds(lab, weights, analysis.count))
    shares = np.bincount(nearest, weights)
    means = np.stack([np.bincount(nearest, weights * c) for c in colours.T], axis=1)
    filled = shares > 0
    rounded = np.rint(means[filled] / shares[filled, np.newaxis]).astype(np.uint8)
    names = _names(rounded.astype(np.float32))
    shares = shares[filled] / weights.sum()
    return [
        {"hex": f"#{rounded[n].tobytes().hex()}", "share": float(shares[n]), "name": names[n]}
        for n in np.argsort(-shares, kind="stable")
    ]


def _counted(pixels: Pixels) -> tuple[Rgb, npt.NDArray[np.float64]]:
    """The mean colour of each cell that has pixels, float32 (n, 3), and how many it has."""
    flat = pixels.reshape(-1, 3)
    red, green, blue = (flat >> _LEVELS_BITS).astype(np.int32).T
    bits = 8 - _LEVELS_BITS
    cells = red << 2 * bits | green << bits | blue
    counts = np.bincount(cells, minlength=_CELLS)
    used = np.flatnonzero(counts)
    sums = [np.bincount(cells, channel, minlength=_CELLS)[used] for channel in flat.T]
    weights = counts[used].astype(np.float64)
    return (np.stack(sums, axis=1) / weights[:, np.newaxis]).astype(np.float32), weights


def _seeds(lab: Lab, weights: npt.NDArray[np.float64], count: int) -> Lab:
    """The colours to begin with: each the one that is most missed beside those before it."""
    chosen = [int(weights.argmax())]
    distances = _squared(lab, lab[chosen])[:, 0]
    while len(chosen) < count and distances.max() > _ALIKE**2:
        visible = distances > _ALIKE**2
        chosen.append(int((weights * distances * visible).argmax()))
        distances = np.minimum(distances, _squared(lab, lab[chosen[-1:]])[:, 0])
    return lab[chosen]


def _clustered(lab: Lab, weights: npt.NDArray[np.float64], centres: Lab) -> npt.NDArray[np.intp]:
    """The number of each colour's cluster."""
    nearest: npt.NDArray[np.intp] = _squared(lab, centres).argmin(axis=1)
    for _ in range(_MAX_ROUNDS):
        totals = np.bincount(nearest, weights, len(centres))
        sums = [np.bincount(nearest, weights * axis, len(centres)) for axis in lab.T]
        has_any = totals > 0
        centres = centres.copy()
        centres[has_any] = (np.stack(sums, axis=1)[has_any].T / totals[has_any]).T
        before, nearest = nearest, _squared(lab, centres).argmin(axis=1)
        if np.array_equal(before, nearest):
            break
    return nearest


def _squared(lab: Lab, others: Lab) -> npt.NDArray[np.float32]:
    """The squared distance of each colour from each of the others."""
    differences = lab[:, np.newaxis] - others
    squared: npt.NDArray[np.float32] = np.einsum("ijk,ijk->ij", differences, differences)
    return squared


def _names(colours: Rgb) -> list[str]:
    """The name of the CSS colour that is nearest to each."""
    names, lab = _css_colours()
    return [names[n] for n in _squared(to_lab(colours), lab).argmin(axis=1)]


@cache
def _css_colours() -> tuple[list[str], Lab]:
    """The 148 names of CSS, of which Pillow has a table."""
    names = sorted(ImageColor.colormap)
    rgb = np.array([ImageColor.getrgb(name)[:3] for name in names], np.float32)
    return names, to_lab(rgb)
