"""What the process that exports a model is asked, and what it answers, as JSON.

The producer's side imports no torch, so ``python -m workers.inference.export`` looks at the file,
writes its graph and runs it once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from shared.fields import Channels, Frozen, Sha256, SidePixels
from shared.model import FormatName, LayoutName, OutputName
from shared.views import AnyView

ChannelOrder = Literal["rgb", "bgr"]
# Far more than networks have. They are on one line that the process prints.
MAX_LABELS = 10**6


class ExportRequest(Frozen):
    """Which file, and what is known of it. None: as the file says, or as its format usually is.

    ``sha256``: of ``weights``. ``output``: where the graph is written. ``config``: a second file
    that the format has. ``canvas``: width and height of the images in pixels, where no ``view``
    says it. ``mean``, ``std``: per RGB channel, of pixels scaled to 0..1. ``channels``: the order
    that the network takes them in. ``labels``: how many names of classes there are.
    """

    weights: Path
    sha256: Sha256
    output: Path
    config: Path | None = None
    format: FormatName | None = None
    architecture: str | None = None
    layout: LayoutName | None = None
    view: AnyView | None = None
    canvas: tuple[SidePixels, SidePixels] | None = None
    mean: Channels | None = None
    std: Channels | None = None
    channels: ChannelOrder | None = None
    labels: int | None = None


class ModelInput(Frozen):
    """One input of a network as its file has it. ``shape``: None where any number will do."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class ExportedModel(Frozen):
    """What the file is, and what its graph takes and gives.

    ``outputs``: what it gives for a batch, in order, with how many numbers each has for an image.
    ``layout``: how a detector's outputs become boxes. ``has_graph``: whether ``output`` was
    written; without it only torch runs the network. ``classes``: how many it tells apart, where
    that is known. ``labels``: their names, where the file has them. ``names_background``: whether
    the first of the labels that were asked with is the background's, which is none of its classes.
    ``inputs``: as the file has them. ``assumed``: what the file does not say and was taken as
    usual, in sentences.
    """

    format: FormatName
    architecture: str | None = None
    layout: LayoutName | None = None
    view: AnyView
    mean: Channels
    std: Channels
    channels: ChannelOrder = "rgb"
    outputs: dict[OutputName, int]
    has_graph: bool = True
    classes: int | None = None
    labels: tuple[str, ...] | None = Field(default=None, max_length=MAX_LABELS)
    names_background: bool = False
    inputs: tuple[ModelInput, ...] = ()
    assumed: tuple[str, ...] = ()
