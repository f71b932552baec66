"""A pipeline that asks several questions of an image, and engines that note what they ran."""

from __future__ import annotations

from shared.analyses import Analysis
from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.analyses.vector import Vector
from shared.pipeline import Pipeline
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox
from tests.support.fake_engine import FakeEngine
from tests.support.samples import MODEL, class_model, long_pipeline
from workers.inference.engines import Images, Outputs
from workers.inference.model_types import LoadedModel, ModelKey

SECOND = MODEL.model_copy(update={"name": "second", "sha256": "c" * 64})
OWN = class_model("own:Own")
SQUARE = Crop(resize_shorter_pixels=4, crop_pixels=4)
WIDE = Letterbox(width=8, height=4)

# By a network: two of one model in one view, one in another view, and one of another model.
NETWORKS: dict[str, Analysis] = {
    "kinds": Classes(model="tiny", view=SQUARE, top_k=1),
    "style": Vector(model="tiny", view=SQUARE, length=2, unit_length=False),
    "whole": Vector(model="tiny", view=WIDE, length=2),
    "others": Classes(model="second", view=SQUARE, top_k=1),
}
COLOURS: dict[str, Analysis] = {"colours": Palette(view=Palette.own_view)}
CLASS: dict[str, Analysis] = {"own": Classes(model="own", view=WIDE, top_k=1)}

MANY = long_pipeline(NETWORKS, (MODEL, SECOND))
MIXED = long_pipeline({**CLASS, **NETWORKS}, (MODEL, SECOND, OWN))


class OwnEngine(FakeEngine):
    """As a user's class: an array of scores, and nothing else."""

    precision = None

    def run(self, images: Images) -> Outputs:
        return super().run(images)[0]


class Engines:
    """Loads a fake engine for each model and canvas. ``special``: by the model's name."""

    def __init__(self, **special: FakeEngine) -> None:
        self.special = special
        self.loaded: dict[tuple[str, int], FakeEngine] = {}

    def __call__(self, key: ModelKey) -> LoadedModel:
        place = key.model.name, key.canvas[0]
        kind = OwnEngine if key.model.python_class else FakeEngine
        engine = self.special.get(key.model.name) or self.loaded.get(place) or kind()
        self.loaded[place] = engine
        return LoadedModel(engine)

    @property
    def batches(self) -> dict[tuple[str, int], list[list[int]]]:
        """The images of each run, by the model's name and the width of its images."""
        return {place: engine.batches for place, engine in self.loaded.items() if engine.batches}


def with_colours(pipeline: Pipeline) -> Pipeline:
    """The same, with an analysis that needs no device."""
    return long_pipeline({**COLOURS, **pipeline.analyses}, tuple(pipeline.models.values()))
