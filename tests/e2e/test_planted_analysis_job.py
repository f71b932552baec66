"""A real job of analyses that only new files add, on a stack of a copy of the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.planted_analysis import copy_with_plants, interpreter
from tests.support.pulled_models import PulledModels
from tests.support.stack import Stack, small_images

IMAGES = 12


@pytest.fixture(scope="module")
def planted(pulled: PulledModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that is up."""
    base = tmp_path_factory.mktemp("planted")
    root = base / "project"
    copy_with_plants(root)
    planted = Stack(base / "home", root=root, python=interpreter(root))
    try:
        planted.run("up")
        pulled.give(planted, "mobilenet_v2")
        yield planted
    finally:
        planted.run("down", check=False)


def test_a_job_answers_with_planted_analyses(planted: Stack) -> None:
    images = small_images(IMAGES) | {"broken.jpg": b"no image"}
    planted.put("photos", images)
    job = planted.enqueue("s3://photos/", "--chunk-items", "4", pipeline="planted")
    status = planted.finish(job)
    assert (status["images"]["succeeded"], status["images"]["failed"]) == (IMAGES, 1)
    rows = {row["key"]: row for row in planted.rows(job)}
    assert rows.keys() == images.keys()
    failed = rows.pop("broken.jpg")
    assert (failed["bright"], failed["sure"], failed["what"]) == (None, None, None)
    for row in rows.values():
        assert 0 < row["bright"] <= 2
        best, second = (each["score"] for each in row["what"]["predictions"])
        assert 0 <= best - second <= 1
        assert row["sure"] >= 0
        assert {entry["analysis"] for entry in row["models"]} == {"sure", "what"}


def test_a_planted_analysis_is_tried_without_a_stack(planted: Stack, tmp_path: Path) -> None:
    (photo,) = small_images(1).values()
    (tmp_path / "a.jpg").write_bytes(photo)
    answer = planted.json("try", "planted", str(tmp_path / "a.jpg"))
    (row,) = answer["rows"]
    assert 0 < row["bright"] <= 2
    assert row["sure"] >= 0
