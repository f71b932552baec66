"""Every example of a class in the documentation and in ``examples`` runs, and answers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from shared.catalog import resolve
from shared.keys import code_key, file_key
from shared.pipeline import Pipeline, view_of
from tests.support.memory_store import MemoryStore
from workers.inference.class_host.start import open_class
from workers.inference.heads import head_of
from workers.inference.model_types import AboutImage
from workers.inference.user_code import UserCode

PROJECT = Path(__file__).parents[5]
PAGE = (PROJECT / "docs" / "CLASSES.md").read_text()
BLOCKS = re.findall(r"```(?:python|yaml|text)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
PIPELINES = [name for name, _ in BLOCKS if name.endswith(".yaml")]
ORIGINALS = [(640, 480), (400, 900)]
KEYS = ["2026/a.jpg", "b.jpg"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The examples as users have them."""
    monkeypatch.setenv("SEASON", "winter")
    shutil.copytree(PROJECT / "examples" / "own_model", tmp_path / "own")
    for name, text in BLOCKS:
        path = tmp_path / "own" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def answers(file: Path, folder: Path) -> tuple[Pipeline, pa.Array]:
    """What the only class of a pipeline answers about two images, one dark and one bright."""
    store = MemoryStore("models", "state")
    found = resolve(str(file), "models", store)
    for packed in found.packed:
        store.put("models", code_key(packed.code.sha256), packed.code.archive)
        for carried, path in zip(packed.files, packed.paths, strict=True):
            store.put("models", file_key(carried.sha256), path.read_bytes())
    ((name, analysis),) = found.pipeline.network_analyses.items()
    model, view = found.pipeline.model_of(name), view_of(analysis)
    images = np.full((2, *reversed(view.canvas), 3), 50, np.uint8)
    images[1, ::2] = 250
    about = [
        AboutImage(key, *size, view.place(size)) for key, size in zip(KEYS, ORIGINALS, strict=True)
    ]
    engine = open_class(model, UserCode(store, "models", folder / "cache"), 60)
    try:
        outputs = engine.launch([images], about=about).wait().outputs
    finally:
        engine.close()
    answered = head_of(analysis.kind).answers(analysis, outputs, (), ORIGINALS)
    assert {number: failure.error_message for number, failure in answered.failures.items()} == {}
    assert analysis.check(answered.values) is None
    return found.pipeline, answered.values


def test_the_page_has_an_example_of_each_kind() -> None:
    assert len(PIPELINES) >= 7
    assert PAGE.count("```python\n# ") == PAGE.count("```python")
    assert PAGE.count("```yaml\n# ") == PAGE.count("```yaml")


@pytest.mark.parametrize("name", PIPELINES)
def test_an_example_of_the_page_runs(folder: Path, name: str) -> None:
    _, values = answers(folder / "own" / name, folder)
    assert values.null_count == 0


def test_a_dark_image_is_what_the_examples_say(folder: Path) -> None:
    def first(name: str) -> object:
        return answers(folder / "own" / name, folder)[1].to_pylist()[0]

    assert first("palette_name.yaml")["predictions"] == [{"label": "night in winter", "score": 1.0}]
    assert first("exposure.yaml")["is_dark"] is True
    assert first("bright.yaml") == []
    assert first("centre.yaml") == {"folder": "2026", "x": 0.0, "y": -80.0, "width": 640}


def test_a_bright_image_has_a_box_in_its_own_pixels(folder: Path) -> None:
    _, values = answers(folder / "own" / "bright.yaml", folder)
    ((box,),) = values.to_pylist()[1:]
    width, height = ORIGINALS[1]
    assert (box["label"], box["x1"], box["y1"]) == ("bright", 0, 0)
    assert (box["x2"], box["y2"]) == (width, pytest.approx(319 / 320 * height))


def test_the_example_of_the_readme_is_the_one_in_its_folder(folder: Path) -> None:
    readme = (PROJECT / "README.md").read_text()
    for file in (PROJECT / "examples" / "own_model").glob("mean_colour.*"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("# Run")]
        assert "\n".join(lines) in readme
    shutil.copytree(PROJECT / "examples" / "own_model", folder / "example")
    _, values = answers(folder / "example" / "mean_colour.yaml", folder)
    assert values.field("predictions").to_pylist()[0][0]["label"] == "red"
