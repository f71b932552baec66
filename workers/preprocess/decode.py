"""Bytes to pixels: uint8 RGB, upright, whatever the format, the mode and the orientation were.

Pillow reads every header first and decodes what the fast decoder does not take or refuses, which
is more than is really damaged.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.messages import MAX_SIDE_PIXELS, ImageWarning
from shared.pipeline import Preprocess
from workers.preprocess import jpeg
from workers.preprocess.damage import FORMATS, explained

Pixels = npt.NDArray[np.uint8]

# Each pipeline has its own bound, which is checked below; this is the highest that any may have.
Image.MAX_IMAGE_PIXELS = 10**9
# What matters about an image is in its row; the log is not to be flooded by odd metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

_DAMAGED = (
    "Parts of the JPEG's data are damaged; 'decode: lenient' keeps the picture with a warning."
)
_ORIENTATION_TAG = 0x0112
_CONVERTIBLE = frozenset(
    ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV")
)
# The turn that sets an image upright, by EXIF orientation.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """``pixels``: uint8 (h, w, 3), C order, upright, perhaps scaled down while decoding.

    ``width`` and ``height`` are those of the whole image, after orientation.
    """

    pixels: Pixels
    width: int
    height: int
    warning: ImageWarning | None = None


def decode(data: bytes, preprocess: Preprocess) -> Decoded:
    """Decode the first frame. Raises ItemError, and nothing else that is an Exception."""
    with explained(data), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size, preprocess.max_pixels)
        # Twice the final size keeps what the antialiased resize would have made of the whole.
        least_pixels = 2 * preprocess.resize_shorter_pixels
        pixels, warning = jpeg.decode_jpeg(image, data, least_pixels)
        if pixels is None:
            image.load()
            pixels = _rgb(image)
        if warning and preprocess.decode == "strict":
            raise ItemError(ItemErrorCode.CORRUPT, _DAMAGED)
        width, height = image.size
        # After loading: Pillow turns a TIFF itself, and then no longer names its orientation.
        orientation = _orientation(image)
        if orientation in _TURNS:
            pixels = np.ascontiguousarray(_TURNS[orientation](pixels))
        if orientation in _TURNS and orientation >= 5:
            width, height = height, width
        return Decoded(pixels, width, height, warning)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(size) > MAX_SIDE_PIXELS:
        raise ItemError(
            ItemErrorCode.BOMB, f"It claims {width}x{height} pixels, more than {max_pixels} in all."
        )


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        gray = (np.asarray(image) >> 8).astype(np.uint8)  # Pillow's own conversion clips
        return np.repeat(gray[:, :, np.newaxis], 3, axis=2)
    if image.mode not in _CONVERTIBLE:
        raise ItemError(
            ItemErrorCode.UNSUPPORTED, f"No agreed way leads from {image.mode} pixels to RGB."
        )
    return np.array(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - damaged metadata is no reason to lose the image
        return 1
