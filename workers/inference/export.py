"""``python -m workers.inference.export``: a torchvision classifier as one ONNX file.

The graph takes uint8 images of shape (batch, height, width, 3) and gives float32 arrays; the
normalisation is inside, and the batch dimension is free. Prints how many numbers each of its
outputs has for an image: ``{"outputs": {"scores": 1000, "features": 1280}}``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from shared.environment import settle

if __name__ == "__main__":
    settle()

import numpy as np
import onnxruntime
import torch

from shared.errors import HeadraceError, PermanentError
from shared.fields import Channels
from shared.placement import Size
from workers.inference.engines.exported import METADATA_KEY, provenance
from workers.inference.network import FEATURES, SCORES, Normalised, build_network

_CHECKED_BATCHES = (1, 5)
_TOLERANCE = 1e-3


def export(
    weights: Path,
    architecture: str,
    mean: Channels,
    std: Channels,
    canvas: Size,
    output: Path,
    wanted: Collection[str] = (SCORES, FEATURES),
) -> dict[str, int]:
    """Write ``output`` once all that it gives is torch's; nothing is written otherwise.

    ``canvas``: width and height of the images. ``wanted``: outputs, of which the graph has those
    that the network has. Returns how many numbers each of them has for an image.
    Raises PermanentError for weights that do not fit, or a graph that answers differently.
    """
    width, height = canvas
    module = build_network(architecture, weights, mean, std, outputs=None)
    module.outputs = tuple(name for name in module.outputs if name in wanted)
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


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code; errors are one line on stderr."""
    parser = argparse.ArgumentParser("python -m workers.inference.export", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a state dict, .pth")
    parser.add_argument("--architecture", required=True, help="torchvision's name for it")
    parser.add_argument("--mean", type=float, nargs=3, required=True, metavar="M")
    parser.add_argument("--std", type=float, nargs=3, required=True, metavar="S")
    parser.add_argument("--image-pixels", type=int, default=224)
    parser.add_argument("--outputs", default=f"{SCORES},{FEATURES}", help="those it has are given")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    mean, std = tuple(given.mean), tuple(given.std)
    canvas = given.image_pixels, given.image_pixels
    try:
        what, outputs = (given.weights, given.architecture), given.outputs.split(",")
        lengths = export(*what, mean, std, canvas, given.output, outputs)
    except (HeadraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps({"outputs": lengths}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
