"""SIGKILL at named places in the workers' work: one row for each image, whatever the place."""

from __future__ import annotations

import pytest

from tests.injection.places import PLACES, Places
from tests.injection.table import Line, note
from tests.stack import Stack, small_images

IMAGES = 192


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> str:
    stack.put("places", small_images(IMAGES, prefix="in/"))
    return "s3://places/in/"


@pytest.mark.parametrize("place", PLACES)
def test_a_kill_at_a_named_place_leaves_one_row_for_each_image(
    stack: Stack, places: Places, bucket: str, place: str
) -> None:
    line = Line(f"SIGKILL at the place '{place}'")
    places.arm(place, passing=2)
    job = stack.enqueue(bucket, "--batch-size", "16")
    places.struck(place)
    stack.finish(job)
    verdict = stack.auditor.audit("places", "in/", job)
    line.add(verdict)
    note(line)
    assert verdict.clean, verdict
