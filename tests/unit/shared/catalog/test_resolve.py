"""Pipelines and models resolved to values: what is left out follows, what is published stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from shared.analyses.classes import Classes
from shared.catalog import (
    Catalog,
    list_pipelines,
    resolve,
    show_pipeline,
    weights_model,
)
from shared.errors import UsageError
from shared.pipeline import Pipeline
from shared.views.crop import Crop
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import (
    OTHER_SHA256,
    WEIGHTS_SHA256,
    pets_catalog,
    publish_pets,
    written,
)
from tests.support.shown_pipelines import short


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return pets_catalog(tmp_path)


@pytest.fixture
def store(catalog: Catalog) -> MemoryStore:
    """A models bucket with two versions of the model ``pets``."""
    store = MemoryStore("models")
    publish_pets(store, catalog)
    return store


def test_sizes_that_are_left_out_follow_from_the_model(
    tmp_path: Path, catalog: Catalog, store: MemoryStore
) -> None:
    path = written(tmp_path, "model: pets\npreprocess: {max_pixels: 1000, decode: strict}\n")
    pipeline = resolve(str(path), "models", store, catalog).pipeline
    preprocess = pipeline.preprocess
    assert pipeline.staged_views == (Crop(resize_shorter_pixels=183, crop_pixels=160),)
    assert preprocess.max_pixels == 1000
    assert preprocess.decode == "strict"
    assert preprocess.sixteen_bit == "scale"
    assert preprocess.max_object_bytes == 64 * 2**20


@given_settings(deadline=None)
@given(st.integers(1, 4096))
def test_a_crop_always_gets_a_resize_that_holds_it(
    tmp_path_factory: pytest.TempPathFactory, pixels: int
) -> None:
    path = tmp_path_factory.mktemp("crop") / "my.yaml"
    (path.parent / "a.py").write_text("class B: ...\n")
    path.write_text(f"model: {{python: 'a:B'}}\npreprocess: {{crop_pixels: {pixels}}}\n")
    view = short(show_pipeline(str(path))).view
    assert pixels == view["crop_pixels"] <= view["resize_shorter_pixels"] <= 4096


def test_a_pipeline_is_resolved_by_value(
    tmp_path: Path, catalog: Catalog, store: MemoryStore
) -> None:
    path = written(tmp_path, "model: pets\nengine: torch\n")
    pipeline = resolve(str(path), "models", store, catalog).pipeline
    assert pipeline.name == "my"
    assert pipeline.form == "short"
    assert pipeline.network_analyses["classes"].engine == "torch"
    model = pipeline.model_of("classes")
    assert model.architecture == "resnet18"
    assert model.sha256 == WEIGHTS_SHA256
    assert (model.mean, model.std) == ((0.4, 0.5, 0.6), (0.2, 0.2, 1.0))
    assert model.outputs == ("scores",)
    assert Pipeline.model_validate_json(pipeline.model_dump_json()).sha256 == pipeline.sha256
    path.write_text("# the same\nengine: torch\nmodel: pets\n")
    assert resolve(str(path), "models", store, catalog).pipeline.sha256 == pipeline.sha256
    path.write_text("model: pets\n")
    assert resolve(str(path), "models", store, catalog).pipeline.sha256 != pipeline.sha256


def test_a_pipeline_may_name_one_version(
    tmp_path: Path, catalog: Catalog, store: MemoryStore
) -> None:
    path = written(tmp_path, f"model: pets@{OTHER_SHA256}\n")
    model = resolve(str(path), "models", store, catalog).pipeline.model_of("classes")
    assert (model.name, model.sha256) == ("pets", OTHER_SHA256)
    path.write_text(f"model: pets@{'0' * 64}\n")
    with pytest.raises(UsageError, match="no version 000000000000") as caught:
        resolve(str(path), "models", store, catalog)
    assert "headrace models push pets FILE" in caught.value.hint


@pytest.mark.parametrize("buckets", [(), ("models",)])
def test_a_model_has_to_be_complete_in_the_bucket(
    tmp_path: Path, catalog: Catalog, buckets: tuple[str, ...]
) -> None:
    store = MemoryStore(*buckets)
    for bucket in buckets:
        store.put(bucket, f"pets/{WEIGHTS_SHA256}/weights", b"not all of it")
    with pytest.raises(UsageError) as caught:
        resolve(str(written(tmp_path, "model: pets\n")), "models", store, catalog)
    assert caught.value.code == "model_not_pulled"
    assert caught.value.hint == "Run 'headrace models pull pets'."


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("pets.yaml", "0.6", "0.61", "pets.yaml:6: mean: is not what was published"),
        ("pets.yaml", "160", "161", "pets.yaml:5: image_pixels: is not what was published"),
        ("labels/pets.txt", "cat", "kitten", "pets.yaml:8: labels: is not what was published"),
    ],
)
def test_a_published_version_never_changes(
    tmp_path: Path,
    catalog: Catalog,
    store: MemoryStore,
    file: str,
    old: str,
    new: str,
    line: str,
) -> None:
    path = tmp_path / "config" / "models" / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError) as caught:
        resolve(str(written(tmp_path, "model: pets\n")), "models", store, catalog)
    assert line in caught.value.message
    pinned = written(tmp_path, f"model: pets@{OTHER_SHA256}\n")
    model = resolve(str(pinned), "models", store, catalog).pipeline.model_of("classes")
    assert model.mean == (0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("model", "section", "softmax"),
    [
        ("pets", "", True),
        ("pets", "postprocess: {top_k: 3}\n", True),
        ("pets", "postprocess: {softmax: false}\n", False),
        ("{python: own:Own}", "", False),
        ("{python: own:Own}", "postprocess: {top_k: 3}\n", False),
        ("{python: own:Own}", "postprocess: {softmax: true}\n", True),
    ],
)
def test_softmax_is_the_default_for_weights_alone(
    tmp_path: Path,
    catalog: Catalog,
    store: MemoryStore,
    model: str,
    section: str,
    softmax: bool,
) -> None:
    path = written(tmp_path, f"model: {model}\n{section}")
    (path.parent / "own.py").write_text("class Own: pass\n")
    classes = resolve(str(path), "models", store, catalog).pipeline.analyses["classes"]
    assert isinstance(classes, Classes)
    assert classes.softmax is softmax
    assert short(show_pipeline(str(path), catalog)).postprocess["softmax"] is softmax


def test_what_we_bring_is_right() -> None:
    catalog = Catalog()
    assert [pipeline.name for pipeline in list_pipelines()] == catalog.pipeline_names()
    shown = short(show_pipeline("classify"))
    assert shown.preprocess.resize_shorter_pixels == 256
    assert shown.preprocess.crop_pixels == 224
    assert shown.model.name == "mobilenet_v2"
    assert shown.postprocess == {"top_k": 5, "softmax": True}
    entry = weights_model(catalog.model("mobilenet_v2"))
    assert entry.content.sha256.startswith("b03531047ffa")
    labels = (entry.document.path.parent / (entry.content.labels or "")).read_text().splitlines()
    assert (len(labels), len(set(labels)), labels[0]) == (1000, 1000, "tench")
