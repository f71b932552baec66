"""``python -m workers.inference.export``: a torchvision classifier as one ONNX file.

The graph takes uint8 images of shape (batch, pixels, pixels, 3) and gives float32 logits; the
normalisation is inside, and the batch dimension is free.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from shared.environment import settle

if __name__ == "__main__":
    settle()

import numpy as np
import onnxruntime
import torch

from shared.errors import HeadraceError, PermanentError
from shared.fields import Channels
from workers.inference.engines.exported import METADATA_KEY, provenance
from workers.inference.network import Normalised, build_network

_CHECKED_BATCHES = (1, 5)
_TOLERANCE = 1e-3


def export(
    weights: Path, architecture: str, mean: Channels, std: Channels, pixels: int, output: Path
) -> None:
    """Write ``output`` once its answers are torch's; nothing is written otherwise.

    Raises PermanentError for weights that do not fit, or a graph that answers differently.
    """
    module = build_network(architecture, weights, mean, std)
    descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f"{output.name}.")
    os.close(descriptor)
    temporary = Path(name)
    try:
        program = torch.onnx.export(
            module,
            (torch.zeros((2, pixels, pixels, 3), dtype=torch.uint8),),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        program.model.metadata_props[METADATA_KEY] = provenance(sha256, mean, std)
        program.save(temporary, external_data=False)
        _compare(module, temporary, pixels)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)


def _compare(module: Normalised, path: Path, pixels: int) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for batch in _CHECKED_BATCHES:
        images = random.integers(0, 256, (batch, pixels, pixels, 3), np.uint8)
        with torch.inference_mode():
            expected = module(torch.from_numpy(images)).numpy()
        (found,) = session.run(None, {"images": images})
        worst = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
        if found.shape != expected.shape or not worst < _TOLERANCE:
            raise PermanentError(
                "export_differs",
                f"The exported graph's logits differ from torch's by {worst:.2g} of the largest.",
                "Choose engine: torch for this model.",
            )


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code; errors are one line on stderr."""
    parser = argparse.ArgumentParser("python -m workers.inference.export", description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a state dict, .pth")
    parser.add_argument("--architecture", required=True, help="torchvision's name for it")
    parser.add_argument("--mean", type=float, nargs=3, required=True, metavar="M")
    parser.add_argument("--std", type=float, nargs=3, required=True, metavar="S")
    parser.add_argument("--image-pixels", type=int, default=224)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    mean, std = tuple(given.mean), tuple(given.std)
    try:
        export(given.weights, given.architecture, mean, std, given.image_pixels, given.output)
    except (HeadraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
