"""Valid messages and settings for tests to start from and to spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from shared.analyses import Analysis
from shared.analyses.boxes import Boxes
from shared.analyses.classes import Classes
from shared.analyses.palette import Palette
from shared.analyses.values import Values
from shared.analyses.vector import Vector
from shared.answers import answer_schema
from shared.item import Item, ItemFailure
from shared.messages import Batch, Chunk, Result, Slot, Timings
from shared.model import Model
from shared.pipeline import Pipeline, Preprocess
from shared.settings import SETTINGS_FILE, RingSettings, S3Settings, Settings
from shared.stages import INFERENCE, PREPROCESS, QueueInfo, Stage, queue_name
from shared.views.crop import Crop
from shared.views.letterbox import Letterbox

INCARNATION = "1" * 16
JOB_UID = "2" * 16
FIRST_QUEUE = QueueInfo(queue_name(PREPROCESS), PREPROCESS, "bulk")


MODEL = Model(
    name="tiny",
    sha256="a" * 64,
    architecture="mobilenet_v3_small",
    outputs=("scores", "features"),
)
# Detectors that nobody loads: one whose raw outputs a layout reads, and one that only torch runs.
DETECTOR = Model(name="finder", sha256="d" * 64, layout="yolox", outputs=("boxes",))
TORCH_DETECTOR = Model(
    name="finder",
    sha256="e" * 64,
    architecture="fasterrcnn_resnet50_fpn_v2",
    has_graph=False,
    outputs=("boxes", "box_scores", "box_labels"),
)


def pipeline(**changes: Any) -> Pipeline:
    """The short form, of a model that nobody loads. ``changes``: fields as a file has them."""
    given = {"name": "classify", "model": MODEL, "preprocess": {}, "postprocess": {}, **changes}
    preprocess, model = dict(given["preprocess"]), given["model"]
    crop = preprocess.pop("crop_pixels", 224)
    view = Crop(
        resize_shorter_pixels=preprocess.pop("resize_shorter_pixels", max(256, crop)),
        crop_pixels=crop,
    )
    of_analysis = {name: given[name] for name in ("engine", "precision") if name in given}
    classes = Classes(model=model.name, view=view, **of_analysis, **given["postprocess"])
    whole = {name: given[name] for name in ("name", "batch_seconds") if name in given}
    return Pipeline(
        **whole,
        form="short",
        preprocess=Preprocess(**preprocess),
        models={model.name: model},
        analyses={"classes": classes},
    )


def long_pipeline(
    analyses: dict[str, Analysis], models: tuple[Model, ...] = (), **changes: Any
) -> Pipeline:
    """The long form. The analyses name the models by their names."""
    return Pipeline(
        name="catalogue",
        form="long",
        models={model.name: model for model in models},
        analyses=analyses,
        **changes,
    )


def catalogue() -> Pipeline:
    """The long form, with an analysis of each kind, a model and a class that nobody loads."""
    other = class_model("own:Own", name="other", sha256="c" * 64)
    view = Crop(resize_shorter_pixels=64, crop_pixels=64)
    analyses = {
        "kinds": Classes(model="tiny", view=view, top_k=2),
        "embedding": Vector(model="tiny", view=view, length=3),
        "colours": Palette(view=Palette.own_view),
        "extra": Values(model="other", view=view, fields={"text": "text", "n": "list of int"}),
    }
    return long_pipeline(analyses, (MODEL, other))


def vectors(length: int) -> Pipeline:
    """The long form with vectors alone."""
    view = Crop(resize_shorter_pixels=64, crop_pixels=64)
    return long_pipeline({"embedding": Vector(model="tiny", view=view, length=length)}, (MODEL,))


def detector(model: Model = DETECTOR, **options: Any) -> Pipeline:
    """The long form with boxes alone. ``options``: of the analysis."""
    view = Letterbox(width=64, height=64)
    return long_pipeline({"objects": Boxes(model=model.name, view=view, **options)}, (model,))


def box(**changes: Any) -> dict[str, Any]:
    """A sound box, but for the ``changes``."""
    sound = {"label": "cat", "score": 0.75, "x1": 1.5, "y1": 2.0, "x2": 7.0, "y2": 8.25}
    return {**sound, **changes}


def palettes() -> Pipeline:
    """The long form without a model."""
    return long_pipeline({"colours": Palette(view=Palette.own_view)})


# Of one image in each analysis of ``catalogue``.
CATALOGUE_ANSWER = {
    "kinds": {"class_index": 7, "predictions": [{"label": "cat", "score": 0.75}]},
    "embedding": [0.5, -0.25, 0.125],
    "colours": [{"hex": "#1e90ff", "share": 0.75, "name": "dodgerblue"}],
    "extra": {"text": "é", "n": [1, 2]},
}


def answers(
    pipeline: Pipeline, stage: Stage, *rows: dict[str, Any] | ItemFailure
) -> pa.RecordBatch:
    """What left ``stage``, from what is known of each item: columns by name, or its failure."""
    schema = answer_schema(pipeline, stage)
    failed = {"width": None, "height": None}
    shown = [
        {**failed, "error_code": row.error_code.value, "error_message": row.error_message}
        if isinstance(row, ItemFailure)
        else {"width": 9, "height": 9, **row}
        for row in rows
    ]
    columns = [pa.array([row.get(f.name) for row in shown], f.type) for f in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def prediction(label: str, score: float = 1.0) -> dict[str, Any]:
    """The answer of a ``classes`` analysis with one prediction."""
    return {"class_index": None, "predictions": [{"label": label, "score": score}]}


def class_model(python_class: str, **changes: object) -> Model:
    """A model that is a user's class, whose code nobody has packed."""
    hashes = {"sha256": "a" * 64, "code_sha256": "b" * 64}
    fields = {"name": "own", "python_class": python_class, **hashes}
    return Model.model_validate({**fields, **changes})


