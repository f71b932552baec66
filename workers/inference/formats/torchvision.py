"""torchvision's networks: state dicts, as torch and safetensors save them.

The graph takes uint8 images of shape (batch, height, width, 3) and gives float32 arrays; the
normalisation is inside, and the batch dimension is free.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from shared.catalog.exports import ExportedModel, ExportRequest
from shared.fields import Channels
from shared.placement import Size
from workers.inference.engines.exported import provenance
from workers.inference.errors import is_out_of_memory
from workers.inference.networks.build import float32_on_cpu, load, normalised
from workers.inference.networks.checkpoints import read_state_dict
from workers.inference.networks.detectors import OneStage, TwoStage
from workers.inference.networks.files import looks_like_weights
from workers.inference.networks.fits import fit, guess
from workers.inference.networks.normalised import Normalised
from workers.inference.networks.torch_export import try_network, write_graph
from workers.inference.networks.usual import usual_of


class Torchvision:
    """Reads what ``torch.load`` does with weights alone, and safetensors."""

    options = frozenset({"architecture"})

    def is_format_of(self, weights: Path) -> bool:
        """See ``Format``."""
        return looks_like_weights(weights)

    def export(self, request: ExportRequest) -> ExportedModel:
        """See ``Format``. Two-stage detectors have no graph."""
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
        view = request.view or usual.view(request.canvas)
        lengths = try_network(module, found.architecture, view.canvas)
        baked = provenance(request.sha256, mean, std, module.outputs)
        has_graph = not isinstance(module, TwoStage)
        assumed: tuple[str, ...] = ()
        if has_graph and not _is_written(module, baked, view.canvas, request.output):
            has_graph = False
            assumed = ("Only torch runs it: torch cannot write it as a graph that answers alike.",)
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
            assumed=(*assumed, *_assumed(request, found.architecture, mean, std)),
        )


def _is_written(module: Normalised, provenance: str, canvas: Size, output: Path) -> bool:
    """Whether the graph could be written. Without it torch runs the network all the same."""
    try:
        write_graph(module, provenance, canvas, output)
    except Exception as error:
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise
        traceback.print_exception(error)  # seen with HEADRACE_DEBUG=1
        return False
    return True


def _assumed(
    request: ExportRequest, architecture: str, mean: Channels, std: Channels
) -> tuple[str, ...]:
    said = [] if request.architecture else [f"By its weights it is torchvision's {architecture}."]
    if request.mean is None or request.std is None:
        numbers = [", ".join(f"{n:.4g}" for n in each) for each in (mean, std)]
        said.append(
            f"It takes RGB with mean {numbers[0]} and std {numbers[1]}, of pixels scaled to 0..1."
        )
    return tuple(said)


FORMAT = Torchvision()
