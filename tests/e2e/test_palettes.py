"""A job of palettes needs no device: it runs while no inference worker lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Stack, small_images

IMAGES = 40


@pytest.fixture
def without_devices(stack: Stack) -> Iterator[Stack]:
    stack.run("scale", "inference=0")
    yield stack
    stack.run("scale", "inference=1")  # other tests share the stack


def test_palettes_are_found_while_no_inference_worker_lives(
    without_devices: Stack, tmp_path: Path
) -> None:
    stack, path = without_devices, tmp_path / "palettes.yaml"
    path.write_text("analyses: {colours: {kind: palette, count: 3}}\n")
    images = small_images(IMAGES, prefix="some/") | {"some/broken.jpg": b"no image"}
    stack.put("palettes", images)
    assert stack.pids("inference") == []
    job = stack.enqueue("s3://palettes/some/", "--chunk-items", "8", pipeline=str(path))
    status = stack.finish(job)
    assert status["state"] == "succeeded"
    rows = {row["key"]: row for row in stack.rows(job)}
    assert rows.keys() == images.keys()
    failed = rows.pop("some/broken.jpg")
    assert (failed["status"], failed["colours"]) == ("failed", None)
    for row in rows.values():
        shares = [colour["share"] for colour in row["colours"]]
        assert shares == sorted(shares, reverse=True)
        assert 1 <= len(shares) <= 3
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert (row["models"], row["model"], row["label"]) == ([], None, None)
