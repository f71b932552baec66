"""A network of torchvision's with its weights and its normalisation, as one torch module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from shared.errors import PermanentError
from shared.fields import Channels
from workers.inference.networks.architectures import build, detectors
from workers.inference.networks.checkpoints import read_state_dict
from workers.inference.networks.classifiers import (
    FEATURES,
    SCORES,
    USUAL_PIXELS,
    Classifier,
    give_features,
)
from workers.inference.networks.detectors import (
    BOX_LABELS,
    BOX_SCORES,
    BOXES,
    TwoStage,
    detector_of,
)
from workers.inference.networks.fits import Fit, fit
from workers.inference.networks.normalised import Normalised


def build_network(
    architecture: str,
    weights: Path,
    mean: Channels,
    std: Channels,
    outputs: Sequence[str] | None = (SCORES,),
) -> Normalised:
    """The architecture with the weights of a file, in evaluation mode, on the CPU.

    ``outputs``: the arrays that are wanted; None: all that the network has.

    Raises PermanentError where torchvision has no such network, the weights are not its own or it
    has no such output, and OSError where the weights cannot be read.
    """
    with float32_on_cpu():
        found = fit(architecture, read_state_dict(weights))
        return normalised(found, load(found), mean, std, outputs)


@contextmanager
def float32_on_cpu() -> Iterator[None]:
    """Layers are made in the process's default type and on its default device: make these ours."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(before)


def load(found: Fit) -> Any:
    """torchvision's own network with the weights that fit, in evaluation mode."""
    network = build(found.architecture, found.options)
    # Counters of batches are of no use here, and some files lack them. Its own dict says which
    # version of the network it is of, without which MNASNet takes none.
    state = network.state_dict()
    state.update(found.state)
    try:
        # strict is about names, which were compared; only counters are too many.
        network.load_state_dict(state, strict=False)
    except Exception as error:
        raise PermanentError(
            "bad_weights",
            f"The weights do not fit torchvision's {found.architecture}: they are of a kind that "
            "cannot be copied into it, such as sparse or quantised.",
            "Save its state dict as plain float32: torch.save(model.state_dict(), FILE).",
        ) from error
    return network.eval()


def normalised(
    found: Fit,
    network: Any,
    mean: Channels,
    std: Channels,
    outputs: Sequence[str] | None = None,
) -> Normalised:
    """The loaded network with those outputs; None: all that it has.

    Raises PermanentError ``no_such_output``.
    """
    kind: Any = Classifier
    has: tuple[str, ...]
    if found.architecture in detectors():
        kind = detector_of(network)
        has = (BOXES, BOX_SCORES, BOX_LABELS) if kind is TwoStage else (BOXES, BOX_SCORES)
    elif outputs is not None and tuple(outputs) == (SCORES,):
        has = (SCORES,)
    else:
        pixels = found.options.get("image_size", USUAL_PIXELS)
        has = (SCORES, FEATURES) if give_features(network, pixels) else (SCORES,)
    wanted = has if outputs is None else tuple(outputs)
    if unknown := set(wanted) - set(has):
        raise PermanentError(
            "no_such_output",
            f"torchvision's {found.architecture} has no output '{min(unknown)}', only "
            f"{', '.join(has)}.",
            "Choose another model for what needs it.",
        )
    made: Normalised = kind(network, mean, std, wanted).eval()
    return made
