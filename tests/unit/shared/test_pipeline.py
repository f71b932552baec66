"""What follows from a pipeline's views and analyses, and which pipelines there cannot be."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from shared.analyses import ANALYSES, Analysis
from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.analyses.values import MAX_LIST_ENTRIES, Values, ValueType
from shared.analyses.vector import Vector
from shared.answers import MAX_ANSWER_BYTES
from shared.columns import FIXED_COLUMNS
from shared.limits import MAX_CHUNK_ITEMS
from shared.model import Model
from shared.pipeline import MAX_ANALYSES, MAX_CHUNK_ANSWER_BYTES, Pipeline
from shared.stages import INFERENCE, PREPROCESS, RESULTS
from shared.staging.pixel_layout import PixelLayout
from shared.views import VIEWS
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from shared.views.stretch import Stretch
from tests.support import samples
from tests.support.samples import MODEL, class_model, long_pipeline

SMALL = Crop(resize_shorter_pixels=8, crop_pixels=8)
WIDE = Letterbox(width=16, height=4)
COLOURS = Palette(view=Palette.own_view)


def by_model(view: Any = SMALL, **options: Any) -> Classes:
    return Classes(model=MODEL.name, view=view, **options)


EMBEDDING = Vector(model=MODEL.name, view=SMALL, length=4)
EXTRA = Values(model=MODEL.name, view=SMALL, fields={"n": "int"})


def giving(*outputs: str) -> Model:
    return MODEL.model_copy(update={"outputs": outputs})


def test_kinds_are_what_lies_in_their_folders() -> None:
    assert {"classes", "vector", "palette", "values"} <= ANALYSES.keys()
    assert {"crop", "letterbox", "stretch"} <= VIEWS.keys()
    assert Analysis not in ANALYSES.values()


def test_without_a_model_a_chunk_needs_no_inference() -> None:
    pipeline = long_pipeline({"colours": COLOURS})
    assert pipeline.route == (PREPROCESS, RESULTS)
    assert pipeline.stage_after(PREPROCESS) == RESULTS
    assert (pipeline.staged_views, pipeline.staged_image_bytes) == ((), 0)
    assert not pipeline.has_class


def test_equal_views_are_staged_once_in_the_order_of_the_analyses() -> None:
    analyses: dict[str, Analysis] = {
        "colours": COLOURS,
        "wide": by_model(WIDE),
        "what": by_model(),
        "embedding": Vector(model=MODEL.name, view=WIDE, length=4),
        "again": by_model(Crop(resize_shorter_pixels=8, crop_pixels=8)),
    }
    pipeline = long_pipeline(analyses, (MODEL,))
    assert pipeline.route == (PREPROCESS, INFERENCE, RESULTS)
    assert pipeline.staged_views == (WIDE, SMALL)
    assert pipeline.staged_image_bytes == 3 * (16 * 4 + 8 * 8)
    assert PixelLayout(pipeline.staged_views, 5).total_bytes == 5 * pipeline.staged_image_bytes
    assert list(pipeline.analyses_of(PREPROCESS)) == ["colours"]
    assert list(pipeline.network_analyses) == ["wide", "what", "embedding", "again"]


def test_the_order_of_analyses_survives_the_way() -> None:
    names = ["z", "a", "m"]
    pipeline = long_pipeline(dict.fromkeys(names, COLOURS))
    again = Pipeline.model_validate_json(pipeline.model_dump_json())
    assert list(again.analyses) == names
    assert (again, again.sha256) == (pipeline, pipeline.sha256)


@pytest.mark.parametrize(
    ("analysis", "items"),
    [
        (COLOURS, MAX_CHUNK_ITEMS),
        (by_model(top_k=100), MAX_CHUNK_ANSWER_BYTES // (100 * 128)),
        (Vector(model=MODEL.name, view=SMALL, length=8192), 128),
    ],
)
def test_chunks_are_as_small_as_answers_need(analysis: Analysis, items: int) -> None:
    models = () if isinstance(analysis, Palette) else (MODEL,)
    assert long_pipeline({"one": analysis}, models).max_items_by_answers == items


FULL: dict[ValueType, Any] = {
    "text": "x" * 2000,
    "int": 1,
    "float": 0.5,
    "bool": True,
    "list of text": ["some words"] * MAX_LIST_ENTRIES,
    "list of int": [1] * MAX_LIST_ENTRIES,
    "list of float": [0.5] * MAX_LIST_ENTRIES,
    "list of bool": [True] * MAX_LIST_ENTRIES,
}


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("count", [1, 64])
def test_the_largest_chunk_has_room_for_full_values(kind: ValueType, count: int) -> None:
    fields = {f"f{number}": kind for number in range(count)}
    model = class_model("own:Own")
    pipeline = long_pipeline({"own": Values(model=model.name, view=SMALL, fields=fields)}, (model,))
    row = {"own": dict.fromkeys(fields, FULL[kind])}
    answers = samples.answers(pipeline, INFERENCE, row)
    copies = [answers] * pipeline.max_items_by_answers
    assert pa.concat_batches(copies).nbytes <= MAX_ANSWER_BYTES


@pytest.mark.parametrize("name", sorted(FIXED_COLUMNS))
def test_no_analysis_has_the_name_of_a_column_of_every_row(name: str) -> None:
    with pytest.raises(ValidationError, match=f"column {name} already"):
        long_pipeline({name: COLOURS})


@pytest.mark.parametrize("name", ["", "Colours", "2nd", "a b", "a.b", "é", "x" * 64, "_x", "a-b"])
def test_the_name_of_an_analysis_is_a_columns(name: str) -> None:
    with pytest.raises(ValidationError):
        long_pipeline({name: COLOURS})


@pytest.mark.parametrize(
    ("analyses", "models", "problem"),
    [
        ({}, (), "at least 1 item"),
        ({f"a{n}": COLOURS for n in range(MAX_ANALYSES + 1)}, (), "at most 16 items"),
        ({"what": by_model()}, (), "models are those that the analyses name"),
        ({"colours": COLOURS}, (MODEL,), "models are those that the analyses name"),
        ({"what": by_model()}, (MODEL, class_model("own:Own")), "models are those"),
        ({"what": by_model()}, (giving(),), "the model of what gives nothing that classes reads"),
        ({"what": by_model()}, (giving("features"),), "gives nothing that classes reads"),
        ({"what": EMBEDDING}, (giving("scores"),), "gives nothing that vector reads"),
        ({"what": EXTRA}, (MODEL,), "gives nothing that values reads"),
        ({"good": by_model(), "what": EXTRA}, (MODEL,), "the model of what gives nothing"),
        ({"what": by_model(view=None)}, (MODEL,), "a view for each analysis"),
        ({"colours": Palette()}, (), "a view for each analysis"),
    ],
)
def test_pipelines_that_there_cannot_be(analyses: Any, models: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        long_pipeline(analyses, models)


@pytest.mark.parametrize(
    "analyses", [{"a": by_model(), "b": by_model()}, {"colours": COLOURS}], ids=["two", "another"]
)
def test_the_short_form_has_one_analysis_of_classes(analyses: dict[str, Analysis]) -> None:
    models = {MODEL.name: MODEL} if "a" in analyses else {}
    with pytest.raises(ValidationError, match="short form"):
        Pipeline(name="x", form="short", models=models, analyses=analyses)
    assert samples.pipeline().only_model == MODEL
    assert long_pipeline({"what": by_model()}, (MODEL,)).only_model is None


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Values, {"model": "own", "fields": {}}),
        (Values, {"model": "own", "fields": {"a": "date"}}),
        (Values, {"model": "own", "fields": {"a b": "text"}}),
        (Values, {"model": "own", "fields": {f"f{n}": "int" for n in range(65)}}),
        (Vector, {"model": "own", "length": 0}),
        (Vector, {"model": "own", "length": 8193}),
        (Palette, {"count": 17}),
        (Palette, {"model": "tiny"}),
        (Stretch, {"width": 0, "height": 1}),
        (Letterbox, {"width": 1, "height": 4097}),
        (Crop, {"resize_shorter_pixels": 8, "crop_pixels": 9}),
    ],
)
def test_options_out_of_bounds_are_refused(kind: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**fields)


@pytest.mark.parametrize("analysis", [by_model(), EMBEDDING, EXTRA], ids=lambda each: each.kind)
def test_a_class_may_be_asked_anything(analysis: Analysis) -> None:
    own = class_model("own:Own", name=MODEL.name)
    assert long_pipeline({"what": analysis}, (own,)).has_class
