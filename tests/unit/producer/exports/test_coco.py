"""Boxes as a COCO file that COCO's own tools load."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from producer.exports.labelled import labelled, numbered
from producer.exports.writing import write_rows
from producer.selecting.selection import Selection
from shared.errors import UsageError
from shared.rows import PAST_SCHEMA, rows_schema
from tests.support import labelled_rows, samples
from tests.support.labelled_rows import SCHEMA, SHORT_SCHEMA, box, detector, failed, row

RESULTS_MD = Path(__file__).parents[4] / "docs" / "RESULTS.md"
LABELS = ["Katze 🐈", 'a "quoted"\nlabel\u2028', "", "zebra", "apple", "\\", "e\u0301", "\u00e9"]
ROWS = [
    row(0, box("zebra", 0.9, 10.3, 20.7), box("apple", 0.5, 0, 0, x2=640, y2=480)),
    row(1),
    failed(2),
    row(3, *(box(label, 0.3) for label in LABELS)),
]


def written(rows: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    found, file = labelled(SCHEMA, "coco", None), io.BytesIO()
    selected = Selection.parse(SCHEMA, **options).of(numbered(labelled_rows.tables(rows)))
    count = write_rows(found.written(selected), SCHEMA, "coco", file)
    document: dict[str, Any] = json.loads(file.getvalue())
    assert count == len(document["images"])
    return document


def test_images_boxes_and_categories() -> None:
    found = written(ROWS)
    assert found["categories"] == [
        {"id": number, "name": name} for number, name in enumerate(sorted(LABELS), 1)
    ]
    assert [image["id"] for image in found["images"]] == [1, 2, 4]  # places in the job
    assert found["images"][0] == {
        **{"id": 1, "file_name": "in/0000.jpg", "width": 640, "height": 480},
        "coco_url": "s3://photos/in/0000.jpg",
    }
    first, second, *others = found["annotations"]
    names = {category["id"]: category["name"] for category in found["categories"]}
    assert names[first.pop("category_id")] == "zebra"
    assert first.pop("area") == pytest.approx(1200, rel=1e-6)
    assert first == {
        "id": 1,
        "image_id": 1,
        "bbox": [10.3, 20.7, 30, 40],
        "iscrowd": 0,
        "score": 0.9,
    }
    assert second["bbox"] == [0, 0, 640, 480]
    assert [names[box["category_id"]] for box in others] == LABELS
    assert {box["image_id"] for box in others} == {4}


def test_ids_of_images_do_not_depend_on_what_is_selected() -> None:
    found = written(ROWS, where=["label=apple"], sort="-key")
    assert [image["id"] for image in found["images"]] == [4, 1]
    assert [image["id"] for image in written(ROWS, limit=2)["images"]] == [1, 2]


def test_coordinates_keep_every_digit_of_a_float32() -> None:
    drawn = np.random.default_rng(0).random((200, 3), dtype=np.float32)
    rows = [
        row(n, box("a", float(s), float(x), float(y), x2=2, y2=2))
        for n, (s, x, y) in enumerate(drawn)
    ]
    for image, (score, x, y) in zip(written(rows)["annotations"], drawn, strict=True):
        assert np.float32(image["score"]) == score
        assert (np.float32(image["bbox"][0]), np.float32(image["bbox"][1])) == (x, y)


def test_pycocotools_loads_and_evaluates_it(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(written(ROWS)))
    truth = COCO(str(path))
    assert sorted(truth.getImgIds()) == [1, 2, 4]
    assert len(truth.getAnnIds(imgIds=[4])) == len(LABELS)
    found = truth.loadRes(json.loads(path.read_text())["annotations"])
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_the_documented_map_to_annotations_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other ids, other folders, one image and one class more than were found."""
    found = written(ROWS)
    found["annotations"] = [box for box in found["annotations"] if box["image_id"] == 1]
    ids = {each["id"]: 100 - each["id"] for each in found["categories"]}
    names = {each["id"]: each["name"] for each in found["categories"]}
    truth = {
        "images": [{"id": 900, "file_name": "new.jpg"}, {"id": 700, "file_name": "0000.jpg"}],
        "annotations": [
            {**box, "image_id": 700, "category_id": ids[box["category_id"]]}
            for box in found["annotations"]
        ],
        "categories": [
            {"id": 7, "name": "unseen"},
            *({"id": ids[number], "name": name} for number, name in names.items()),
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(found))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", RESULTS_MD.read_text(), re.DOTALL)
    said: dict[str, Any] = {}
    exec(code, said)
    evaluation = COCOeval(said["truth"], said["results"], "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_a_job_in_which_nothing_was_found_is_still_a_file() -> None:
    assert written([row(0), failed(1)]) == {
        **{"info": {}, "licenses": [], "annotations": [], "categories": []},
        "images": [{**IMAGE, "id": 1}],
    }
    assert written([])["images"] == []


IMAGE = {
    **{"file_name": "in/0000.jpg", "width": 640, "height": 480},
    "coco_url": "s3://photos/in/0000.jpg",
}


@pytest.mark.parametrize(
    ("schema", "analysis", "message"),
    [
        (SHORT_SCHEMA, None, "no boxes for --format coco: it has one label for each image."),
        (PAST_SCHEMA, None, "it has one label for each image."),
        (
            rows_schema(samples.catalogue()),
            None,
            "its analyses are kinds, embedding, colours, extra.",
        ),
        (SCHEMA, "kind", "'kind' is no analysis of the job for --format coco. There is objects."),
        (SCHEMA, "object", "Did you mean objects?"),
        (
            rows_schema(detector("faces")),
            None,
            "boxes of several analyses: objects, faces. Say --analysis",
        ),
    ],
)
def test_which_boxes_is_asked_in_one_sentence(
    schema: Any, analysis: str | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        labelled(schema, "coco", analysis)
    assert message in str(caught.value)


def test_of_several_analyses_with_boxes_one_is_named() -> None:
    schema = rows_schema(detector("faces"))
    found, file = labelled(schema, "coco", "faces"), io.BytesIO()
    rows = [{**row(0, box("cat", 0.5)), "faces": [box("Ada", 0.9)]}]
    write_rows(found.written(numbered(labelled_rows.tables(rows, schema))), schema, "coco", file)
    assert [each["name"] for each in json.loads(file.getvalue())["categories"]] == ["Ada"]
