"""torchvision's networks: state dicts, as torch saves them.

The graph takes uint8 images of shape (batch, height, width, 3) and gives float32 arrays; the
normalisation is inside, and the batch dimension is free.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.catalog.model_files import USUAL_PIXELS, usual_crop
from shared.errors import PermanentError, UsageError
from shared.fields import Channels
from shared.placement import Size
from workers.inference.engines.exported import METADATA_KEY, provenance
from workers.inference.network import SCORES, Normalised, build_network

# Those of ImageNet, which torchvision's networks are trained with.
MEAN: Channels = (0.485, 0.456, 0.406)
STD: Channels = (0.229, 0.224, 0.225)
_CHECKED_BATCHES = (1, 5)
_TOLERANCE = 1e-3


class Torchvision:
    """Reads what ``torch.load`` does with weights alone."""

    def is_format_of(self, weights: Path) -> bool:
        """See ``Format``."""
        with weights.open("rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02")

    def export(self, request: ExportRequest) -> ExportedModel:
        """See ``Format``."""
        if request.architecture is None:
            raise UsageError(
                "no_architecture",
                f"{request.weights.name} has weights alone, and not the network they belong to.",
                "Add --architecture, with torchvision's name of it, as in resnet18.",
            )
        width, height = request.canvas or (USUAL_PIXELS, USUAL_PIXELS)
        view = request.view or usual_crop(min(width, height))
        mean, std = request.mean or MEAN, request.std or STD
        outputs = export(
            *(request.weights, request.architecture, mean, std, view.canvas, request.output)
        )
        return ExportedModel(
            format="torchvision",
            architecture=request.architecture,
            view=view,
            mean=mean,
            std=std,
            outputs=outputs,
            classes=outputs[SCORES],
        )


def export(
    weights: Path,
    architecture: str,
    mean: Channels,
    std: Channels,
    canvas: Size,
    output: Path,
) -> dict[str, int]:
    """Write ``output`` once all that it gives is torch's; nothing is written otherwise.

    ``canvas``: width and height of the images. Returns how many numbers each of the network's
    outputs has for an image.
    Raises PermanentError for weights that do not fit, or a graph that answers differently.
    """
    width, height = canvas
    module = build_network(architecture, weights, mean, std, outputs=None)
    descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f"{output.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        program = torch.onnx.export(
            module,
            (torch.zeros((2, height, width, 3), dtype=torch.uint8),),
            input_names=["images"],
            output_names=list(module.outputs),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        program.model.metadata_props[METADATA_KEY] = provenance(sha256, mean, std, module.outputs)
        program.save(temporary, external_data=False)
        lengths = _compare(module, temporary, canvas)
        temporary.replace(output)
        return lengths
    finally:
        temporary.unlink(missing_ok=True)


def _compare(module: Normalised, path: Path, canvas: Size) -> dict[str, int]:
    width, height = canvas
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for batch in _CHECKED_BATCHES:
        images = random.integers(0, 256, (batch, height, width, 3), np.uint8)
        with torch.inference_mode():
            expected = [array.numpy() for array in module(torch.from_numpy(images))]
        found = session.run(list(module.outputs), {"images": images})
        for name, ours, torchs in zip(module.outputs, found, expected, strict=True):
            worst = float(np.abs(ours - torchs).max() / max(1.0, np.abs(torchs).max()))
            if ours.shape != torchs.shape or not worst < _TOLERANCE:
                raise PermanentError(
                    "export_differs",
                    f"The exported graph's {name} differ from torch's by {worst:.2g} of the "
                    "largest.",
                    "Choose engine: torch for this model.",
                )
    return {name: array[0].size for name, array in zip(module.outputs, found, strict=True)}


FORMAT = Torchvision()
