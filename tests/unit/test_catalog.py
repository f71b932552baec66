"""Pipelines and models from files: what is wrong is said with its line, what is right by value."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from shared.catalog import (
    Catalog,
    PublishedModel,
    constants,
    list_pipelines,
    publish,
    resolve,
    show_pipeline,
    validate_file,
    weights_model,
)
from shared.catalog.classes import class_model_name
from shared.catalog.documents import read_document
from shared.errors import UsageError
from shared.pipeline import Pipeline, Preprocess
from shared.settings import RingSettings, S3Settings, Settings
from tests.memory_store import MemoryStore

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
PLUGIN = (
    "import numpy\n\nclass MeanBrightness:\n    def __call__(self, images):\n        return 0\n"
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    models = tmp_path / "config" / "models"
    (models / "labels").mkdir(parents=True)
    (tmp_path / "config" / "pipelines").mkdir()
    (models / "pets.yaml").write_text(MODEL)
    (models / "labels" / "pets.txt").write_text("cat\ndog\n")
    return Catalog(tmp_path / "config")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    return Settings(
        home=tmp_path / "home",
        host_id="here",
        broker_url="",
        ledger_url="",
        s3=S3Settings(endpoint="localhost:1", access_key="a", secret_key="b"),
        ring=RingSettings(directory=tmp_path, slot_bytes=(1,), slot_counts=(1,)),
        signing_keys=("key",),
        plugins=plugins,
    )


@pytest.fixture
def store(catalog: Catalog) -> MemoryStore:
    """A models bucket with two versions of the model ``pets``."""
    store = MemoryStore("models")
    _publish(store, catalog, WEIGHTS_SHA256)
    _publish(store, catalog, OTHER_SHA256)
    return store


def _publish(store: MemoryStore, catalog: Catalog, sha256: str) -> None:
    entry = weights_model(catalog.model("pets"))
    version = PublishedModel(
        name="pets",
        sha256=sha256,
        constants=constants(entry),
        files={},
        licence="MIT",
        source="a test",
    )
    publish(store, "models", version)


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return path


def _refusal(tmp_path: Path, text: str, catalog: Catalog | None = None) -> str:
    """What is said of a pipeline's file, without its path."""
    path = _written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        validate_file(path, catalog)
    assert "\n" not in str(caught.value)
    return caught.value.message.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model: pets\n\n# sizes\npreprocess:\n  max_pixels: 256\n\n  crop_pixel: 9\n",
            ":7: preprocess.crop_pixel: unknown field; did you mean crop_pixels?",
        ),
        ("modle: pets\n", ":1: modle: unknown field; did you mean model?"),
        ("engine: auto\n", ":1: model: is missing."),
        ("model: pets\nmodel: dogs\n", ":2: model: is on line 1 already."),
        (
            "model: pets\npostprocess:\n  top_k: 1\n  top_k: 2\n",
            ":4: postprocess.top_k: is on line 3 already.",
        ),
        (
            "model: pets\npostprocess:\n  top_k: 0\n",
            ":3: postprocess.top_k: input should be greater than or equal to 1.",
        ),
        (
            "model: pets\nengine: tensorrt\n",
            ":2: engine: input should be 'auto', 'torch', 'onnxruntime' or 'openvino'.",
        ),
        (
            "model: pets\npreprocess:\n  crop_pixels: '160'\n",
            ":3: preprocess.crop_pixels: input should be a valid integer.",
        ),
        ("model: pets\npreprocess:\n", ":2: preprocess: fields are expected here"),
        ("model: 3\n", ":1: model: '3' is not: NAME, NAME@SHA256 or {python: module:Class}, in"),
        ("model: pets@12\n", ":1: model: 'pets@12' is not: NAME, NAME@SHA256"),
        ("\nmodel:\n  python: a.py\n", ":3: model.python: 'a.py' is not: module:Class."),
        ("model: {python: 'a:B', nam: c}\n", ":1: model.nam: unknown field; did you mean name?"),
        ("engine: auto\nmodel: pet\n", ":2: model: there is no model 'pet'; did you mean pets?"),
        (
            "model: pets\npreprocess: {crop_pixels: 224}\n",
            ":2: preprocess.crop_pixels: the model takes 160, not 224.",
        ),
        (
            "model: pets\npreprocess: {resize_shorter_pixels: 100}\n",
            ":2: preprocess.resize_shorter_pixels: 100 is below crop_pixels, which is 160 here.",
        ),
        (
            "model: pets\npreprocess:\n  resize_shorter_pixels: 9\n  crop_pixels: 10\n",
            ":2: preprocess: crop_pixels must not exceed resize_shorter_pixels.",
        ),
        ("", ":1: fields are expected, as in 'model: mobilenet_v2'."),
        ("- model\n", ":1: fields are expected"),
        ("model: pets\nengine: [1,\n", ":3: not YAML: "),
        ("model: &m pets\nname: *m\n", ":2: not YAML: aliases are not allowed."),
        ("model: pets\n---\nmodel: pets\n", ":2: not YAML: expected a single document"),
        ("model: !!python/object:os.system x\n", ":1: not YAML: could not determine"),
        ("model: pets\non: 3\n", ":2: a field's name must be text; quote it."),
        ("model: pets\nname: \x00\n", ":2: not YAML: a character that is not allowed."),
        ("model: " + "[" * 5000, ":1: "),
        ('model: pets\n"a\\nb": 1\n', ":2: a\\nb: unknown field; there is name,"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    tmp_path: Path, catalog: Catalog, text: str, expected: str
) -> None:
    assert _refusal(tmp_path, text, catalog).startswith(expected)


