"""Detectors of torchvision give the boxes that torchvision itself finds on the same pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms

from workers.inference.networks.architectures import build
from workers.inference.networks.build import normalised
from workers.inference.networks.detectors import OneStage, TwoStage
from workers.inference.networks.fits import Fit

CLASSES = 6
# Width and height.
CANVASES = {"ssdlite320_mobilenet_v3_large": (320, 320)}
CANVAS = (160, 128)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRIED = [
    "ssdlite320_mobilenet_v3_large",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
]


def detector(architecture: str, canvas: tuple[int, int]) -> Any:
    """Random weights, with scores that are spread, of images that are not resized."""
    torch.manual_seed(4)
    network: Any = build(architecture, {"num_classes": CLASSES})
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
        last = name.rsplit(".", 1)[-1] in ("cls_logits", "cls_score")
        if last or name.startswith("head.classification_head.module_list"):
            for tensor in layer.parameters():
                torch.nn.init.normal_(tensor, std=0.05)
    network.transform = GeneralizedRCNNTransform(
        *(min(canvas), max(canvas), [0.0] * 3, [1.0] * 3), size_divisible=1, fixed_size=canvas
    )
    with torch.no_grad():  # else all images look alike to it
        network.backbone.train()(torch.randn((2, 3, canvas[1], canvas[0])))
    return network.eval()


def images_on(canvas: tuple[int, int]) -> torch.Tensor:
    width, height = canvas
    torch.manual_seed(5)
    coarse = torch.randint(0, 256, (2, 3, height // 8, width // 8), dtype=torch.uint8)
    return coarse.repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1).contiguous()


def normalised_by_hand(images: torch.Tensor) -> list[torch.Tensor]:
    """In the order of our arithmetic: random layers make much of the last digit of a pixel."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return [image.permute(2, 0, 1) * (1 / (255 * std)) + -mean / std for image in images]


def require_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """By class, then by score."""
    assert len(expected["scores"]) == len(found["scores"]) > 5
    first, second = (
        torch.tensor(
            sorted(
                torch.column_stack((of["labels"], of["scores"], of["boxes"])).tolist(),
                key=lambda row: (row[0], -row[1]),
            )
        )
        for of in (found, expected)
    )
    assert (first - second).abs().max() <= 1e-3, (first - second).abs().amax(0)


@pytest.mark.parametrize("architecture", TRIED)
def test_a_one_stage_detector_finds_torchvisions_boxes(architecture: str) -> None:
    canvas = CANVASES.get(architecture, CANVAS)
    network, images = detector(architecture, canvas), images_on((320, 320))
    images = images[:, : canvas[1], : canvas[0]]
    network.topk_candidates = network.detections_per_img = 10**6
    fit = Fit(architecture, {}, {"num_classes": CLASSES})
    with torch.inference_mode():
        pixels = normalised_by_hand(images)
        own = network(pixels)
        highest = torch.cat([each["scores"] for each in own]).sort().values[-100:-98].mean()
        network.score_thresh = least = float(highest)
        expected = network(pixels)
        module = normalised(fit, network, MEAN, STD)
        assert isinstance(module, OneStage)
        boxes, scores = module(images)
    assert boxes.shape[2:] == (4,)
    assert scores.shape == (*boxes.shape[:2], CLASSES - 1)
    for image in range(2):
        anchors, labels = torch.nonzero(scores[image] > least, as_tuple=True)
        chosen, likely = boxes[image, anchors], scores[image, anchors, labels]
        kept = batched_nms(chosen, likely, labels, network.nms_thresh)
        named = expected[image]["labels"] > 0
        require_same(
            {"boxes": chosen[kept], "scores": likely[kept], "labels": labels[kept] + 1},
            {name: values[named] for name, values in expected[image].items()},
        )


def test_a_two_stage_detector_finds_torchvisions_boxes() -> None:
    architecture = "fasterrcnn_mobilenet_v3_large_320_fpn"
    network, images = detector(architecture, CANVAS), images_on(CANVAS)
    with torch.inference_mode():
        expected = network(normalised_by_hand(images))
        fit = Fit(architecture, {}, {"num_classes": CLASSES})
        module = normalised(fit, network, MEAN, STD)
        assert isinstance(module, TwoStage)
        # In one memory format: what its random layers propose hangs on the last digits.
        maps = module.network(torch.stack(normalised_by_hand(images)))
        boxes, scores, labels = module.arrays(maps, CANVAS).values()
    most = network.roi_heads.detections_per_img
    assert (boxes.shape, scores.shape, labels.shape) == ((2, most, 4), (2, most), (2, most))
    for image, own in enumerate(expected):
        count = len(own["scores"])
        assert not scores[image, count:].any()
        found = {"boxes": boxes, "scores": scores, "labels": labels + 1}
        require_same({name: array[image, :count] for name, array in found.items()}, own)
