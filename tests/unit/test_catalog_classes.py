"""Users' classes as models: found and pinned by their source, which is not run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from shared.catalog import Catalog, resolve, show_pipeline, validate_file
from shared.catalog.classes import class_model_name
from shared.errors import UsageError
from shared.pipeline import Preprocess
from shared.settings import Settings
from tests.memory_store import MemoryStore
from tests.pets import OTHER_SHA256, pets_catalog, plugin_settings, written

PLUGIN = (
    "import numpy\n\nclass MeanBrightness:\n    def __call__(self, images):\n        return 0\n"
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return pets_catalog(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return plugin_settings(tmp_path)


def test_a_class_is_pinned_by_its_source_and_not_run(
    tmp_path: Path, catalog: Catalog, settings: Settings
) -> None:
    plugin = settings.plugins / "brightness.py"
    plugin.write_text(PLUGIN + "raise SystemExit('imported')\n")
    path = written(tmp_path, "model: {python: 'brightness:MeanBrightness'}\n")
    pipeline = resolve(str(path), settings, MemoryStore(), catalog)
    assert pipeline.model.name == "mean_brightness"
    assert pipeline.model.python_class == "brightness:MeanBrightness"
    assert pipeline.model.sha256 == hashlib.sha256(plugin.read_bytes()).hexdigest()
    assert pipeline.preprocess == Preprocess(resize_shorter_pixels=256, crop_pixels=224)
    plugin.write_text(PLUGIN)
    assert resolve(str(path), settings, MemoryStore(), catalog).sha256 != pipeline.sha256


def test_a_class_may_be_a_model_with_a_file(
    tmp_path: Path, catalog: Catalog, settings: Settings
) -> None:
    (settings.plugins / "lab").mkdir()
    (settings.plugins / "lab" / "light.py").write_text(PLUGIN)
    model = "python: lab.light:MeanBrightness\nimage_pixels: 64\n"
    (tmp_path / "config" / "models" / "light.yaml").write_text(model)
    path = written(tmp_path, "model: light\n")
    pipeline = resolve(str(path), settings, MemoryStore(), catalog)
    assert (pipeline.model.name, pipeline.preprocess.crop_pixels) == ("light", 64)
    assert show_pipeline(str(path), catalog)["model"]["python"] == "lab.light:MeanBrightness"
    path.write_text(f"model: light@{OTHER_SHA256}\n")
    with pytest.raises(UsageError, match="is a Python class: leave"):
        resolve(str(path), settings, MemoryStore(), catalog)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "no module for 'light:MeanBrightness' in the plugins folder"),
        ("class MeanBrightnes:\n    pass\n", "did you mean MeanBrightnes?"),
        (
            "class MeanBrightness:\n  pass\n  oops(\n",
            "light.py:3: not Python: '(' was never closed",
        ),
        ("x = '\0'\n", "light.py:1: not Python: "),
    ],
)
def test_a_class_that_is_missing_is_said(
    tmp_path: Path, catalog: Catalog, settings: Settings, source: str | None, expected: str
) -> None:
    if source is not None:
        (settings.plugins / "light.py").write_text(source)
    path = written(tmp_path, "model: {python: 'light:MeanBrightness'}\n")
    with pytest.raises(UsageError) as caught:
        resolve(str(path), settings, MemoryStore(), catalog)
    assert expected in caught.value.message
    assert str(settings.plugins) in caught.value.message
    assert validate_file(path, catalog).engine == "auto"
    with pytest.raises(UsageError):
        validate_file(path, catalog, settings.plugins)


@pytest.mark.parametrize(
    "source",
    [
        "from other import MeanBrightness\n",
        "from other import *\n",
        "import other\nMeanBrightness = other.Model\n",
        "try:\n    import a\nexcept ImportError:\n    class MeanBrightness: ...\n",
    ],
)
def test_a_class_may_come_from_elsewhere(
    tmp_path: Path, catalog: Catalog, settings: Settings, source: str
) -> None:
    (settings.plugins / "light.py").write_text(source)
    path = written(tmp_path, "model: {python: 'light:MeanBrightness', name: mine}\n")
    assert resolve(str(path), settings, MemoryStore(), catalog).model.name == "mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MeanBrightness", "mean_brightness"), ("HTTPModel2D", "http_model2_d"), ("_Own", "own")],
)
def test_a_class_names_its_model(name: str, expected: str) -> None:
    assert class_model_name(f"module:{name}") == expected
