"""``python -m workers.preprocess.suspect_child``: decodes one image after the other, alone."""

from __future__ import annotations

import resource
import sys
from dataclasses import asdict
from pathlib import Path

from shared.environment import settle

if __name__ == "__main__":
    settle(OMP_NUM_THREADS="1")

import numpy as np

from shared.errors import ItemError
from shared.item import ItemFailure
from shared.pipeline import Pipeline, view_of
from shared.staging.pixel_layout import PixelLayout
from workers.preprocess.fill import ImageFiller
from workers.preprocess.resize import use_one_thread
from workers.suspects.packet import Packet
from workers.suspects.serve import Responder, serve

# Beyond what it takes to be ready: the file, twice, and what decoders take, which is most for a
# JPEG 2000 with alpha: 25 bytes a pixel.
_SPARE_BYTES = 2**30
_BYTES_PER_PIXEL = 26
# Of the image in each view: its row, as it is resized, and on its way to the parent, twice.
_ROW_COPIES = 4


def begin(first: Packet) -> tuple[Packet, Responder]:
    """Get ready to preprocess as the first packet says."""
    pipeline = Pipeline.model_validate(first.header)
    preprocess, fill = pipeline.preprocess, ImageFiller(pipeline)
    layout = PixelLayout(pipeline.staged_views, images=1)
    use_one_thread()
    _limit_memory(
        _SPARE_BYTES
        + _BYTES_PER_PIXEL * preprocess.max_pixels
        + 2 * preprocess.max_object_bytes
        + _ROW_COPIES * sum(view_of(each).image_bytes for each in pipeline.analyses.values())
    )

    def answer(data: bytes) -> Packet:
        pixels = np.empty(layout.total_bytes, np.uint8)
        try:
            filled = fill(layout.rows(pixels, 0), data)
        except ItemError as error:
            failure = ItemFailure.of(error.item_code, error.message)
            return Packet({"failure": failure.model_dump(mode="json")})
        return Packet(asdict(filled), pixels.tobytes())

    return Packet({}), answer


def _limit_memory(more_bytes: int) -> None:
    """Beyond ``more_bytes`` over what is mapped now, allocating fails. Linux only."""
    if sys.platform == "linux":
        mapped_pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = mapped_pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(serve(begin))
