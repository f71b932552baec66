"""Analyses in a pipeline's file, in the short form and in the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.analyses.palette import Palette
from shared.analyses.values import Values
from shared.analyses.vector import Vector
from shared.catalog import BucketModels, Catalog, PublishedModel, Resolved, resolve, validate_file
from shared.catalog.classes import PackedClass
from shared.errors import UsageError
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from tests.support.memory_store import MemoryStore
from tests.support.pets_catalog import (
    MODEL,
    OTHER_SHA256,
    pets_catalog,
    publish_pets,
    written,
)

CLASS = "class Mood:\n    def __init__(self, a=None, b=None, *, level=1): ...\n"
LONG = """\
analyses:
  style: {kind: vector, model: pets}
  tags: {kind: classes, model: pets, top_k: 3, engine: torch}
  mood: {kind: values, model: {python: mood:Mood, args: {level: 3}}, fields: {bright: float}}
  own: {kind: vector, model: {python: mood:Mood, name: own}, length: 8, unit_length: false}
  colours: {kind: palette, count: 2}
preprocess: {max_pixels: 1000}
batch_seconds: 9
files: [labels.txt]
environment: [HOME]
"""


class Bench:
    """A catalog, a bucket with the published model, and a class beside the pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog, self.store = pets_catalog(folder), MemoryStore("models")
        publish_pets(self.store, self.catalog)
        (folder / "mood.py").write_text(CLASS)
        (folder / "labels.txt").write_text("cat")

    def resolve(self, text: str) -> Resolved:
        path = str(written(self.folder, text))
        return resolve(path, "models", self.store, self.catalog)

    def refused(self, text: str) -> str:
        """What is said of a file, with and without asking the store, without its path."""
        said = self.refused_by_validate(text)
        with pytest.raises(UsageError) as again:
            self.resolve(text)
        assert said == again.value.message.removeprefix(str(self.folder / "my.yaml"))
        return said

    def refused_by_validate(self, text: str) -> str:
        path = written(self.folder, text)
        with pytest.raises(UsageError) as caught:
            validate_file(path, self.catalog, BucketModels(self.store, "models"))
        assert "\n" not in str(caught.value)
        return caught.value.message.removeprefix(str(path))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_PLUGINS", raising=False)
    return Bench(tmp_path)


def test_a_file_in_the_long_form(bench: Bench) -> None:
    found = bench.resolve(LONG)
    pipeline = found.pipeline
    crop = Crop(resize_shorter_pixels=183, crop_pixels=160)
    usual = Crop(resize_shorter_pixels=256, crop_pixels=224)
    assert (pipeline.form, pipeline.batch_seconds) == ("long", 9)
    assert pipeline.preprocess.max_pixels == 1000
    assert list(pipeline.analyses) == ["style", "tags", "mood", "own", "colours"]
    assert pipeline.analyses["style"] == Vector(model="pets", view=crop, length=512)
    assert pipeline.analyses["mood"] == Values(model="mood", view=usual, fields={"bright": "float"})
    assert pipeline.analyses["own"] == Vector(model="own", view=usual, length=8, unit_length=False)
    assert pipeline.analyses["colours"] == Palette(view=Palette.own_view, count=2)
    assert pipeline.staged_views == (crop, usual)
    assert list(pipeline.models) == ["pets", "mood", "own"]
    assert pipeline.models["pets"].outputs == ("scores", "features")
    assert pipeline.models["mood"].arguments == '{"level": 3}'
    for name in ("mood", "own"):
        model = pipeline.models[name]
        assert ([file.name for file in model.files], model.environment) == (
            ["labels.txt"],
            ("HOME",),
        )


def test_each_class_is_packed_with_its_arguments(bench: Bench) -> None:
    mood, own = bench.resolve(LONG).packed
    assert isinstance(mood, PackedClass)
    assert (mood.code.sha256, mood.files) == (own.code.sha256, own.files)
    assert (mood.arguments, own.arguments) == ('{"level": 3}', "{}")
    assert mood.sha256 != own.sha256
    again, _ = bench.resolve(LONG.replace("level: 3", "level: 4")).packed
    assert again.sha256 != mood.sha256


