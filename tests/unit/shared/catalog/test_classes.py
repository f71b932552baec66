"""Users' classes as models: where they are found, and that their version covers all they need."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shared.catalog import Catalog, Resolved, resolve, show_pipeline, validate_file
from shared.catalog import classes as classes_module
from shared.catalog.classes import class_folders, class_model_name
from shared.catalog.inspect import ModelView
from shared.catalog.reading import Reader
from shared.errors import UsageError
from shared.model import MAX_FILE_BYTES, Model, PackedFile
from shared.views.crop import Crop
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import OTHER_SHA256, pets_catalog, written
from tests.support.shown_pipelines import short

CLASS = "import numpy\n\nclass MeanBrightness:\n    def __call__(self, images):\n        return 0\n"
PIPELINE = "model: {python: 'light:MeanBrightness'}\n"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return pets_catalog(tmp_path)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current directory without classes."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("HEADRACE_PLUGINS", raising=False)


@pytest.fixture
def resolved(catalog: Catalog) -> Any:
    def resolve_file(path: Path) -> Resolved:
        return resolve(str(path), "models", MemoryStore(), catalog)

    return resolve_file


def refused(resolved: Any, path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        resolved(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_class_is_packed_and_not_run(tmp_path: Path, resolved: Any) -> None:
    path = written(tmp_path, PIPELINE)
    (tmp_path / "light.py").write_text(CLASS + "raise SystemExit('imported')\n")
    found = resolved(path)
    (packed,) = found.packed
    model = found.pipeline.model_of("classes")
    assert (model.name, model.python_class) == ("mean_brightness", "light:MeanBrightness")
    assert (model.code_sha256, model.sha256) == (packed.code.sha256, packed.sha256)
    assert packed.code.modules == ("light.py",)
    assert found.pipeline.staged_views == (Crop(resize_shorter_pixels=256, crop_pixels=224),)


@pytest.mark.parametrize("edited", ["light.py", "helper.py", "labels.txt"])
def test_the_version_covers_the_class_what_it_imports_and_its_files(
    tmp_path: Path, resolved: Any, edited: str
) -> None:
    path = written(tmp_path, f"{PIPELINE}files: [labels.txt]\n")
    (tmp_path / "light.py").write_text(f"import helper\n{CLASS}")
    (tmp_path / "helper.py").write_text("VALUE = 'one'")
    (tmp_path / "labels.txt").write_text("cat")
    before, again = resolved(path).pipeline, resolved(path).pipeline
    assert before == again
    with (tmp_path / edited).open("a") as file:
        file.write("  ")
    now, then = resolved(path).pipeline.only_model, before.only_model
    assert now.sha256 != then.sha256
    assert (now.code_sha256 == then.code_sha256) == (edited == "labels.txt")


def test_it_is_looked_for_beside_the_pipeline_then_by_the_variable_then_here(
    tmp_path: Path, resolved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, PIPELINE)
    named, plugins = tmp_path / "named", tmp_path / "here" / "plugins"
    said = refused(resolved, path)
    assert (
        f"{path}:1: model: there is no module for 'light:MeanBrightness' in "
        f"{tmp_path} or {plugins}." in said
    )
    assert "Put it beside the pipeline's file, or set HEADRACE_PLUGINS" in said
    monkeypatch.setenv("HEADRACE_PLUGINS", "../named")
    for folder in (plugins, named, tmp_path):  # the last that is looked at first
        folder.mkdir(exist_ok=True)
        (folder / "light.py").write_text(CLASS)
        assert resolved(path).packed[0].code.folder.samefile(folder)
    monkeypatch.setenv("HEADRACE_PLUGINS", "")
    assert class_folders() == [plugins]


def test_a_class_may_be_a_model_with_a_file(
    tmp_path: Path, catalog: Catalog, resolved: Any
) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "light.py").write_text(CLASS)
    model = "python: lab.light:MeanBrightness\nimage_pixels: 64\n"
    (tmp_path / "config" / "models" / "light.yaml").write_text(model)
    path = written(tmp_path, "model: light\n")
    pipeline = resolved(path).pipeline
    assert (pipeline.only_model.name, pipeline.staged_image_bytes) == ("light", 64 * 64 * 3)
    assert short(show_pipeline(str(path), catalog)).model == ModelView(
        name="light",
        python="lab.light:MeanBrightness",
        folder=str(tmp_path),
        modules=["lab/light.py"],
    )
    path.write_text(f"model: light@{OTHER_SHA256}\n")
    assert "is a Python class: leave" in refused(resolved, path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (None, "no module for 'light:MeanBrightness' in"),
        (
            "class MeanBrightnes:\n    pass\n",
            ".yaml:1: model: there is no class or function 'MeanBrigh",
        ),
        (
            "class MeanBrightness:\n  pass\n  oops(\n",
            "light.py:3: not Python: '(' was never closed",
        ),
        ("x = '\0'\n", "light.py:1: not Python: "),
    ],
)
def test_a_class_that_is_missing_is_said_by_each_command(
    tmp_path: Path, catalog: Catalog, resolved: Any, source: str | None, expected: str
) -> None:
    if source is not None:
        (tmp_path / "light.py").write_text(source)
    path = written(tmp_path, PIPELINE)
    said = refused(resolved, path)
    assert expected in said
    assert str(tmp_path) in said
    for command in (validate_file, lambda path, catalog: show_pipeline(str(path), catalog)):
        with pytest.raises(UsageError) as caught:
            command(path, catalog)
        assert str(caught.value) == said


@pytest.mark.parametrize(
    "source",
    [
        "from other import MeanBrightness\n",
        "from other import *\n",
        "import other\nMeanBrightness = other.Model\n",
        "try:\n    import a\nexcept ImportError:\n    class MeanBrightness: ...\n",
    ],
)
def test_a_class_may_come_from_elsewhere(tmp_path: Path, resolved: Any, source: str) -> None:
    (tmp_path / "light.py").write_text(source)
    path = written(tmp_path, "model: {python: 'light:MeanBrightness', name: mine}\n")
    assert resolved(path).pipeline.only_model.name == "mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MeanBrightness", "mean_brightness"), ("HTTPModel2D", "http_model2_d"), ("_Own", "own")],
)
def test_a_class_names_its_model(name: str, expected: str) -> None:
    assert class_model_name(f"module:{name}") == expected


# files and variables


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """The folder of the pipeline, with the class and a few files."""
    (tmp_path / "light.py").write_text(CLASS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"weights")
    (tmp_path / "labels.txt").write_bytes(b"cat")
    (tmp_path / "empty").write_bytes(b"")
    return tmp_path


def test_files_are_named_as_the_class_finds_them(
    beside: Path, resolved: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    far = tmp_path_factory.mktemp("far") / "far.bin"
    far.write_bytes(b"far")
    (beside / "link.bin").symlink_to(far)
    files = f"files: [labels.txt, ./data/../data/w.bin, '{far}', empty, link.bin]\n"
    found = resolved(written(beside, PIPELINE + files))
    names = [file.name for file in found.pipeline.only_model.files]
    assert names == ["data/w.bin", "empty", "far.bin", "labels.txt", "link.bin"]
    assert [file.bytes for file in found.pipeline.only_model.files] == [7, 0, 3, 3, 3]
    assert [path.read_bytes() for path in found.packed[0].paths][:2] == [b"weights", b""]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ("[labels.txt, nothing.bin]", "files[1]: {}/nothing.bin is not there; name a file"),
        ("[data]", "files[0]: {}/data is a folder; name a file"),
        ("[.]", "is a folder"),
        ("[/dev/zero]", "/dev/zero is not a file"),
        ("[labels.txt, ./labels.txt]", "files[1]: './labels.txt' is packed already: leave it out"),
        ("[data/w.bin, FAR/data]", "packed as 'data' already"),
        ("[labels.txt, ~/labels.txt]", "packed as 'labels.txt' already; rename one of them"),
        ("[~nobody-here/x]", "cannot be a file's name"),
        ("[light.py]", "'light.py' is packed already: leave it out"),
        ("['a\\0b']", "cannot be a file's name"),
        (f"[{'x' * 300}]", "cannot be a file's name"),
        ("[labels.txt/x]", "is not there"),
        ("labels.txt", "files: input should be a valid list"),
        ("[1]", "files[0]: input should be a valid string"),
        (f"[{'x, ' * 65}]", "files: list should have at most 64 items"),
    ],
)
def test_files_that_cannot_be_packed_are_refused_with_the_line(
    beside: Path,
    resolved: Any,
    catalog: Catalog,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    files: str,
    said: str,
) -> None:
    far = tmp_path_factory.mktemp("far")
    for name in ("data", "labels.txt"):
        (far / name).write_bytes(b"")
    monkeypatch.setenv("HOME", str(far))
    quoted = files.replace("FAR", str(far)).replace("'a", '"a').replace("b']", 'b"]')
    path = written(beside, f"{PIPELINE}files: {quoted}\n")
    answer = refused(resolved, path)
    assert answer.startswith(f"{path}:2: ")
    assert said.format(beside) in answer
    with pytest.raises(UsageError) as caught:
        validate_file(path, catalog)
    assert str(caught.value) == answer


def test_a_file_over_2_gib_is_refused_unread(beside: Path, resolved: Any) -> None:
    with (beside / "huge.bin").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    path = written(beside, f"{PIPELINE}files: [huge.bin]\n")
    assert "huge.bin is larger than 2 GiB" in refused(resolved, path)


@pytest.mark.parametrize("is_early", [False, True])
def test_a_file_that_changes_while_it_is_read_is_refused(
    beside: Path, resolved: Any, monkeypatch: pytest.MonkeyPatch, is_early: bool
) -> None:
    class Slow(Reader):
        def sha256(self, path: Path, max_bytes: int) -> tuple[str, int]:
            if is_early:
                os.truncate(path, MAX_FILE_BYTES + 1)
            found = super().sha256(path, max_bytes)
            path.write_bytes(b"other weights")
            return found

    monkeypatch.setattr(classes_module, "Reader", Slow)
    path = written(beside, f"{PIPELINE}files: [data/w.bin]\n")
    assert "data/w.bin changed while it was packed. Run the command again." in refused(
        resolved, path
    )


def test_variables_are_named_and_not_stored(
    beside: Path, resolved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "a secret")
    found = resolved(written(beside, f"{PIPELINE}environment: [MY_TOKEN, HF_HOME, MY_TOKEN]\n"))
    assert found.pipeline.only_model.environment == ("HF_HOME", "MY_TOKEN")
    assert "a secret" not in found.pipeline.model_dump_json()


@pytest.mark.parametrize(
    "name", ["HEADRACE_S3__SECRET_KEY", "headrace_home", "A B", "A=1", "1A", "", "Ä", "A" * 129]
)
def test_variables_that_are_ours_or_none_are_refused(
    beside: Path, resolved: Any, name: str
) -> None:
    path = written(beside, f"{PIPELINE}environment: [OK, '{name}']\n")
    assert refused(resolved, path).startswith(f"{path}:2: environment[1]: ")


@pytest.mark.parametrize("field", ["files: [labels.txt]", "environment: [HOME]"])
def test_a_model_of_weights_takes_neither(beside: Path, resolved: Any, field: str) -> None:
    path = written(beside, f"model: pets\n{field}\n")
    said = refused(resolved, path)
    assert said.startswith(f"{path}:2: {field.partition(':')[0]}: is for Python classes")


@pytest.mark.parametrize(
    "fields",
    [
        {"code_sha256": None},
        {"architecture": "resnet18", "python_class": None},
        {"architecture": "resnet18", "python_class": None, "code_sha256": None},
        {"environment": ["HEADRACE_HOME"]},
        {"files": [{"name": "../x", "sha256": "a" * 64, "bytes": 1}]},
        {"files": [{"name": "/x", "sha256": "a" * 64, "bytes": 1}]},
        {"files": [{"name": "x//y", "sha256": "a" * 64, "bytes": 1}]},
        {"files": [{"name": "x", "sha256": "a" * 64, "bytes": 2**31 + 1}]},
        {"files": [{"name": "x", "sha256": "a" * 64, "bytes": 1}] * 2},
    ],
)
def test_a_model_by_value_is_whole(fields: dict[str, Any]) -> None:
    file = PackedFile(name="a/b.bin", sha256="a" * 64, bytes=1)
    model = Model(
        name="own",
        sha256="a" * 64,
        python_class="own:Own",
        code_sha256="b" * 64,
        files=(file,),
        environment=("HOME",),
    )
    assert Model.model_validate_json(model.model_dump_json()) == model
    with pytest.raises(ValueError):
        Model.model_validate({**model.model_dump(), **fields})
