"""The options that are given with a model's file."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from shared.catalog.exports import ChannelOrder
from shared.catalog.model_files import usual_crop
from shared.errors import UsageError
from shared.fields import MAX_SIDE_PIXELS, Channels
from shared.model import MAX_WEIGHTS_BYTES
from shared.placement import Size
from shared.storage import is_s3_url
from shared.views import VIEWS, View
from shared.views.crop import Crop


@dataclass(frozen=True, slots=True)
class Given:
    """None: as the file says, or as its format usually is.

    ``labels``: a file with the names of the classes. ``config``: a second file that the format has.
    ``size``: width and height of the images that the network takes, in pixels. ``view``: the kind
    of view. ``mean``, ``std``: per RGB channel, of pixels scaled to 0..1. ``channels``: the order
    in which the network takes them.
    """

    architecture: str | None = None
    labels: Path | None = None
    config: Path | None = None
    size: Size | None = None
    mean: Channels | None = None
    std: Channels | None = None
    channels: ChannelOrder | None = None
    layout: str | None = None
    view: str | None = None
    licence: str = ""


def size_of(text: str) -> Size:
    """``WIDTHxHEIGHT``, or a side of a square. Raises UsageError."""
    sides = text.lower().split("x")
    if not (
        len(sides) in (1, 2)
        and all(side.isascii() and side.isdigit() and len(side) < 10 for side in sides)
        and all(1 <= int(side) <= MAX_SIDE_PIXELS for side in sides)
    ):
        raise UsageError(
            "bad_option",
            f"--size {text[:40]!r} is not WIDTHxHEIGHT.",
            f"Say it in pixels, {MAX_SIDE_PIXELS:,} at most, as in 640x640.",
        )
    return int(sides[0]), int(sides[-1])


def channels_of(option: str, text: str) -> Channels:
    """``R,G,B``: three numbers of pixels scaled to 0..1, or one for all. Raises UsageError."""
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        numbers = []
    lowest = 0.0 if option == "--mean" else 1e-6
    if len(numbers) not in (1, 3) or not all(lowest <= each <= 1 for each in numbers):
        raise UsageError(
            "bad_option",
            f"{option} {text[:60]!r} is not R,G,B of pixels scaled to 0..1.",
            "Divide numbers for pixels of 0..255 by 255, as in 0.485,0.456,0.406.",
        )
    red, green, blue = numbers * (3 if len(numbers) == 1 else 1)
    return red, green, blue


def view_of(kind: str, canvas: Size) -> View:
    """The usual view of that kind. Raises UsageError for a crop that is no square."""
    shape = VIEWS[kind]
    if shape is not Crop:
        return shape.model_validate({"width": canvas[0], "height": canvas[1]})
    if canvas[0] != canvas[1]:
        raise UsageError(
            "bad_option",
            f"A crop is a square, and the model takes {canvas[0]}x{canvas[1]} pixels.",
            "Choose --view letterbox or --view stretch.",
        )
    return usual_crop(canvas[0])


def require_file(path: Path) -> None:
    """Raise UsageError unless it is a file that can be read, with bytes in it, and not too many."""
    url = str(path).replace("s3:/", "s3://", 1)  # a Path has no double slash
    if is_s3_url(url):
        raise UsageError("not_a_file", f"{url} is not a file here.", "Download it first.")
    try:
        found = path.stat()
        if stat.S_ISREG(found.st_mode):
            path.open("rb").close()
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            "file_not_read", f"Cannot read {path}: {reason}.", "Check the path."
        ) from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "not a file"
        raise UsageError("not_a_file", f"{path} is {what}.", "Name the file of the model.")
    if not found.st_size:
        raise UsageError("empty_file", f"{path} is empty.", "Download or save it again.")
    if found.st_size > MAX_WEIGHTS_BYTES:
        raise UsageError(
            "file_too_large",
            f"{path} has {found.st_size / 2**30:.1f} GiB, {MAX_WEIGHTS_BYTES / 2**30:.1f} at most.",
            "Save the weights alone, without the optimizer's state, or in float16.",
        )
