"""The real preprocess child, with a decoder that dies on one image: ``text`` is what kills it."""

import os
import signal
import sys
from collections.abc import Sequence

from shared.pipeline import Preprocess
from shared.views import View
from workers.preprocess import fill, suspect_child
from workers.preprocess.decode import Decoded
from workers.suspects.serve import serve

real = fill.decode


def decode(data: bytes, preprocess: Preprocess, views: Sequence[View]) -> Decoded:
    """As the real one, but for one image."""
    if data == b"text":
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(data, preprocess, views)


if __name__ == "__main__":
    fill.decode = decode
    sys.exit(serve(suspect_child.begin))