@given_settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.text("abcxyz_", min_size=12, max_size=20))
def test_the_line_is_right_wherever_the_field_stands(
    tmp_path_factory: pytest.TempPathFactory, before: int, between: int, field: str
) -> None:
    comments = "# one line\n"
    text = f"{comments * before}postprocess:\n{comments * between}  {field}: 1\nmodel: x\n"
    said = _refusal(tmp_path_factory.mktemp("lines"), text)
    assert said.startswith(f":{before + between + 2}: postprocess.{field}: unknown field")


_YAML = st.text(st.sampled_from(list("abz:- \n{}[],'\"&*!%|>?#@`0.\t\x00é~<")), max_size=60)


@given_settings(deadline=None)
@given(st.one_of(_YAML, _YAML.map("model: ".__add__), st.text()))
def test_no_text_gives_anything_but_a_pipeline_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "my.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    refusal = None
    try:
        validate_file(path)
    except UsageError as error:
        refusal = error
    assert refusal is None or str(refusal).isprintable()
    assert refusal is None or refusal.message.startswith(f"{path}:")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="is not a file"):
        read_document(tmp_path)
    (tmp_path / "large.yaml").write_text("# \n" * 2**17)
    with pytest.raises(UsageError, match="is over"):
        read_document(tmp_path / "large.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"model: pets\nname: caf\xe9\n")
    with pytest.raises(UsageError, match=r"latin.yaml:2: not UTF-8 text"):
        read_document(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("std: [0.2, 0.2, 1]", "std: [0.2, 0, 1]", "pets.yaml:7: std[1]: input should be greater"),
        ("mean: [0.4, 0.5, 0.6]", "mean: [0.4]", "pets.yaml:6: mean: list should have at least 3"),
        ("licence: MIT\n", "", "pets.yaml:1: licence: is missing."),
        ("licence:", "license:", "pets.yaml:9: license: unknown field; did you mean licence?"),
        ("- url:", "- uri:", "pets.yaml:4: sources[0].uri: unknown field"),
        (f"sha256: {WEIGHTS_SHA256}", "sha256: ABC", "pets.yaml:2: sha256: 'ABC' is not: 64 hexa"),
    ],
)
def test_what_is_wrong_in_a_model(
    tmp_path: Path, catalog: Catalog, old: str, new: str, expected: str
) -> None:
    assert old in MODEL
    (tmp_path / "config" / "models" / "pets.yaml").write_text(MODEL.replace(old, new))
    with pytest.raises(UsageError) as caught:
        catalog.model("pets")
    assert expected in caught.value.message


def test_unknown_names_are_answered_with_a_suggestion(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="did you mean classify") as caught:
        Catalog().pipeline("clasify")
    assert caught.value.code == "no_such_pipeline"
    with pytest.raises(UsageError, match="did you mean pets"):
        catalog.model("pet")


def test_a_file_has_to_have_a_name_that_a_pipeline_can_have(tmp_path: Path) -> None:
    path = tmp_path / "My Pipeline.yaml"
    path.write_text("model: mobilenet_v2\n")
    with pytest.raises(UsageError, match="'My Pipeline', is not: lower-case"):
        validate_file(path)
    path.write_text("name: mine\nmodel: mobilenet_v2\n")
    assert validate_file(path).name == "mine"


def test_sizes_that_are_left_out_follow_from_the_model(
    tmp_path: Path, catalog: Catalog, settings: Settings, store: MemoryStore
) -> None:
    path = _written(tmp_path, "model: pets\npreprocess: {max_pixels: 1000}\n")
    preprocess = resolve(str(path), settings, store, catalog).preprocess
    assert (preprocess.crop_pixels, preprocess.resize_shorter_pixels) == (160, 183)
    assert preprocess.max_pixels == 1000
    assert preprocess.max_object_bytes == 64 * 2**20