def _begin(chunk: int, attempt: int) -> dict[str, object]:
    return {
        "incarnation": INCARNATION,
        "job_id": "job",
        "job_uid": JOB_UID,
        "chunk": chunk,
        "attempt": attempt,
        "bucket": "photos",
        "pipeline": pipeline(),
    }


def chunk(chunk: int = 0, attempt: int = 1) -> Chunk:
    """A chunk of one image."""
    items = [Item(key="a.jpg", etag="e", size=1)]
    return Chunk.model_validate({**_begin(chunk, attempt), "items": items})


def batch(chunk: int = 0, attempt: int = 1) -> Batch:
    """A batch of one image of 64 by 64 pixels, in the third, large slot of the settings' ring."""
    small = pipeline(preprocess={"resize_shorter_pixels": 64, "crop_pixels": 64})
    return Batch.model_validate(
        {
            **_begin(chunk, attempt),
            "pipeline": small,
            "answers": answers(small, PREPROCESS, {}),
            "staged": Slot(host_id="testhost", index=2, images=1),
            "timings": Timings(),
        }
    )


def result(chunk: int = 0, attempt: int = 1, **changes: Any) -> Result:
    """A result of one image, which nothing computed."""
    given = changes.get("pipeline", pipeline())
    empty = {"class_index": None, "predictions": []}
    fields = {
        **_begin(chunk, attempt),
        "answers": changes.get("answers") or answers(given, INFERENCE, {"classes": empty}),
        "computed": dict.fromkeys(given.network_analyses),
        "scored_at": 1000.0,
        "timings": Timings(),
    }
    return Result.model_validate({**fields, **changes})


def settings(home: Path, broker_url: str = "redis://127.0.0.1:1/0") -> Settings:
    """Settings of a stack that has only a broker."""
    return Settings(
        home=home,
        host_id="testhost",
        broker_url=broker_url,
        ledger_url=broker_url,
        s3=S3Settings(endpoint="127.0.0.1:1", access_key="none", secret_key="none"),
        ring=RingSettings(directory=home / "ring", slot_bytes=(4096, 65536), slot_counts=(2, 1)),
        signing_keys=("k" * 32,),
    )


def save_settings(settings: Settings) -> None:
    """Write the settings file of a home, readable by its owner only."""
    path = settings.home / SETTINGS_FILE
    path.touch(mode=0o600)
    path.write_text(settings.model_dump_json(indent=2, exclude={"home"}))
