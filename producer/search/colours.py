"""What palettes say of an image's style, as numbers that can be compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared.cielab import to_lab

Floats = npt.NDArray[np.float32]

_BINS = 8
# Colours of photos lie within; what is stronger falls into the outermost bins.
_MAX_AB = 64.0
STATISTICS = 6
HISTOGRAM = _BINS * _BINS


def style_numbers(palettes: pa.ListArray) -> Floats:
    """Of each palette: mean and deviation of L, a and b, then the square roots of an 8×8 histogram
    of a and b, all by the area that each colour has. Shape (images, STATISTICS + HISTOGRAM).

    Roots, so that the distance of two histograms is Hellinger's, in which small shares count.
    """
    count = len(palettes)
    image = pc.list_parent_indices(palettes).to_numpy()
    colours = palettes.flatten()
    digits = "".join(text[1:] for text in pc.struct_field(colours, "hex").to_pylist())
    rgb = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 3)
    shares = pc.struct_field(colours, "share").to_numpy(zero_copy_only=False).astype(float)
    lab = to_lab(rgb.astype(np.float32))
    areas = np.bincount(image, shares, count)
    weights = shares / np.where(areas > 0, areas, 1)[image]

    def means(values: Floats) -> npt.NDArray[np.float64]:
        columns = [np.bincount(image, weights * column, count) for column in values.T]
        return np.stack(columns, axis=1)

    mean = means(lab)
    deviation = np.sqrt(means((lab - mean[image]) ** 2))
    ab = np.clip((lab[:, 1:] + _MAX_AB) * (_BINS / (2 * _MAX_AB)), 0, _BINS - 1).astype(np.int64)
    places = image * HISTOGRAM + ab[:, 0] * _BINS + ab[:, 1]
    histogram = np.sqrt(np.bincount(places, weights, count * HISTOGRAM)).reshape(count, HISTOGRAM)
    return np.hstack([mean, deviation, histogram]).astype(np.float32)