@given_settings(deadline=None)
@given(st.integers(1, 4096))
def test_a_crop_always_gets_a_resize_that_holds_it(
    tmp_path_factory: pytest.TempPathFactory, pixels: int
) -> None:
    path = tmp_path_factory.mktemp("crop") / "my.yaml"
    path.write_text(f"model: {{python: 'a:B'}}\npreprocess: {{crop_pixels: {pixels}}}\n")
    preprocess = show_pipeline(str(path))["preprocess"]
    assert pixels <= preprocess["resize_shorter_pixels"] <= 4096


def test_a_pipeline_is_resolved_by_value(
    tmp_path: Path, catalog: Catalog, settings: Settings, store: MemoryStore
) -> None:
    path = _written(tmp_path, "model: pets\nengine: torch\n")
    pipeline = resolve(str(path), settings, store, catalog)
    assert pipeline.name == "my"
    assert pipeline.engine == "torch"
    assert pipeline.model.architecture == "resnet18"
    assert pipeline.model.sha256 == WEIGHTS_SHA256
    assert (pipeline.model.mean, pipeline.model.std) == ((0.4, 0.5, 0.6), (0.2, 0.2, 1.0))
    assert Pipeline.model_validate_json(pipeline.model_dump_json()).sha256 == pipeline.sha256
    path.write_text("# the same\nengine: torch\nmodel: pets\n")
    assert resolve(str(path), settings, store, catalog).sha256 == pipeline.sha256
    path.write_text("model: pets\n")
    assert resolve(str(path), settings, store, catalog).sha256 != pipeline.sha256


def test_a_pipeline_may_name_one_version(
    tmp_path: Path, catalog: Catalog, settings: Settings, store: MemoryStore
) -> None:
    path = _written(tmp_path, f"model: pets@{OTHER_SHA256}\n")
    model = resolve(str(path), settings, store, catalog).model
    assert (model.name, model.sha256) == ("pets", OTHER_SHA256)
    path.write_text(f"model: pets@{'0' * 64}\n")
    with pytest.raises(UsageError, match="no version 000000000000") as caught:
        resolve(str(path), settings, store, catalog)
    assert "headrace models push pets FILE" in caught.value.hint


@pytest.mark.parametrize("buckets", [(), ("models",)])
def test_a_model_has_to_be_complete_in_the_bucket(
    tmp_path: Path, catalog: Catalog, settings: Settings, buckets: tuple[str, ...]
) -> None:
    store = MemoryStore(*buckets)
    for bucket in buckets:
        store.put(bucket, f"pets/{WEIGHTS_SHA256}/weights.pth", b"not all of it")
    with pytest.raises(UsageError) as caught:
        resolve(str(_written(tmp_path, "model: pets\n")), settings, store, catalog)
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
    settings: Settings,
    store: MemoryStore,
    file: str,
    old: str,
    new: str,
    line: str,
) -> None:
    path = tmp_path / "config" / "models" / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError) as caught:
        resolve(str(_written(tmp_path, "model: pets\n")), settings, store, catalog)
    assert line in caught.value.message
    pinned = _written(tmp_path, f"model: pets@{OTHER_SHA256}\n")
    assert resolve(str(pinned), settings, store, catalog).model.mean == (0.4, 0.5, 0.6)


def test_a_class_is_pinned_by_its_source_and_not_run(
    tmp_path: Path, catalog: Catalog, settings: Settings
) -> None:
    plugin = settings.plugins / "brightness.py"
    plugin.write_text(PLUGIN + "raise SystemExit('imported')\n")
    path = _written(tmp_path, "model: {python: 'brightness:MeanBrightness'}\n")
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
    path = _written(tmp_path, "model: light\n")
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
    path = _written(tmp_path, "model: {python: 'light:MeanBrightness'}\n")
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
    path = _written(tmp_path, "model: {python: 'light:MeanBrightness', name: mine}\n")
    assert resolve(str(path), settings, MemoryStore(), catalog).model.name == "mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MeanBrightness", "mean_brightness"), ("HTTPModel2D", "http_model2_d"), ("_Own", "own")],
)
def test_a_class_names_its_model(name: str, expected: str) -> None:
    assert class_model_name(f"module:{name}") == expected


def test_what_we_bring_is_right() -> None:
    catalog = Catalog()
    assert [pipeline.name for pipeline in list_pipelines()] == catalog.pipeline_names()
    shown = show_pipeline("classify")
    assert shown["preprocess"]["resize_shorter_pixels"] == 256
    assert shown["preprocess"]["crop_pixels"] == 224
    assert shown["model"]["name"] == "mobilenet_v2"
    assert shown["postprocess"] == {"top_k": 5, "softmax": True}
    entry = weights_model(catalog.model("mobilenet_v2"))
    assert entry.content.sha256.startswith("b03531047ffa")
    labels = (entry.document.path.parent / (entry.content.labels or "")).read_text().splitlines()
    assert (len(labels), len(set(labels)), labels[0]) == (1000, 1000, "tench")
