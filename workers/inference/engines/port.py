"""What the device loop needs of an engine, and no more."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from shared.pipeline import EngineName, Precision

Images = npt.NDArray[np.uint8]
# Scores of shape (images, classes), or whatever a user's class gives, one output an image.
Outputs = npt.NDArray[np.float32] | list[Any]


class Engine(Protocol):
    """A model, loaded. One thread uses it.

    ``device`` is in words, as in ``cpu`` or ``cuda:0 NVIDIA H200``; ``precision`` is null where
    only the user's class knows it.
    """

    name: EngineName
    precision: Precision | None
    device: str

    def run(self, images: Images) -> Outputs:
        """One output for each image of ``images``, uint8 RGB of shape (images, height, width, 3).

        Returns when the device is done and keeps no view of ``images``. May raise anything.
        """
        ...

    def close(self) -> None:
        """Let go of the model and of its memory."""
        ...
