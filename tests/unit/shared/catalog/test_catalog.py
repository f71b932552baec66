"""Pipelines and models from files: what is wrong is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from shared.catalog import Catalog, validate_file
from shared.catalog.documents import read_document
from shared.errors import UsageError
from tests.support.pets_catalog import MODEL, WEIGHTS_SHA256, pets_catalog, written


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return pets_catalog(tmp_path)


def _refusal(tmp_path: Path, text: str, catalog: Catalog | None = None) -> str:
    """What is said of a pipeline's file, without its path."""
    path = written(tmp_path, text)
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
        ("model: 3\n", ":1: model: '3' must be NAME, NAME@SHA256 with all 64 digits (see "),
        ("model: pets@12\n", ":1: model: 'pets@12' must be NAME, NAME@SHA256"),
        ("\nmodel:\n  python: a.py\n", ":3: model.python: 'a.py' must be module:Class."),
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
        ('model: pets\n"a\\nb": 1\n', ":2: a\\nb: unknown field; there are name,"),
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
        (f"sha256: {WEIGHTS_SHA256}", "sha256: ABC", "pets.yaml:2: sha256: 'ABC' must be 64 hexa"),
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
    with pytest.raises(UsageError, match="'My Pipeline', must be lower-case"):
        validate_file(path)
    path.write_text("name: mine\nmodel: mobilenet_v2\n")
    assert validate_file(path).name == "mine"
