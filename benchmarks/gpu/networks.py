"""torchvision's classifiers with random weights, as models of the stack."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torchvision

from benchmarks.stack import BenchStack
from shared.analyses.classes import Classes
from shared.catalog.published import WEIGHTS, model_key
from shared.model import Model, PrecisionPolicy
from shared.pipeline import Pipeline
from shared.views.crop import Crop

PIXELS = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def random_weights(architecture: str, folder: Path) -> Path:
    """A state dict of the architecture, as a file."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(architecture, weights=None)
    path = folder / f"{architecture}.pth"
    torch.save(network.state_dict(), path)
    return path


def model_of(architecture: str, weights: Path) -> Model:
    """The model that these weights make."""
    with weights.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    name = architecture.replace("_", "-")
    baked = {"architecture": architecture, "mean": MEAN, "std": STD, "outputs": ("scores",)}
    return Model.model_validate({"name": name, "sha256": sha256, **baked})


def pipeline_of(
    stack: BenchStack, architecture: str, weights: Path, precision: PrecisionPolicy
) -> Pipeline:
    """The pipeline of a model that is now at hand for the workers."""
    model = model_of(architecture, weights)
    bucket = stack.settings.models_bucket
    stack.store.make_bucket(bucket)
    stack.store.put_file(bucket, model_key(model.name, model.sha256, WEIGHTS), weights)
    classes = Classes(
        model=model.name,
        view=Crop(resize_shorter_pixels=256, crop_pixels=PIXELS),
        engine="torch",
        precision=precision,
        softmax=True,
    )
    return Pipeline(
        name=model.name,
        form="short",
        models={model.name: model},
        analyses={"classes": classes},
    )
