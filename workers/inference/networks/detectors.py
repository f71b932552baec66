"""torchvision's detectors on images that lie on the canvas already.

Each without its own resizing, which the view does. Class 0 of torchvision's is the background, and
what they give here is without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD

from shared.fields import Channels
from shared.placement import Size
from workers.inference.networks.normalised import Normalised

BOXES, BOX_SCORES, BOX_LABELS = "boxes", "box_scores", "box_labels"


class _Maps(torch.nn.Module):
    """What a one-stage detector's head gives, and height and width of each feature map."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.head = detector.head

    def forward(self, pixels: torch.Tensor) -> tuple[dict[str, torch.Tensor], tuple[Size, ...]]:
        maps = list(self.backbone(pixels).values())
        return self.head(maps), tuple((each.shape[2], each.shape[3]) for each in maps)


class OneStage(Normalised):
    """SSD, RetinaNet and FCOS: every anchor's box, and its score for each class.

    ``boxes`` (images, anchors, 4) are x1, y1, x2, y2 in pixels of the canvas, and ``box_scores``
    (images, anchors, classes) are from 0 to 1. Which of those that overlap are kept is for the head
    to say. torch works them out in float32 whatever the network computes in: bfloat16 has three
    digits, and a side has four. OpenVINO computes all of a graph in one precision, so there `auto`
    takes float32 alone (``Layout.is_decoded``).
    """

    layout = "boxes_and_scores"

    def __init__(
        self, detector: Any, mean: Channels, std: Channels, outputs: Sequence[str]
    ) -> None:
        super().__init__(_Maps(detector), mean, std, outputs)
        self._generate, self._coder = detector.anchor_generator, detector.box_coder
        self._is_ssd, self._is_fcos = isinstance(detector, SSD), isinstance(detector, FCOS)
        # By canvas and device, and never dropped: a CUDA graph reads them where they lie.
        self._anchors: dict[tuple[Size, torch.device], torch.Tensor] = {}

    def arrays(self, given: Any, canvas: Size) -> dict[str, torch.Tensor]:
        """See ``Normalised``."""
        head, maps = given
        logits, deltas = head["cls_logits"].float(), head["bbox_regression"].float()
        anchors = self._anchors_of(canvas, maps, deltas.device)
        scores = logits.softmax(-1) if self._is_ssd else logits.sigmoid()
        if self._is_fcos:
            scores = (scores * head["bbox_ctrness"].float().sigmoid()).sqrt()
            boxes = self._coder.decode(deltas, anchors)
        else:
            boxes = _decoded(deltas, anchors, self._coder)
        width, height = canvas
        sides = [boxes[..., side].clamp(0, (width, height)[side % 2]) for side in range(4)]
        return {BOXES: torch.stack(sides, -1), BOX_SCORES: scores[..., 1:]}

    def _anchors_of(
        self, canvas: Size, maps: tuple[Size, ...], device: torch.device
    ) -> torch.Tensor:
        """Of shape (anchors, 4), x1, y1, x2, y2."""
        key = canvas, device
        if key not in self._anchors:
            width, height = canvas
            with torch.device("cpu"):
                images = ImageList(torch.zeros((1, 3, height, width)), [(height, width)])
                (anchors,) = self._generate(images, [torch.zeros((1, 1, *size)) for size in maps])
            self._anchors[key] = anchors.to(device)
        return self._anchors[key]


def _decoded(deltas: torch.Tensor, anchors: torch.Tensor, coder: Any) -> torch.Tensor:
    """Shifts of anchors' centres and logarithms of their growth, as corners."""
    wx, wy, ww, wh = coder.weights
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + 0.5 * sizes
    shifts = torch.stack((deltas[..., 0] / wx, deltas[..., 1] / wy), -1)
    growths = torch.stack((deltas[..., 2] / ww, deltas[..., 3] / wh), -1)
    middle = shifts * sizes + centres
    half = 0.5 * growths.clamp(max=coder.bbox_xform_clip).exp() * sizes
    return torch.cat((middle - half, middle + half), -1)


class TwoStage(Normalised):
    """Faster, Mask and Keypoint R-CNN: the boxes that the network keeps, without masks or points.

    ``boxes`` (images, most, 4) are x1, y1, x2, y2 in pixels of the canvas; ``box_scores`` and
    ``box_labels`` (images, most) are theirs. Where there are fewer, the score is 0. How many it
    proposes depends on the image, so it is no graph; all but the backbone is in float32.
    """

    layout = "final_boxes"

    def __init__(
        self, detector: Any, mean: Channels, std: Channels, outputs: Sequence[str]
    ) -> None:
        super().__init__(detector.backbone, mean, std, outputs)
        self._proposals, self._boxes = detector.rpn, detector.roi_heads
        for further in ("mask", "keypoint"):
            for part in ("roi_pool", "head", "predictor"):
                setattr(self._boxes, f"{further}_{part}", None)

    def arrays(self, given: Any, canvas: Size) -> dict[str, torch.Tensor]:
        """See ``Normalised``."""
        maps = {name: each.float() for name, each in given.items()}
        first, (width, height) = next(iter(maps.values())), canvas
        sizes = [(height, width)] * len(first)
        # It asks the images for their shape alone.
        pixels = first.new_zeros((1, 1, 1, 1)).expand(len(first), 3, height, width)
        images = ImageList(pixels, sizes)
        proposals, _ = self._proposals(images, maps)
        found, _ = self._boxes(maps, proposals, sizes)
        most = self._boxes.detections_per_img
        arrays = {
            BOXES: first.new_zeros((len(first), most, 4)),
            BOX_SCORES: first.new_zeros((len(first), most)),
            BOX_LABELS: first.new_zeros((len(first), most)),
        }
        for image, each in enumerate(found):
            count = len(each["scores"])
            arrays[BOXES][image, :count] = each["boxes"]
            arrays[BOX_SCORES][image, :count] = each["scores"]
            arrays[BOX_LABELS][image, :count] = each["labels"] - 1
        return arrays


Detector = OneStage | TwoStage


def detector_of(network: Any) -> type[OneStage] | type[TwoStage]:
    """How that network of torchvision's finds objects."""
    return TwoStage if hasattr(network, "roi_heads") else OneStage
