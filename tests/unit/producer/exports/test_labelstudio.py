"""Boxes and classes as tasks that Label Studio imports."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pytest

from producer.exports.labelled import labelled, numbered
from producer.exports.writing import write_rows
from shared.errors import UsageError
from shared.rows import rows_schema
from tests.support import labelled_rows, samples
from tests.support.labelled_rows import SCHEMA, SHORT_SCHEMA, box, classes, failed, row, short
from tests.support.labelstudio_tasks import TASKS, Task

ODD = 'Katze 🐈 "<b>"\n\u2028'


def written(
    rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, analysis: str | None = None
) -> list[Task]:
    found, file = labelled(schema, "labelstudio", analysis), io.BytesIO()
    tables = found.written(numbered(labelled_rows.tables(rows, schema)))
    count = write_rows(tables, schema, "labelstudio", file)
    tasks = TASKS.validate_json(file.getvalue())
    assert (count, found.failed) == (len(tasks), len(rows) - len(tasks))
    return tasks


def test_boxes_are_percent_of_the_image_and_classes_are_choices() -> None:
    whole = box(ODD, 0.75, 0, 0, x2=640, y2=480)
    rows = [row(0, whole, box("cat", 0.5, 64, 48, x2=96, y2=96), kind=classes("tabby", 0.25))]
    (task,) = written(rows)
    assert task.data.image == "s3://photos/in/0000.jpg"
    (prediction,) = task.predictions
    assert (prediction.model_version, prediction.score) == ("catalogue", 0.75)
    shown = [region.model_dump() for region in prediction.result]
    to_image = {"to_name": "image", "from_name": "objects", "type": "rectanglelabels"}
    size = {"original_width": 640, "original_height": 480, "image_rotation": 0}
    corners = {"x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0}
    assert shown == [
        {
            **{"id": "1", "from_name": "kind", "to_name": "image", "type": "choices"},
            **{"score": 0.25, "value": {"choices": ["tabby"]}},
        },
        {
            **{"id": "2", "score": 0.75, **to_image, **size},
            "value": {**corners, "rotation": 0.0, "rectanglelabels": [ODD]},
        },
        {
            **{"id": "3", "score": 0.5, **to_image, **size},
            "value": {
                **{"x": 10.0, "y": 10.0, "width": 5.0, "height": 10.0},
                **{"rotation": 0.0, "rectanglelabels": ["cat"]},
            },
        },
    ]


def test_an_image_in_which_nothing_was_found_is_a_task_and_a_failed_one_is_not() -> None:
    rows = [row(0), failed(1), row(2, kind={"label": None, "score": None, "predictions": []})]
    tasks = written(rows)
    assert [task.data.image[-8:] for task in tasks] == ["0000.jpg", "0002.jpg"]
    assert [task.predictions[0].result for task in tasks] == [[], []]
    assert [task.predictions[0].score for task in tasks] == [None, None]


def test_the_short_form_has_choices() -> None:
    rows = [short(0, ODD, 0.5), failed(1)]
    (task,) = written(rows, SHORT_SCHEMA)
    (region,) = task.predictions[0].result
    assert (region.from_name, region.value.choices) == ("label", [ODD])  # type: ignore[union-attr]


def test_one_analysis_alone() -> None:
    rows = [row(0, box("cat", 0.5), kind=classes("tabby", 0.25))]
    for name, kind in (("objects", "rectanglelabels"), ("kind", "choices")):
        (task,) = written(rows, analysis=name)
        assert [region.type for region in task.predictions[0].result] == [kind]


def test_no_rows_are_an_empty_array() -> None:
    assert written([]) == []


@pytest.mark.parametrize(
    ("schema", "analysis", "message"),
    [
        (rows_schema(samples.palettes()), None, "its analyses are colours."),
        (rows_schema(samples.catalogue()), "colours", "There is kinds."),
        (SHORT_SCHEMA, "objects", "it has one label for each image."),
    ],
)
def test_what_has_no_labels(schema: pa.Schema, analysis: str | None, message: str) -> None:
    with pytest.raises(UsageError, match="--format labelstudio") as caught:
        labelled(schema, "labelstudio", analysis)
    assert message in str(caught.value)


def test_lines_are_one_task_each() -> None:
    found, file = labelled(SCHEMA, "labelstudio", None), io.BytesIO()
    rows = [row(n, box(ODD, 0.5)) for n in range(3)]
    write_rows(found.written(numbered(labelled_rows.tables(rows))), SCHEMA, "labelstudio", file)
    lines = file.getvalue().decode("ascii").splitlines()
    assert [json.loads(line.rstrip(","))["data"] for line in lines[1:-1]]
    assert len(lines) == 5
