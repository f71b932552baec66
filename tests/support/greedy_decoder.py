"""The real preprocess child, with a decoder that asks for 64 GiB for one image: ``text``."""

import sys
from collections.abc import Sequence

import numpy as np

from shared.pipeline import Preprocess
from shared.views import View
from workers.preprocess import fill, suspect_child
from workers.preprocess.damage import raising_item_errors
from workers.preprocess.decode import Decoded
from workers.suspects.serve import serve

real = fill.decode


def decode(data: bytes, preprocess: Preprocess, views: Sequence[View]) -> Decoded:
    """As the real one, but for one image."""
    with raising_item_errors(data):
        if data == b"text":
            np.empty(2**36, np.uint8)
    return real(data, preprocess, views)


if __name__ == "__main__":
    fill.decode = decode
    sys.exit(serve(suspect_child.begin))
