"""Which analyses have one run of a model."""

from __future__ import annotations

from shared.analyses.classes import Classes
from shared.analyses.vector import Vector
from shared.views.crop import Crop
from shared.views.stretch import Stretch
from tests.support.samples import MODEL, long_pipeline
from workers.inference.model_types import ModelKey

VIEW = Crop(resize_shorter_pixels=8, crop_pixels=4)


def keys(**vector: object) -> tuple[ModelKey, ModelKey]:
    fields = {"model": MODEL.name, "view": VIEW, "length": 3, **vector}
    classes = Classes(model=MODEL.name, view=VIEW)
    pipeline = long_pipeline({"a": classes, "b": Vector.model_validate(fields)}, (MODEL,))
    return ModelKey.of(pipeline, "a"), ModelKey.of(pipeline, "b")


def test_analyses_that_ask_alike_of_a_model_in_a_view_have_one_key() -> None:
    first, second = keys()
    assert first == second
    assert first.kinds == ("classes", "vector")
    assert first.in_precision("float32").kinds == ()


def test_another_view_or_another_wish_is_another_key() -> None:
    for wish in ({"view": Stretch(width=4, height=4)}, {"engine": "torch"}):
        first, second = keys(**wish)
        assert first.kinds == ("classes",)
        assert second.kinds == ("vector",)
    first, second = keys(precision="float32")
    assert first.kinds == ("classes",)
    assert second.kinds == ()
