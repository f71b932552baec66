"""Decoding for the view that most pipelines have."""

from __future__ import annotations

from shared.pipeline import Preprocess
from shared.views.crop import Crop
from workers.preprocess import decode as decoding
from workers.preprocess.decode import Decoded

USUAL_VIEW = Crop(resize_shorter_pixels=256, crop_pixels=224)


def decode(data: bytes, preprocess: Preprocess) -> Decoded:
    """As a pipeline does that only has the usual view."""
    return decoding.decode(data, preprocess, (USUAL_VIEW,))
