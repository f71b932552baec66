"""What palettes say of an image's style, as numbers that can be compared."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float32]

# Of linear sRGB to CIE XYZ, divided by the white of D65: IEC 61966-2-1.
_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
) / np.array([[0.9505], [1.0], [1.089]])
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
    texts = pc.struct_field(colours, "hex").to_pylist()
    shares = pc.struct_field(colours, "share").to_numpy(zero_copy_only=False).astype(float)
    lab = lab_of(np.array([int(text[1:], 16) for text in texts], np.int64))
    areas = np.bincount(image, shares, count)
    weights = shares / np.where(areas > 0, areas, 1)[image]

    def means(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        columns = [np.bincount(image, weights * column, count) for column in values.T]
        return np.stack(columns, axis=1)

    mean = means(lab)
    deviation = np.sqrt(means((lab - mean[image]) ** 2))
    ab = np.clip((lab[:, 1:] + _MAX_AB) * (_BINS / (2 * _MAX_AB)), 0, _BINS - 1).astype(np.int64)
    places = image * HISTOGRAM + ab[:, 0] * _BINS + ab[:, 1]
    histogram = np.sqrt(np.bincount(places, weights, count * HISTOGRAM)).reshape(count, HISTOGRAM)
    return np.hstack([mean, deviation, histogram]).astype(np.float32)


def lab_of(colours: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """L, a and b of CIELAB, of sRGB colours as numbers of 24 bits. Shape (colours, 3)."""
    rgb = (colours[:, None] >> np.array([16, 8, 0]) & 255) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _XYZ.T
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (xyz * 24389 / 27 + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
