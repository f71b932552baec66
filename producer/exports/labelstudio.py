"""Boxes and classes as Label Studio imports them: tasks with predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa

from producer.exports.texts import as_json, batches_of
from producer.selecting.fields import boxes_columns, classes_columns

Region = dict[str, Any]
# The tag that the short form's label is for in a labelling configuration.
SHORT_FORM_TAG = "label"
# The tag of the image, and the field of a task that it shows.
IMAGE = "image"


def write_labelstudio(tables: Iterable[pa.Table], _schema: pa.Schema, file: IO[bytes]) -> int:
    """Tables of ``Labelled.written``. Returns the number of tasks, one for each image."""
    count = 0
    file.write(b"[")
    for task in (task for table in tables for batch in batches_of(table) for task in _tasks(batch)):
        file.write(b",\n" if count else b"\n")
        file.write(as_json(task).encode())
        count += 1
    file.write(b"\n]\n")
    return count


def _tasks(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """One for each row."""
    boxes, classes = boxes_columns(batch.schema), classes_columns(batch.schema)
    for row in batch.to_pylist():
        found = [_choice(name, row[name]) for name in classes]
        if "label" in row:
            found = [_choice(SHORT_FORM_TAG, row)]
        regions = [region for region in found if region]
        for name in boxes:
            regions += [_rectangle(name, row, box) for box in row[name] or ()]
        for number, region in enumerate(regions, 1):
            region["id"] = str(number)
        yield {"data": {IMAGE: row["uri"]}, "predictions": [_prediction(row, regions)]}


def _prediction(row: dict[str, Any], regions: list[Region]) -> dict[str, Any]:
    """``score`` sorts tasks: that of the surest answer."""
    scores = [region["score"] for region in regions if region["score"] is not None]
    best = {"score": max(scores)} if scores else {}
    return {"model_version": row["pipeline"], **best, "result": regions}


def _choice(name: str, best: dict[str, Any] | None) -> Region | None:
    if best is None or best["label"] is None:
        return None
    value = {"choices": [best["label"]]}
    return {**_to_image(name, "choices"), "score": best["score"], "value": value}


def _rectangle(name: str, row: dict[str, Any], box: dict[str, Any]) -> Region:
    width, height = row["width"], row["height"]
    value = {
        "x": 100 * box["x1"] / width,
        "y": 100 * box["y1"] / height,
        "width": 100 * (box["x2"] - box["x1"]) / width,
        "height": 100 * (box["y2"] - box["y1"]) / height,
        "rotation": 0,
        "rectanglelabels": [box["label"]],
    }
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    return {**_to_image(name, "rectanglelabels"), **size, "score": box["score"], "value": value}


def _to_image(name: str, kind: str) -> Region:
    return {"from_name": name, "to_name": IMAGE, "type": kind}
