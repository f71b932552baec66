"""``similar`` and ``styles`` over the rows of a ``catalogue`` job on real photos."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from tests.support.stack import Stack

PHOTOS = 6


@pytest.fixture(scope="module")
def images(photos: list[Path]) -> dict[str, bytes]:
    return {f"in/{path.name}": path.read_bytes() for path in photos[:PHOTOS]}


@pytest.fixture(scope="module")
def job(stack: Stack, images: dict[str, bytes], catalogue: str) -> str:
    stack.put("catalogued", images)
    job = stack.enqueue("s3://catalogued/in/", pipeline=catalogue)
    assert stack.finish(job)["images"]["succeeded"] == PHOTOS
    return job


def test_an_image_a_file_and_an_object_are_compared_with_the_job(
    stack: Stack, job: str, images: dict[str, bytes], photos: list[Path]
) -> None:
    key = next(iter(images))
    by_key = stack.json("similar", job, key)
    assert {found["key"] for found in by_key} == images.keys() - {key}
    by_file = stack.json("similar", job, str(photos[0]))
    by_url = stack.json("similar", job, f"s3://catalogued/{key}")
    assert by_file == by_url
    # The vector is the job's own: the same engine in the same precision.
    assert (by_file[0]["key"], by_file[0]["score"]) == (key, pytest.approx(1, abs=1e-4))
    assert by_file[1:] == [
        {**found, "score": pytest.approx(found["score"], abs=1e-3)} for found in by_key
    ]


def test_styles_writes_a_group_for_each_image_and_a_sheet_for_each_group(
    stack: Stack, job: str, images: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "styles.csv"
    stack.run("styles", job, "--groups", "2", "-o", str(file))
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert {row["key"] for row in rows} == images.keys()
    sheets = sorted((tmp_path / "styles.csv.sheets").iterdir())
    names = [f"group-{number:02}.jpg" for number in sorted({int(row["group"]) for row in rows})]
    assert [sheet.name for sheet in sheets] == names
    for sheet in sheets:
        with Image.open(sheet) as image:
            assert image.height >= 200


def test_status_lists_what_computed_each_analysis(stack: Stack, job: str) -> None:
    lines = stack.run("status", job).stdout.splitlines()
    place = lines.index("models")
    shown = lines[place + 1 : place + 4]
    names = ("objects: ssd_mobilenet_v3", "classes: mobilenet_v2", "embedding: mobilenet_v2")
    for line, name in zip(shown, names, strict=True):
        assert line.startswith(f"  {name} ")
    used = stack.status(job)["models"]
    for line, analysis in zip(shown, used, strict=True):
        engine = f"{analysis['engine']} {analysis['precision']} {analysis['device']}"
        assert f", {engine}: {analysis['reason']}" in line
