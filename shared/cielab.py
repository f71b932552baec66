"""CIELAB, in which the distance of two colours is about how different they look."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.float32]
Lab = npt.NDArray[np.float32]

# sRGB's primaries in XYZ (IEC 61966-2-1), each row divided by the white point's, which is D65.
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    np.float32,
)
_TO_XYZ /= _TO_XYZ.sum(axis=1, keepdims=True)
# Below the first, the cube root is replaced by a straight line.
_LINEAR_BELOW, _SLOPE, _OFFSET = 216 / 24389, 841 / 108, 4 / 29


def to_lab(colours: Rgb) -> Lab:
    """sRGB colours, float32 (n, 3) from 0 to 255, as L (0 to 100), a and b: float32 (n, 3)."""
    scaled = colours / np.float32(255)
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T
    roots = np.where(xyz > _LINEAR_BELOW, np.cbrt(xyz), _SLOPE * xyz + _OFFSET)
    x, y, z = roots.T
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=1).astype(np.float32)
