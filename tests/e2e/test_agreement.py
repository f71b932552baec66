"""``classify`` beside a plain torchvision script on real photos, whichever the engine."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2 as transforms

from shared.catalog import Catalog, weights_model
from tests.support.stack import Stack

MIN_AGREEMENT = 0.99
# Torch computes the reference, too, and is the slowest: some photos show that all is set up right.
SOME = "*[05].jpg"


@pytest.fixture(scope="module")
def reference(photos: list[Path], stack: Stack) -> dict[str, str]:
    """Labels by file name, as torchvision's documentation would compute them."""
    sha256 = weights_model(Catalog().model("mobilenet_v2")).content.sha256
    weights = stack.home / "cache" / "downloads" / f"{sha256}.pth"
    names = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.eval()
    prepare = transforms.Compose(
        [
            transforms.PILToTensor(),
            transforms.Resize(256, antialias=True),
            transforms.CenterCrop(224),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    labels = {}
    torch.set_num_threads(1)  # several would spin for cores that the rest of the tests have
    with torch.inference_mode():
        for start in range(0, len(photos), 32):
            group = photos[start : start + 32]
            batch = torch.stack([prepare(Image.open(path).convert("RGB")) for path in group])
            for path, index in zip(group, model(batch).argmax(1).tolist(), strict=True):
                labels[path.name] = names[index]
    return labels


@pytest.mark.timeout(900)  # five hundred photos, twice the first time
@pytest.mark.shared_data
@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino", "auto"])
def test_top_1_agrees_with_torchvision(
    stack: Stack, photos: list[Path], reference: dict[str, str], engine: str, tmp_path: Path
) -> None:
    stack.run("upload", str(photos[0].parent), "s3://agreement/photos")
    pipeline = tmp_path / "classify.yaml"
    pipeline.write_text(f"name: classify\nmodel: mobilenet_v2\nengine: {engine}\n")
    wanted = SOME if engine == "torch" else "*"
    job = stack.enqueue("s3://agreement/photos", "--include", wanted, pipeline=str(pipeline))
    status = stack.finish(job)
    assert status["state"] == "succeeded"
    assert engine in (status["engine"], "auto")
    labels = {row["key"].rsplit("/", 1)[-1]: row["label"] for row in stack.rows(job)}
    assert labels.keys() == set(fnmatch.filter(reference, wanted))
    agreeing = sum(labels[name] == reference[name] for name in labels)
    took = f"{status['engine']} {status['precision']}"
    print(f"\n{engine} ({took}): {agreeing} of {len(labels)} top-1 labels as torchvision's")
    assert agreeing >= MIN_AGREEMENT * len(labels)
