"""torchvision's networks: state dicts, as torch and safetensors save them.

The graph takes uint8 images of shape (batch, height, width, 3) and gives float32 arrays; the
normalisation is inside, and the batch dimension is free.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.errors import UsageError
from workers.inference.engines.exported import provenance
from workers.inference.network import float32_on_cpu, load, normalised
from workers.inference.networks.checkpoints import read_state_dict
from workers.inference.networks.detectors import OneStage, TwoStage
from workers.inference.networks.files import looks_like_weights
from workers.inference.networks.fits import fit, guess
from workers.inference.networks.graphs import try_network, write_graph
from workers.inference.networks.usual import usual_of


class Torchvision:
    """Reads what ``torch.load`` does with weights alone, and safetensors."""

    def is_format_of(self, weights: Path) -> bool:
        """See ``Format``."""
        return looks_like_weights(weights)

    def export(self, request: ExportRequest) -> ExportedModel:
        """See ``Format``. Two-stage detectors have no graph."""
        _require_known(request)
        given = read_state_dict(request.weights)
        with float32_on_cpu():
            found = fit(request.architecture, given) if request.architecture else guess(given)
            network = load(found)
            usual = usual_of(found, network)
            mean, std = request.mean or usual.mean, request.std or usual.std
            module = normalised(found, network, mean, std)
        layout = module.layout if isinstance(module, (OneStage, TwoStage)) else None
        classes = found.options["num_classes"]
        names_background = False
        if layout is not None:
            classes -= 1  # the background
            names_background = request.labels == classes + 1
        _require_labels(request.labels, classes, is_detector=layout is not None)
        view = request.view or usual.view(request.canvas)
        lengths = try_network(module, found.architecture, view.canvas)
        if has_graph := not isinstance(module, TwoStage):
            with request.weights.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            baked = provenance(sha256, mean, std, module.outputs)
            write_graph(module, baked, view.canvas, request.output)
        return ExportedModel(
            format="torchvision",
            architecture=found.architecture,
            layout=layout,
            view=view,
            mean=mean,
            std=std,
            outputs=lengths,
            has_graph=has_graph,
            classes=classes,
            names_background=names_background,
        )


def _require_known(request: ExportRequest) -> None:
    if request.config is not None:
        raise UsageError(
            "no_config", "Weights of torchvision's networks have no second file.", "Leave it out."
        )
    if request.channels == "bgr":
        raise UsageError(
            "wrong_channels",
            "torchvision's networks take RGB.",
            "Swap the input channels of the first layer's weights, or export the network to ONNX.",
        )


def _require_labels(labels: int | None, classes: int, *, is_detector: bool) -> None:
    if labels is None or labels == classes or (is_detector and labels == classes + 1):
        return
    with_background = f" (or {classes + 1} with the background first)" if is_detector else ""
    raise UsageError(
        "wrong_labels",
        f"The network has {classes} classes, and there are {labels} labels.",
        f"Give {classes} labels{with_background}, one a line, in the order of its training.",
    )


FORMAT = Torchvision()