def test_arguments_are_the_same_in_any_order_and_place(bench: Bench) -> None:
    texts = (
        "model: {python: mood:Mood, args: {b: [1, x], a: {d: null, c: true}}}\n",
        "model: {python: mood:Mood, args: {a: {c: true, d: null}, b: [1, x]}}\n",
        "model: {python: mood:Mood}\nargs: {b: [1, x], a: {d: null, c: true}}\n",
    )
    assert len({bench.resolve(text).pipeline.sha256 for text in texts}) == 1
    (bench.folder / "config" / "models" / "feel.yaml").write_text("python: mood:Mood\n")
    (packed,) = bench.resolve("model: feel\nargs: {level: 2}\n").packed
    assert packed.arguments == '{"level": 2}'


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("model: pets\ngives: vector\n", "vector", ("features", 512, True)),
        (
            "model: pets\ngives: vector\npostprocess: {unit_length: false}\n",
            "vector",
            ("features", 512, False),
        ),
        (
            "model: {python: mood:Mood}\ngives: vector\npostprocess: {length: 3}\n",
            "vector",
            (None, 3, True),
        ),
    ],
)
def test_gives_is_the_long_form_of_one_analysis(
    bench: Bench, text: str, name: str, expected: tuple[str | None, int, bool]
) -> None:
    pipeline = bench.resolve(text).pipeline
    found = pipeline.analyses[name]
    assert isinstance(found, Vector)
    output = next(iter(pipeline.model_of(name).outputs), None)
    assert (pipeline.form, list(pipeline.analyses)) == ("long", [name])
    assert (output, found.length, found.unit_length) == expected


def test_a_version_is_a_model_of_its_own(bench: Bench) -> None:
    pipeline = bench.resolve(
        "analyses:\n  a: {kind: classes, model: pets}\n"
        f"  b: {{kind: vector, model: pets@{OTHER_SHA256}}}\n"
    ).pipeline
    assert list(pipeline.models) == ["pets", f"pets@{OTHER_SHA256}"]
    assert [model.outputs for model in pipeline.models.values()] == [("scores",), ("features",)]


def test_a_network_without_features_gives_no_vector(bench: Bench) -> None:
    for key, text in bench.store.buckets["models"].items():
        version = PublishedModel.model_validate_json(text)
        bench.store.buckets["models"][key] = (
            version.model_copy(update={"outputs": {"scores": 2}}).model_dump_json().encode()
        )
    with pytest.raises(UsageError, match="gives scores, and vector needs its features: name anot"):
        bench.resolve("analyses:\n  a: {kind: vector, model: pets}\n")
    assert bench.resolve("model: pets\n").pipeline.models["pets"].outputs == ("scores",)


@pytest.mark.parametrize("length", [9, 512])
def test_the_length_of_a_networks_vector_is_not_said_even_before_it_is_pulled(
    bench: Bench, length: int
) -> None:
    path = bench.folder / "long.yaml"
    path.write_text(f"analyses:\n  a:\n    kind: vector\n    model: pets\n    length: {length}\n")
    with pytest.raises(UsageError, match=r":5: analyses.a.length: follows from the model's feat"):
        validate_file(path, bench.catalog)


@pytest.mark.parametrize(
    ("taken", "analysis", "view"),
    [
        ("{kind: letterbox, width: 160, height: 160}", "", Letterbox(width=160, height=160)),
        (
            "{kind: crop, resize_shorter_pixels: 170, crop_pixels: 160}",
            "",
            Crop(resize_shorter_pixels=170, crop_pixels=160),
        ),
        (
            "{kind: crop, resize_shorter_pixels: 170, crop_pixels: 160}",
            ", view: {kind: letterbox, width: 160, height: 160, pad: 0}",
            Letterbox(width=160, height=160, pad=0),
        ),
    ],
)
def test_a_model_says_its_view_and_an_analysis_may_say_another(
    bench: Bench, taken: str, analysis: str, view: object
) -> None:
    path = bench.folder / "config" / "models" / "pets.yaml"
    path.write_text(MODEL.replace("image_pixels: 160", f"view: {taken}"))
    bench.store.buckets["models"].clear()
    publish_pets(bench.store, bench.catalog)
    text = f"analyses:\n  a: {{kind: vector, model: pets{analysis}}}\n"
    assert bench.resolve(text).pipeline.analyses["a"].view == view
    if not analysis:
        assert bench.resolve("model: pets\n").pipeline.analyses["classes"].view == view
        path.write_text(path.read_text().replace("160", "161"))
        assert "pets.yaml:5: view: is not what was pu" in _refused(bench, text)


