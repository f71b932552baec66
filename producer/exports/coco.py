"""Boxes as a COCO detection file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from producer.exports.labelled import NUMBER
from producer.selecting.fields import boxes_columns


def write_coco(tables: Iterable[pa.Table], _schema: pa.Schema, file: IO[bytes]) -> int:
    """Tables of ``Labelled.written`` with one column of boxes. Returns the number of images.

    The ids of categories follow from all labels in order, so boxes wait in a temporary file, about
    120 bytes each; the labels themselves are held in memory.
    """
    count, places = 0, dict[str, int]()
    with tempfile.TemporaryFile("w+", encoding="ascii", newline="\n") as boxes:
        file.write(b'{"info": {}, "licenses": [],\n"images": [')
        for table in tables:
            for batch in table.to_batches():
                (column,) = boxes_columns(batch.schema)
                for image in _images(batch):
                    file.write(b",\n" if count else b"\n")
                    file.write(json.dumps(image).encode())
                    count += 1
                boxes.writelines(_lines(batch, batch[column], places))
        file.write(b'\n],\n"annotations": [')
        ids = _category_ids(places)
        boxes.seek(0)
        for number, line in enumerate(boxes, 1):
            place, _, rest = line.rstrip("\n").partition(" ")
            begin = f'{{"id": {number}, "category_id": {ids[int(place)]}, '
            file.write(f"{',' if number > 1 else ''}\n{begin}{rest}}}".encode())
    categories = [{"id": number, "name": name} for number, name in enumerate(sorted(places), 1)]
    file.write(b'\n],\n"categories": ' + json.dumps(categories).encode() + b"}\n")
    return count


def _images(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = (NUMBER, "key", "width", "height", "uri")
    for row in zip(*(batch[name].to_pylist() for name in names), strict=True):
        yield dict(zip(("id", "file_name", "width", "height", "coco_url"), row, strict=True))


def _lines(batch: pa.RecordBatch, lists: pa.ListArray, places: dict[str, int]) -> Iterator[str]:
    """A line for each box: the place of its label in ``places``, and its fields but for the ids."""
    flat = lists.flatten()
    image_ids = batch[NUMBER].take(pc.list_parent_indices(lists)).to_pylist()
    labels = flat.field("label").to_pylist()
    x1, y1, x2, y2 = (flat.field(side) for side in ("x1", "y1", "x2", "y2"))
    width, height = pc.subtract(x2, x1), pc.subtract(y2, y1)
    area = pc.multiply(width.cast(pa.float64()), height.cast(pa.float64()))
    # As text, a float32 has the digits that tell it from its neighbours, and not those of a double.
    columns = (flat.field("score"), x1, y1, width, height, area)
    numbers = zip(*(column.cast(pa.string()).to_pylist() for column in columns), strict=True)
    for image_id, label, (score, *box, size) in zip(image_ids, labels, numbers, strict=True):
        place = places.setdefault(label, len(places))
        yield (
            f'{place} "image_id": {image_id}, "bbox": [{", ".join(box)}], '
            f'"area": {size}, "iscrowd": 0, "score": {score}\n'
        )


def _category_ids(places: dict[str, int]) -> dict[int, int]:
    """The id of each label's category, by the label's place: 1, 2, … in the order of labels."""
    return {places[label]: number for number, label in enumerate(sorted(places), 1)}
