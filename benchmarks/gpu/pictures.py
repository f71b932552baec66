"""JPEGs of the size of ImageNet's, made up: 500 x 375 pixels, about 110 KB."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 375
QUALITY = 92
PICTURES = 256


def pictures(folder: Path, count: int = PICTURES) -> list[Path]:
    """Make ``count`` of them below ``folder``, the same ones every time."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(7)
    return [_picture(random, folder / f"{number:04d}.jpg") for number in range(count)]


def _picture(random: np.random.Generator, path: Path) -> Path:
    """Noise with the spectrum of photos, so that its JPEG is as large as theirs."""
    across, along = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    frequency = np.hypot(across, along)
    frequency[0, 0] = np.inf
    shape = (3, *frequency.shape)
    waves = random.normal(size=shape) + 1j * random.normal(size=shape)
    fields = np.fft.irfft2(waves / frequency**1.1, (HEIGHT, WIDTH))
    colours = np.moveaxis(fields, 0, -1) @ (random.normal(size=(3, 3)) + np.eye(3))
    pixels = 128 + 45 * colours / colours.std()
    sink = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(sink, "JPEG", quality=QUALITY)
    path.write_bytes(sink.getvalue())
    return path
