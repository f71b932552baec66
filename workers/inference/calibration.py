"""Made-up pictures on which a lower precision has to answer as float32 does."""

from __future__ import annotations

import numpy as np

from shared.placement import Size
from workers.inference.engines import Images

IMAGES = 256
_ROTATIONS = 4


def calibration_images(canvas: Size, count: int = IMAGES) -> Images:
    """uint8 (count, height, width, 3), the same ones every time. ``canvas``: width and height.

    Noise with the spectrum of photos, 1/f, of varying slope, colour and contrast, and its
    rotations. Classifiers are less sure of it than of photos: their best two classes are half as
    far apart. So an error that changes one photo's answer in a hundred changes more of these, and
    what agrees on them agrees on photos.
    """
    random = np.random.default_rng(1)
    width, height = canvas
    drawn = [_picture(random, max(canvas)) for _ in range(-(-count // _ROTATIONS))]
    turned = [np.rot90(picture, turns) for turns in range(_ROTATIONS) for picture in drawn]
    return np.ascontiguousarray([picture[:height, :width] for picture in turned[:count]])


def _picture(random: np.random.Generator, pixels: int) -> Images:
    """A square."""
    across, along = np.fft.fftfreq(pixels)[:, None], np.fft.rfftfreq(pixels)[None]
    frequency = np.hypot(across, along)
    frequency[0, 0] = np.inf  # the mean is drawn apart
    shape = (3, *frequency.shape)
    waves = random.normal(size=shape) + 1j * random.normal(size=shape)
    fields = np.fft.irfft2(waves / frequency ** random.uniform(0.8, 1.8), (pixels, pixels))
    mixing = random.normal(size=(3, 3))
    mixing[:, 0] += 2  # brightness varies more than colour does
    colours = np.moveaxis(fields, 0, -1) @ mixing.T
    spread = random.uniform(25, 70) / max(float(colours.std()), 1e-9)
    return np.clip(random.uniform(60, 190, 3) + spread * colours, 0, 255).astype(np.uint8)
