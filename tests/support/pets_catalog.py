"""A catalog of one model, ``pets``, and a pipeline's file to resolve with it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from shared.catalog import Catalog, PublishedModel, constants, publish, weights_model
from tests.support.memory_store import MemoryStore

WEIGHTS_SHA256 = "ab" * 32
OTHER_SHA256 = "cd" * 32
MODEL = f"""\
architecture: resnet18
sha256: {WEIGHTS_SHA256}
sources:
  - url: https://models.example/resnet18.pth
image_pixels: 160
mean: [0.4, 0.5, 0.6]
std: [0.2, 0.2, 1]
labels: labels/pets.txt
licence: MIT
"""


def pets_catalog(directory: Path) -> Catalog:
    """The catalog in ``directory``, as files that a test may change."""
    models = directory / "config" / "models"
    (models / "labels").mkdir(parents=True)
    (directory / "config" / "pipelines").mkdir()
    (models / "pets.yaml").write_text(MODEL)
    (models / "labels" / "pets.txt").write_text("cat\ndog\n")
    return Catalog(directory / "config")


def publish_pets(store: MemoryStore, catalog: Catalog) -> None:
    """Two versions of the model, as far as resolving a pipeline looks at them."""
    for sha256 in (WEIGHTS_SHA256, OTHER_SHA256):
        version = PublishedModel(
            name="pets",
            sha256=sha256,
            constants=constants(weights_model(catalog.model("pets"))),
            outputs={"scores": 2, "features": 512},
            files={"model.onnx": WEIGHTS_SHA256},
            created_at=datetime(2026, 11, 28, tzinfo=UTC),
            licence="MIT",
            source="a test",
        )
        publish(store, "models", version)


def written(directory: Path, text: str) -> Path:
    """A pipeline's file with ``text`` in it."""
    path = directory / "my.yaml"
    path.write_text(text)
    return path
