"""The conversion of sRGB to CIELAB."""

from __future__ import annotations

import numpy as np
import pytest

from shared.cielab import to_lab


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab_is_that_of_d65(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    assert to_lab(np.array([rgb], np.float32))[0] == pytest.approx(lab, abs=0.05)
