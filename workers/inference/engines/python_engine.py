"""A user's own class: no base class, no import of ours, one output an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared.pipeline import EngineName, Precision
from workers.inference.engines.port import Images, Outputs


class PythonEngine:
    """Calls the class's one instance with uint8 RGB batches (images, height, width, 3).

    The class is instantiated here, without arguments; what that raises, this raises.
    """

    name: EngineName = "python"
    precision: Precision | None = None
    device = "cpu"

    def __init__(self, user_class: type[Any]) -> None:
        self._instance: Any = user_class()
        self.device = str(getattr(self._instance, "device", "cpu"))[:200]

    def run(self, images: Images) -> Outputs:
        """The instance's outputs as a list. Raises ValueError unless there is one an image."""
        return self.run_own(np.array(images))  # the original is a slot that others reuse

    def run_own(self, images: Images) -> Outputs:
        """As ``run``, on images which the class may keep or change."""
        answer = plain(self._instance(images))
        if isinstance(answer, str | bytes | dict) or not hasattr(answer, "__iter__"):
            raise ValueError(f"the class gave a {type(answer).__name__}, not one output an image")
        outputs = list(answer)
        if len(outputs) != len(images):
            raise ValueError(f"the class gave {len(outputs)} outputs for {len(images)} images")
        return outputs

    def close(self) -> None:
        """Drop the instance."""
        self._instance = None


def plain(value: Any) -> Any:
    """A torch tensor, on whichever device, as a numpy array; anything else as it is."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        return value.detach().cpu().float().numpy()
    return value
