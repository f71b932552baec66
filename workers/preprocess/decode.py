"""Bytes to pixels: uint8 RGB, upright, whatever the format, the mode and the orientation were.

Pillow reads every header first. It also decodes what the fast decoder for JPEG does not take, or
refuses: not all of that is damaged.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import numpy as np
from PIL import AvifImagePlugin, Image, ImageFile

from shared.errors import ItemError, ItemErrorCode
from shared.item import ImageWarning
from shared.pipeline import Preprocess
from shared.pixels import Pixels
from shared.views import View
from workers.preprocess import jpeg
from workers.preprocess.bounds import check_claims, check_size
from workers.preprocess.damage import raising_item_errors
from workers.preprocess.essentials import simpler
from workers.preprocess.jpeg2000 import stretched
from workers.preprocess.png import has_damaged_pixels
from workers.preprocess.signatures import DECODES_HEIC, format_of, pillow_name, undecoded
from workers.preprocess.sixteen import fix_planes, gray, has_more, scale_colours
from workers.preprocess.variants import misread

# The decoding of a chunk takes one core, whatever the format.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
if DECODES_HEIC:
    import pi_heif

    pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, aux_images=False)
# What matters about an image is in its row; the log is not to be flooded by odd metadata.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION_TAG = 0x0112
_CONVERTIBLE = frozenset(
    ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV")
)
_UNPALETTED = frozenset(("L", "RGB", "RGBA"))
_UNCONVERTIBLE = {
    "I": "32-bit or signed samples",
    "F": "floating-point samples",
    "LAB": "CIELAB colours",
}
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


def decode(data: bytes, preprocess: Preprocess, views: Sequence[View]) -> Decoded:
    """Decode the first frame or page, scaled down where no view can show the difference.

    Raises ItemError, and nothing else that is an Exception.
    """
    with raising_item_errors(data):
        name = format_of(data)
        if kind := misread(name, data):
            raise undecoded(kind)
        last_error: Exception | None = None
        for essentials in chain([data], simpler(name, data)):
            try:
                return _decode(essentials, name, preprocess, views)
            except Exception as error:
                if _is_final(error):
                    raise
                last_error = error.with_traceback(None)  # which would keep the pixels
        assert last_error is not None
        raise last_error


def _is_final(error: Exception) -> bool:
    """Would the file without its metadata end in the same? Damage may also look like a bomb."""
    is_item_error = isinstance(error, ItemError) and error.item_code is not ItemErrorCode.BOMB
    return is_item_error or isinstance(error, MemoryError)


def _decode(data: bytes, name: str, preprocess: Preprocess, views: Sequence[View]) -> Decoded:
    check_claims(data, name, preprocess.max_pixels)
    with _opened(data, name) as image:
        check_size(image.size, preprocess.max_pixels)
        # Twice the final size keeps what the antialiased resize would have made of the whole.
        min_pixels = 2 * max(view.min_shorter_pixels(image.size) for view in views)
        pixels, warning = jpeg.decode_jpeg(image, data, min_pixels)
        width, height = image.size
        if pixels is None:
            pixels = _decode_slow(image, data, name, preprocess, min_pixels)
        if name == "PNG" and has_damaged_pixels(image, data):
            warning = "damaged_data"
        if warning and preprocess.decode == "strict":
            raise ItemError(
                ItemErrorCode.CORRUPT,
                f"Parts of the {name}'s data are damaged; 'decode: lenient' keeps the picture with "
                "a warning.",
            )
        # After loading: Pillow turns a TIFF itself, and then no longer names its orientation.
        orientation = _orientation(image)
        if orientation in _TURNS:
            pixels = np.ascontiguousarray(_TURNS[orientation](pixels))
        if orientation in _TURNS and orientation >= 5:
            width, height = height, width
        return Decoded(pixels, width, height, warning)


def _opened(data: bytes, name: str) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data), formats=(pillow_name(name),))
    if image.format == "PNG" and image.mode == "P" and image.palette is None:
        raise OSError("it has no palette")  # Pillow would make one up
    fix_planes(image)
    return image


def _decode_slow(
    image: ImageFile.ImageFile, data: bytes, name: str, preprocess: Preprocess, min_pixels: int
) -> Pixels:
    """By Pillow, all of it or, of JPEG 2000, as small as a JPEG."""
    scale = preprocess.sixteen_bit == "scale"
    more = scale and has_more(image)
    pixels = _rgb(_loaded(image, data, min_pixels), scale)
    if name == "JPEG 2000" and image.mode in _UNPALETTED:
        return stretched(pixels, data)
    if not more or pixels.max(initial=0) >= 128:
        return pixels  # in 8 bits, or they fill all 16
    with _opened(data, name) as again:
        return scale_colours(pixels, again)


def _loaded(image: ImageFile.ImageFile, data: bytes, min_pixels: int) -> Image.Image:
    """``image`` with its pixels, or a JPEG 2000 halved as a JPEG is halved.

    Whole, OpenJPEG takes 18 bytes a pixel and seconds for a photo.
    """
    halvings = next((n for n in (3, 2, 1) if min(image.size) >= min_pixels << n), 0)
    if image.format == "JPEG2000" and image.mode in _UNPALETTED and halvings:
        with suppress(OSError):  # it has fewer resolutions
            small = _opened(data, "JPEG 2000")
            small.reduce = halvings  # type: ignore[assignment, method-assign]
            small.load()
            return small
    image.load()
    return image


def _rgb(image: Image.Image, scale: bool) -> Pixels:
    if image.mode.startswith("I;16"):
        # Pillow makes 16 bits of those that a JPEG 2000 declares.
        return gray(image, scale and image.format != "JPEG2000")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode not in _CONVERTIBLE:
        kind = _UNCONVERTIBLE.get(image.mode, f"{image.mode} pixels")
        raise undecoded(f"A {image.format} with {kind}")
    return np.array(image.convert("RGB"))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - damaged metadata is no reason to lose the image
        return 1
