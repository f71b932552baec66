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
import simplejpeg
from PIL import Image

from shared.errors import ItemError, ItemErrorCode
from shared.messages import MAX_SIDE_PIXELS, ImageWarning
from shared.pipeline import Preprocess
from workers.preprocess.damage import FORMATS, explained

Pixels = npt.NDArray[np.uint8]

# Each pipeline has its own bound, which is checked below; this is the highest that any may have.
Image.MAX_IMAGE_PIXELS = 10**9
# What matters about an image is in its row; the log is not to be flooded by odd metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

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
        pixels = _decode_fast(image, data, 2 * preprocess.resize_shorter_pixels)
        if pixels is None:
            image.load()
            pixels = _rgb(image)
        width, height = image.size
        # After loading: Pillow turns a TIFF itself, and then no longer names its orientation.
        orientation = _orientation(image)
        if orientation in _TURNS:
            pixels = np.ascontiguousarray(_TURNS[orientation](pixels))
        if orientation in _TURNS and orientation >= 5:
            width, height = height, width
        return Decoded(pixels, width, height)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(size) > MAX_SIDE_PIXELS:
        raise ItemError(
            ItemErrorCode.BOMB, f"It claims {width}x{height} pixels, more than {max_pixels} in all."
        )


def _decode_fast(image: Image.Image, data: bytes, least_pixels: int) -> Pixels | None:
    """A colour or gray JPEG, halved while its shorter side stays above ``least_pixels``.

    None where this decoder does not take it.
    """
    if image.format not in {"JPEG", "MPO"} or image.mode not in {"RGB", "L"}:
        return None
    # Halves only: the decoder also knows eighths, such as 7/8, which blur and save nothing.
    divisor = next((n for n in (8, 4, 2) if min(image.size) >= n * least_pixels), 1)
    width, height = (-(-side // divisor) for side in image.size)
    try:
        real_height, real_width, *_ = simplejpeg.decode_jpeg_header(data)
        if (real_width, real_height) != image.size:
            return None  # it reads another header than the one that was checked
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except Exception:  # noqa: BLE001 - Pillow has the last word
        return None
    return pixels


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
