"""``python -m workers.contact_sheet``: many images of a bucket, small and side by side, as JPEGs.

It reads ``ContactSheets`` as JSON from stdin. For each image it prints a line: ``shown``, or
``missing`` for one that is a gray tile now, since it cannot be fetched or decoded.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from shared.environment import settle

if __name__ == "__main__":
    settle(OMP_NUM_THREADS="1")

import numpy as np
from PIL import Image

from shared.contact_sheets import ContactSheet, ContactSheets
from shared.errors import HeadraceError, ItemError
from shared.item import ItemFailure
from shared.pipeline import Preprocess
from shared.settings import load_settings
from shared.storage import resolve_store
from shared.views.letterbox import Letterbox
from workers.preprocess.decode import decode
from workers.preprocess.encoding import Encoded
from workers.preprocess.fetch import Fetcher, Payload, by_bytes

COLUMNS = 6
_GAP_PIXELS = 4
_BACKGROUND, _GRAY = (255, 255, 255), (128, 128, 128)
_TILE = Letterbox(width=200, height=200, pad=255)
_JPEG_QUALITY = 85
# Somebody waits for it.
_PATIENCE_SECONDS = 20.0


def draw(
    request: ContactSheets, sheet: ContactSheet, fetcher: Fetcher, tell: Callable[[bool], None]
) -> None:
    """Write one sheet. ``tell`` takes whether an image is shown. Raises HeadraceError, OSError."""
    width, height = _TILE.canvas
    columns = min(COLUMNS, len(sheet.items))
    rows = -(-len(sheet.items) // columns)
    size = (columns * (width + _GAP_PIXELS) - _GAP_PIXELS, rows * (height + _GAP_PIXELS))
    whole = Image.new("RGB", (size[0], size[1] - _GAP_PIXELS), _BACKGROUND)
    limit = request.preprocess.max_object_bytes
    payloads = (
        payload
        for items in by_bytes(sheet.items)
        for payload in fetcher.fetch(request.bucket, items, limit)
    )
    for number, payload in enumerate(payloads):
        tile = _tile(payload, request.preprocess)
        row, column = divmod(number, columns)
        left, top = column * (width + _GAP_PIXELS), row * (height + _GAP_PIXELS)
        if tile is None:
            whole.paste(_GRAY, (left, top, left + width, top + height))
        else:
            whole.paste(tile, (left, top))
        tell(tile is not None)
    whole.save(sheet.path, "JPEG", quality=_JPEG_QUALITY)


def _tile(payload: Payload, preprocess: Preprocess) -> Image.Image | None:
    """The image in its own shape on a square; None where there is none."""
    if isinstance(payload, ItemFailure):
        return None
    try:
        if isinstance(payload, Encoded):
            payload = payload.plain(preprocess.max_object_bytes)
        decoded = decode(payload, preprocess, (_TILE,))
    except ItemError:
        return None
    place = _TILE.place((decoded.width, decoded.height))
    image = Image.fromarray(np.ascontiguousarray(decoded.pixels))
    tile = Image.new("RGB", place.canvas, _BACKGROUND)
    tile.paste(image.resize(place.resized, Image.Resampling.BICUBIC), place.offset)
    return tile


def _tell(is_shown: bool) -> None:
    sys.stdout.write("shown\n" if is_shown else "missing\n")
    sys.stdout.flush()


def main() -> int:
    """The command. Returns its exit code; errors are one line on stderr."""
    request = ContactSheets.model_validate_json(sys.stdin.buffer.read())
    try:
        settings = load_settings(request.home)
        fetcher = Fetcher(
            lambda bucket: resolve_store(settings, bucket), threading.Event(), _PATIENCE_SECONDS
        )
        for sheet in request.sheets:
            draw(request, sheet, fetcher, _tell)
    except (HeadraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
