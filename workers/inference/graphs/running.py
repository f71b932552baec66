"""Runs a graph in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from workers.inference.engines.port import Images
from workers.inference.graphs.images import ImageInput, Pixels, as_taken
from workers.inference.graphs.refusals import not_runnable, refused

_ERRORS_ONLY = 4


class Runnable:
    """A graph in a file. Its methods raise PermanentError where ONNX Runtime raises."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        # Else a file's name decides.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        providers = ["CPUExecutionProvider"]
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options, providers)
        except Exception as error:
            raise not_runnable(error) from error
        self.declared = [tuple(each.shape) for each in self._session.get_outputs()]
        self.names = [str(each.name) for each in self._session.get_outputs()]
        self._input = self._session.get_inputs()[0].name

    def run(self, given: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """The outputs, by name."""
        try:
            arrays = self._session.run(None, {self._input: given})
        except Exception as error:
            raise not_runnable(error) from error
        return dict(zip(self.names, map(np.asarray, arrays), strict=True))

    def run_singly(self, images: Images) -> dict[str, npt.NDArray[Any]]:
        """The outputs of one of our graphs for each image alone, joined."""
        runs = [self.run(images[number : number + 1]) for number in range(len(images))]
        return {name: np.concatenate([run[name] for run in runs]) for name in self.names}


def one_by_one(
    graph: Runnable, images: Images, taken: ImageInput, pixels: Pixels
) -> list[dict[str, npt.NDArray[Any]]]:
    """The arrays of a user's graph for each image alone. Raises PermanentError."""
    given = [
        graph.run(as_taken(images[number : number + 1], taken, pixels))
        for number in range(len(images))
    ]
    for name in graph.names:
        if any(not np.isfinite(arrays[name]).all() for arrays in given):
            raise refused(
                f"The graph's output '{name}' has numbers that are not finite, for plain pictures.",
                "Check its mean, std and order of channels, or export it in float32.",
            )
    return given