def test_what_is_wrong_with_a_models_view(bench: Bench) -> None:
    path = bench.folder / "config" / "models" / "pets.yaml"
    for line, expected in {
        "image_pixels: 160\nview: {kind: stretch, width: 9, height: 9}": "leave one out",
        "view: {kind: strech}": "view.kind: there is no 'strech'; did you mean stretch?",
    }.items():
        path.write_text(MODEL.replace("image_pixels: 160", line))
        assert expected in _refused(bench, "model: pets\n")
    path.write_text(
        MODEL.replace("image_pixels: 160", "view: {kind: stretch, width: 9, height: 9}")
    )
    said = bench.refused_by_validate("model: pets\npreprocess: {crop_pixels: 9}\n")
    assert ":2: preprocess.crop_pixels: the model takes stretch, not a crop: leave it out" in said


def _refused(bench: Bench, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        bench.resolve(text)
    return caught.value.message


_MOOD = "{python: mood:Mood}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gives: vectr\nmodel: pets\n", ":1: gives: there is no 'vectr'; did you mean vector?"),
        ("args: 3\ngives: 3\nmodel: pets\n", ":2: gives: there is no '3'; there are"),
        ("gives: 3\nmodel: pets\n", ":1: gives: there is no '3'; there are boxes, classes"),
        ("gives: palette\nmodel: pets\n", ":1: gives: there is no 'palette'; there are boxes"),
        (
            "gives: values\nmodel: pets\n",
            ":2: model: 'pets' has weights, which cannot give values: name a Python class",
        ),
        (
            "model: pets\ngives: values\npostprocess: {fields: {a: int}}\n",
            ":1: model: 'pets' has weights, which cannot give values: name a Python class",
        ),
        (f"model: {_MOOD}\ngives: values\n", ":1: postprocess.fields: is missing."),
        (
            "model:\n  python: mood:Mood\n  args: {a: 1, levle: 2}\n",
            ":3: model.args.levle: mood:Mood takes no argument 'levle'; it takes a, b, level.",
        ),
        (
            f"model: {_MOOD}\nargs:\n  levle: 2\n",
            ":3: args.levle: mood:Mood takes no argument 'levle'; it takes a, b, level.",
        ),
        (
            f"analyses:\n  a:\n    kind: classes\n    model: {_MOOD[:-1]}, args: {{levle: 2}}}}\n",
            ":4: analyses.a.model.args.levle: mood:Mood takes no argument 'levle'",
        ),
        (
            "analyses:\n  b:\n    kind: classes\n    model: {python: mood:D}\n",
            ":4: analyses.b.model: there is no class or function 'D' in",
        ),
        (f"model: {_MOOD}\ngives: vector\n", ":1: postprocess.length: say length: how many"),
        (
            "model: pets\ngives: vector\npostprocess: {softmax: true}\n",
            ":3: postprocess.softmax: unknown field; there are length, unit_length.",
        ),
        (
            f"model: {_MOOD}\ngives: values\npostprocess:\n  fields: {{a: flot}}\n",
            ":4: postprocess.fields.a: input should be 'text', 'int'",
        ),
        (f"model: {_MOOD}\ngives: values\npostprocess: {{fields: {{}}}}\n", "at least one is need"),
        (
            f"model: {_MOOD}\ngives: values\npostprocess: {{fields: {{1a: int}}}}\n",
            ":3: postprocess.fields.1a: '1a' must be letters, digits and '_', no digit first",
        ),
        ("model: pets\nargs: {a: 1}\n", ":2: args: is for Python classes, and 'pets' has weights"),
        (f"model: {_MOOD}\nargs: {{a: 2020-01-01}}\n", ":2: args: only text, numbers, true"),
        (f"model: {_MOOD}\nargs: {{a: .nan}}\n", ":2: args: numbers must be finite."),
        (f"model: {_MOOD}\nargs: [1]\n", ":2: args: fields are expected here"),
        (
            f"model: {_MOOD}\nargs: {{a: '{'x' * 65_536}'}}\n",
            ":2: args: more than 65,536 characters as JSON; put data into a file",
        ),
        ("model: {python: mood:Mood, args: {a: 1}}\nargs: {a: 1}\n", ":1: args stands in model"),
        ("analyses:\n", ":1: analyses: fields are expected here"),
        ("analyses: {}\n", ":1: analyses: at least one is needed."),
        ("analyses: [a]\n", ":1: analyses: fields are expected here"),
        ("analyses:\n  a: vector\n", ":2: analyses.a: fields are expected here"),
        ("analyses:\n  a: {model: pets}\n", ":2: analyses.a: needs a kind, as in 'kind: NAME'."),
        ("analyses:\n  a: {kind: vectr}\n", ":2: analyses.a.kind: there is no 'vectr'; did you"),
        ("analyses:\n  a: {kind: vector}\n", ":2: analyses.a.model: is missing."),
        ("analyses:\n  A: {kind: palette}\n", ":2: analyses.A: 'A' must be lower-case letters"),
        (
            "analyses:\n  a: {kind: palette}\n  a: {kind: palette}\n",
            ":3: analyses.a: is on line 2 already.",
        ),
        (
            "analyses:\n  a: {kind: palette, length: 3}\n",
            ":2: analyses.a.length: unknown field; there are kind, view, count.",
        ),
        (
            "analyses:\n  a: {kind: palette, cuont: 3}\n",
            ":2: analyses.a.cuont: unknown field; did you mean count?",
        ),
        (
            "analyses:\n  a: {kind: classes, model: pet}\n",
            ":2: analyses.a.model: there is no model 'pet'; did you mean pets?",
        ),
        (
            "analyses:\n  a: {kind: classes, model: {python: mood:Mood, nam: b}}\n",
            ":2: analyses.a.model.nam: unknown field; did you mean name?",
        ),
        (
            "analyses:\n  a: {kind: classes, model: pets, softmax: 1}\n",
            ":2: analyses.a.softmax: input should be a valid boolean.",
        ),
        (
            f"analyses:\n  a: {{kind: vector, model: {_MOOD}}}\n",
            ":2: analyses.a.length: say length: how many numbers the class gives",
        ),
        (
            "analyses:\n  a: {kind: values, model: pets}\n",
            ":2: analyses.a.model: 'pets' has weights, which cannot give values",
        ),
        (f"analyses:\n  a: {{kind: values, model: {_MOOD}}}\n", ":2: analyses.a.fields: is miss"),
        (
            "analyses:\n  a: {kind: vector, model: pets, view: {kind: corp}}\n",
            ":2: analyses.a.view.kind: there is no 'corp'; did you mean crop?",
        ),
        (
            "analyses:\n  a:\n    kind: vector\n    model: pets\n"
            "    view: {kind: letterbox, width: 300, height: 160}\n",
            ":5: analyses.a.view: the model takes 160 × 160 pixels, and this view has 300 × 160.",
        ),
        (
            "analyses:\n  a: {kind: palette}\nmodel: pets\n",
            ":3: model: belongs to the short form; with 'analyses:', say it in an analysis.",
        ),
        (
            "analyses:\n  a: {kind: palette}\npreprocess: {crop_pixels: 9}\n",
            ":3: preprocess.crop_pixels: belongs to the short form; with 'analyses:', give",
        ),
        (
            "analyses:\n  a: {kind: palette}\nfiles: [labels.txt]\n",
            ":3: files: is for Python classes, and there is none: leave it out.",
        ),
        (
            f"analyses:\n  a: {{kind: classes, model: {_MOOD}}}\n"
            "  b: {kind: classes, model: {python: mood:Mood, args: {level: 2}}}\n",
            ":3: analyses.b.model: another model is named 'mood' here: give one a 'name:'.",
        ),
        (
            f"analyses:\n  a: {{kind: classes, model: {_MOOD}}}\n"
            f"  b: {{kind: vector, model: {_MOOD}, length: 2}}\n",
            ":3: analyses.b.model: the class 'mood' gives classes already, and a class gives one",
        ),
        (
            "analyses:\n" + "".join(f"  a{n}: {{kind: palette}}\n" for n in range(17)),
            ":1: analyses: dictionary should have at most 16 items",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_what_to_do(
    bench: Bench, text: str, expected: str
) -> None:
    assert expected in bench.refused(text)


@pytest.mark.parametrize("name", ["label", "models", "key", "uri", "class_index", "engine"])
def test_an_analysis_may_not_take_the_name_of_a_column(bench: Bench, name: str) -> None:
    said = bench.refused(f"analyses:\n  ok: {{kind: palette}}\n  {name}: {{kind: palette}}\n")
    assert said.startswith(f":3: analyses.{name}: every row has a column of that name already")


def test_what_we_bring_besides_classify() -> None:
    catalog = Catalog()
    expected = {"classify": ["classes"], "embed": ["embedding"], "palette": ["palette"]}
    expected |= {"detect": ["objects"]}
    expected["catalogue"] = ["objects", "classes", "embedding", "palette"]
    assert {
        name: list(catalog.pipeline(name).content.asked()) for name in catalog.pipeline_names()
    } == expected
