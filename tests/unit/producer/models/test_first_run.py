"""A model's first run is with the workers' own code: what it cannot answer is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from producer.models.first_run import run_once
from shared.catalog import Catalog, ModelConstants, PublishedModel
from shared.errors import HeadraceError
from shared.views.letterbox import Letterbox
from tests.support.pets_catalog import pets_catalog
from workers.inference.engines.exported import METADATA_KEY, provenance

WEIGHTS = b"weights"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
MEAN, STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def mean_colour(path: Path, scale: float) -> None:
    """A graph whose scores are the means of the three channels, times ``scale``."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["means", "scale"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean_colour",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 48, 64, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [onnx.numpy_helper.from_array(np.array(scale, np.float32), "scale")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    baked = provenance(SHA256, MEAN, STD, ["scores"])
    helper.set_model_props(model, {METADATA_KEY: baked})
    onnx.save(model, path)


def version(labels: bytes) -> PublishedModel:
    constants = ModelConstants(
        format="onnx",
        view=Letterbox(width=64, height=48),
        mean=MEAN,
        std=STD,
        labels_sha256=hashlib.sha256(labels).hexdigest(),
    )
    return PublishedModel(
        name="means",
        sha256=SHA256,
        constants=constants,
        outputs={"scores": 3},
        created_at=datetime.now(UTC),
        files=dict.fromkeys(("weights", "model.onnx", "labels.txt"), SHA256),
        licence="",
        source="a test",
    )


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return pets_catalog(tmp_path)


def first_run(folder: Path, catalog: Catalog, scale: float, labels: bytes) -> None:
    files = {name: folder / name for name in ("weights", "model.onnx", "labels.txt")}
    files["weights"].write_bytes(WEIGHTS)
    files["labels.txt"].write_bytes(labels)
    mean_colour(files["model.onnx"], scale)
    run_once(version(labels), files, folder, catalog)


def test_a_model_that_answers_passes(tmp_path: Path, catalog: Catalog) -> None:
    first_run(tmp_path, catalog, 1.0, "röd\nзелёный\n青\n".encode())


def test_answers_that_are_not_finite_are_refused(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(HeadraceError) as caught:
        first_run(tmp_path, catalog, float("nan"), b"r\ng\nb\n")
    assert caught.value.message.startswith("'means' runs, and its answers cannot be used: ")
    assert "\n" not in str(caught.value)
