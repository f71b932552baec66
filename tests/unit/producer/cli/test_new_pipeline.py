"""``pipelines new``: what it writes validates and gives what the pipeline says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from producer.cli.app import app
from producer.cli.new_pipeline import GIVES, Gives, new_pipeline
from shared.analyses.values import Values
from shared.analyses.vector import Vector
from shared.catalog import resolve
from shared.errors import UsageError
from tests.support.memory_store import MemoryStore


def _instance(module: Path, name: str, arguments: dict[str, Any]) -> Any:
    spec = importlib.util.spec_from_file_location(module.stem, module)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)(**arguments)


@pytest.mark.parametrize("gives", GIVES)
def test_what_is_written_validates_and_answers(tmp_path: Path, gives: Gives) -> None:
    path, module = new_pipeline("my_first", gives, tmp_path)
    pipeline = resolve(str(path), "models", MemoryStore()).pipeline
    (analysis,) = pipeline.network_analyses.values()
    assert analysis.kind == gives
    model = pipeline.models[analysis.model]
    assert (model.python_class, model.arguments) == ("my_first:MyFirst", '{"scale": 1.0}')
    answers = _instance(module, "MyFirst", {"scale": 1.0})(np.full((2, 4, 4, 3), 51, np.uint8))
    assert len(answers) == 2
    if isinstance(analysis, Vector):
        assert answers.shape == (2, analysis.length)
    elif isinstance(analysis, Values):
        assert answers[0].keys() == analysis.fields.keys()
    else:
        assert answers[0] == ("red", pytest.approx(0.2))


@pytest.mark.parametrize("there", ["mine.yaml", "mine.py"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match=f"{there} is there already"):
        new_pipeline("mine", "classes", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("name", ["", "My", "a-b", "a.yaml", "../a", "1a", "json", "numpy", "ä"])
def test_a_name_that_cannot_be_used_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        new_pipeline(name, "classes", tmp_path)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot write"):
        new_pipeline("mine", "classes", tmp_path / "nowhere")


def test_the_command_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["pipelines", "new", "mood", "--gives", "values"])
    assert done.exit_code == 0
    assert "headrace enqueue s3://BUCKET/PREFIX --pipeline mood.yaml --wait\n" in done.stdout
    assert (tmp_path / "mood.yaml").exists()
    wrong = CliRunner().invoke(app, ["pipelines", "new", "other", "--gives", "box"])
    assert isinstance(wrong.exception, UsageError)
    assert not (tmp_path / "other.yaml").exists()
