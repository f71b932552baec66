"""A pipeline by value: what every job and every message carries, with nothing left to look up.

It is views and analyses: each analysis asks one question of every image, in the view that it takes.
A field that users set is defined here, in ``shared.views`` or in ``shared.analyses``, and nowhere
else: its type, bounds, default and meaning. Its form in a file (``shared.catalog.files``),
``pipelines show``, the JSON Schemas and ``docs/PIPELINES.md`` follow from that.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.analyses import Analysis, AnyAnalysis, NetworkAnalysis
from shared.columns import FIXED_COLUMNS
from shared.fields import DeadlineSeconds, FileDefault, Frozen, Name
from shared.limits import MAX_CHUNK_ITEMS
from shared.model import Model, ModelReference
from shared.stages import INFERENCE, PREPROCESS, RESULTS, Stage
from shared.views import View

DEFAULT_BATCH_SECONDS = 600.0
MAX_ANALYSES = 16
# What all answers of a chunk may take by their kinds' own estimates.
MAX_CHUNK_ANSWER_BYTES = 4 * 2**20

# A column's name in any format.
AnalysisName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Form = Literal["short", "long"]


class Preprocess(Frozen):
    """How an object becomes an image, and what that may cost."""

    max_object_bytes: int = Field(
        64 * 2**20,
        ge=1,
        le=2**30,
        description="The largest object that is read, in bytes, packed or unpacked. A larger one "
        "fails as `too_large`.",
    )
    max_pixels: int = Field(
        100_000_000,
        ge=1,
        le=10**9,
        description="The largest image that is decoded, in pixels (width × height). A larger one "
        "fails as `bomb`.",
    )
    item_seconds: DeadlineSeconds = Field(
        60.0,
        description="How many seconds one image may take. A process that takes longer is stopped, "
        "and the image is tried again alone; after two such tries it fails as `killed_worker`.",
    )
    decode: Literal["lenient", "strict"] = Field(
        "lenient",
        description="What happens to an image that is damaged in parts: `lenient` keeps it with a "
        "warning, `strict` fails it as `corrupt`.",
    )
    sixteen_bit: Literal["scale", "high_byte"] = Field(
        "scale",
        description="How samples of 16 bits become 8: `scale` goes by the bits that the image "
        "fills, `high_byte` always takes the upper byte.",
    )


class PipelineFields(Frozen):
    """The fields that a pipeline has in every form."""

    name: Annotated[Name | None, FileDefault("the file's name without `.yaml`")] = Field(
        None, description="The pipeline's name, as in the column `pipeline` of its rows."
    )
    preprocess: Preprocess = Preprocess()
    batch_seconds: DeadlineSeconds = Field(
        DEFAULT_BATCH_SECONDS,
        description="How many seconds one device batch may take. A process that takes longer is "
        "stopped, and its images are tried again.",
    )


class Pipeline(PipelineFields):
    """A resolved pipeline. ``sha256`` identifies its content.

    ``form``: whether rows have the columns of the short form, with one analysis of a kind that has
    one, or a column for each analysis.
    ``models``: by the reference that analyses name them with.
    ``analyses``: by the names of their columns, in their order.
    """

    name: Name
    form: Form
    models: dict[ModelReference, Model] = Field(max_length=MAX_ANALYSES)
    analyses: dict[AnalysisName, AnyAnalysis] = Field(min_length=1, max_length=MAX_ANALYSES)

    @model_validator(mode="after")
    def _fits_together(self) -> Pipeline:
        if taken := FIXED_COLUMNS & self.analyses.keys():
            raise ValueError(f"every row has a column {min(taken)} already: name it otherwise")
        if self.form == "short" and [a.kind for a in self.analyses.values()] != ["classes"]:
            raise ValueError("the short form has exactly one analysis, of kind classes")
        used = {a.model for a in self.analyses.values() if isinstance(a, NetworkAnalysis)}
        if used != self.models.keys():
            raise ValueError("models are those that the analyses name, and no others")
        for name, analysis in self.network_analyses.items():
            model = self.models[analysis.model]
            if model.python_class is None and analysis.main_output() not in model.outputs:
                raise ValueError(f"the model of {name} gives nothing that {analysis.kind} reads")
        if any(analysis.view is None for analysis in self.analyses.values()):
            raise ValueError("a resolved pipeline has a view for each analysis")
        return self

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON form."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def analyses_of(self, stage: Stage) -> dict[str, Analysis]:
        """The analyses that are computed at a stage, by name."""
        return {name: each for name, each in self.analyses.items() if each.stage == stage}

    @property
    def network_analyses(self) -> dict[str, NetworkAnalysis]:
        """The analyses by a model, by name."""
        found = self.analyses.items()
        return {name: each for name, each in found if isinstance(each, NetworkAnalysis)}

    def model_of(self, name: str) -> Model:
        """The model of an analysis by a model."""
        return self.models[self.network_analyses[name].model]

    @property
    def only_model(self) -> Model | None:
        """The model of the short form; None in the long form."""
        return next(iter(self.models.values())) if self.form == "short" else None

    @property
    def has_class(self) -> bool:
        """Whether one of the models is a user's class."""
        return any(model.python_class is not None for model in self.models.values())

    @cached_property
    def staged_views(self) -> tuple[View, ...]:
        """The views that inference needs, each once, in the order of the analyses."""
        return tuple(dict.fromkeys(view_of(a) for a in self.analyses_of(INFERENCE).values()))

    @property
    def staged_image_bytes(self) -> int:
        """Bytes that one image takes in a slot; 0 where inference needs none."""
        return sum(view.image_bytes for view in self.staged_views)

    @property
    def answer_bytes(self) -> int:
        """The most bytes that all answers about one image usually take."""
        return sum(each.max_answer_bytes() for each in self.analyses.values())

    @property
    def max_items_by_answers(self) -> int:
        """How many images a chunk may have for its answers to fit into a message."""
        return max(1, min(MAX_CHUNK_ITEMS, MAX_CHUNK_ANSWER_BYTES // self.answer_bytes))

    @property
    def route(self) -> tuple[Stage, ...]:
        """The stages that each chunk passes."""
        return (PREPROCESS, INFERENCE, RESULTS) if self.staged_views else (PREPROCESS, RESULTS)

    def stage_after(self, stage: Stage) -> Stage:
        """Where a chunk goes next."""
        return self.route[self.route.index(stage) + 1]


def view_of(analysis: Analysis) -> View:
    """The view of an analysis of a resolved pipeline."""
    assert analysis.view is not None
    return analysis.view
