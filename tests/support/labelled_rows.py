"""Rows of a job with boxes and classes, as a collector would have written them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from shared.analyses.boxes import Boxes
from shared.analyses.classes import Classes
from shared.pipeline import Pipeline
from shared.rows import rows_schema
from shared.views.crop import Crop
from tests.support import samples
from tests.support.samples import MODEL, long_pipeline

VIEW = Crop(resize_shorter_pixels=64, crop_pixels=64)
WIDTH, HEIGHT = 640, 480
DETECTOR = MODEL.model_copy(update={"name": "detector", "outputs": ("boxes",)})


def detector(*more_boxes: str) -> Pipeline:
    """The long form with boxes ``objects`` and classes ``kind``; ``more_boxes``: analyses more."""
    boxes = {name: Boxes(model=DETECTOR.name, view=VIEW) for name in ("objects", *more_boxes)}
    kind = Classes(model=MODEL.name, view=VIEW, softmax=True)
    return long_pipeline({**boxes, "kind": kind}, (MODEL, DETECTOR))


SCHEMA = rows_schema(detector())
SHORT_SCHEMA = rows_schema(samples.pipeline())


def box(label: str, score: float, x1: float = 10, y1: float = 20, **sides: float) -> dict[str, Any]:
    """One box, of 30 by 40 pixels where ``x2`` and ``y2`` are left out."""
    return {
        "label": label,
        "score": score,
        "x1": x1,
        "y1": y1,
        "x2": x1 + 30,
        "y2": y1 + 40,
        **sides,
    }


def classes(label: str, score: float, *others: tuple[str, float]) -> dict[str, Any]:
    """A value of a classes column."""
    found = [{"label": name, "score": each} for name, each in ((label, score), *others)]
    return {"label": label, "score": score, "predictions": found}


def row(number: int, *boxes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A row of the long form. ``kind``: its class."""
    return {**_begin(number), "objects": list(boxes), **changes}


def failed(number: int) -> dict[str, Any]:
    """The row of an image that failed, in either form."""
    error = {"error_code": "corrupt", "error_message": "It is damaged."}
    return {**_begin(number), "status": "failed", "width": None, "height": None, **error}


def short(number: int, label: str, score: float, **changes: Any) -> dict[str, Any]:
    """A row of the short form."""
    found = [{"label": label, "score": score}]
    of_model = {"model": "tiny", "model_version": "a" * 64}
    best = {"label": label, "score": score, "predictions": found}
    return {**_begin(number), **of_model, **best, **changes}


def _begin(number: int) -> dict[str, Any]:
    key = f"in/{number:04}.jpg"
    return {
        **{"job_id": "job", "key": key, "etag": f"e{number}", "size": 100 - number % 7},
        **{"uri": f"s3://photos/{key}", "name": f"{number:04}.jpg", "pipeline": "catalogue"},
        **{"status": "ok", "width": WIDTH, "height": HEIGHT},
    }


def tables(
    rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, *, size: int = 3
) -> list[pa.Table]:
    """Tables of so many rows each, the last of perhaps fewer."""
    whole = pa.Table.from_pylist(
        [{**dict.fromkeys(schema.names), **row} for row in rows], schema=schema
    )
    return [whole.slice(start, size) for start in range(0, len(rows), size)]
