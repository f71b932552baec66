"""Keys that are hard to name, and objects that are no images: each has its row or its rule."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

ODD_NAMES = [
    "with space.jpg",
    "Ünïcödé-é.jpg",
    "e\u0301-decomposed.jpg",
    "hash#mark.jpg",
    "question?.jpg",
    "percent%20literal.jpg",
    "100%.jpg",
    "plus+plus.jpg",
    "new\nline.jpg",
    "tab\there.jpg",
    "amp&eq=semi;.jpg",
    "quote'\"`.jpg",
    "[brackets]{braces}~*.jpg",
    "a",
    "b/c/d/e/f/g.jpg",
    "b/c.jpg",
    "/".join(["long" + "x" * 240] * 4) + ".jpg",
]


@pytest.fixture(scope="module")
def odd(stack: Stack) -> list[str]:
    images = list(small_images(len(ODD_NAMES), seed=9).values())
    longest = 1024 - len("odd/")
    names = [*ODD_NAMES[:-1], ODD_NAMES[-1][: longest - 4] + ".jpg"]
    for name, image in zip(names, images, strict=True):  # one after the other: mixed depth
        stack.put("odd", {f"odd/{name}": image})
    return [f"odd/{name}" for name in names]


def test_every_key_that_the_store_lists_has_its_row(stack: Stack, odd: list[str]) -> None:
    job = stack.enqueue("s3://odd/odd/", "--chunk-items", "5")
    status = stack.finish(job)
    verdict = stack.auditor.audit("odd", "odd/", job)
    assert verdict.clean, verdict
    assert status["images"]["succeeded"] == len(odd)
    assert {row["key"] for row in stack.rows(job)} == set(odd)


def test_what_is_no_image_fails_with_a_reason_and_folders_are_skipped(stack: Stack) -> None:
    photo = next(iter(small_images(1).values()))
    gray, palette = io.BytesIO(), io.BytesIO()
    Image.new("L", (40, 30), 128).save(gray, "PNG")
    Image.new("P", (40, 30)).save(palette, "GIF")
    stack.put(
        "mixed",
        {
            "folder/": b"",
            "folder/good.jpg": photo,
            "folder/gray.png": gray.getvalue(),
            "folder/palette.gif": palette.getvalue(),
            "folder/empty.jpg": b"",
            "folder/text.jpg": b"not an image at all",
            "folder/truncated.jpg": photo[: len(photo) // 2],
        },
    )
    job = stack.enqueue("s3://mixed/folder/")
    status = stack.finish(job)
    assert (status["images"]["listed"], status["images"]["succeeded"]) == (6, 3)
    assert status["skipped"] == 1
    codes = {row["key"]: row["error_code"] for row in stack.rows(job) if row["status"] == "failed"}
    assert codes == {
        "folder/empty.jpg": "empty",
        "folder/text.jpg": "not_an_image",
        "folder/truncated.jpg": "truncated",
    }
    assert stack.auditor.audit("mixed", "folder/", job).clean
    assert {error["code"] for error in stack.json("errors", job)} == set(codes.values())


def test_an_object_replaced_or_deleted_after_the_listing_says_so(stack: Stack) -> None:
    images = small_images(130, seed=5)
    stack.put("moving", images)
    stack.run("scale", "preprocess=0")
    job = stack.enqueue("s3://moving/")
    wait_for(lambda: stack.status(job)["state"] == "running", what="the seal")
    names = sorted(images)
    stack.put("moving", {names[0]: next(iter(small_images(1, seed=77).values()))})
    stack.s3.delete_object(Bucket="moving", Key=names[1])
    stack.run("scale", "preprocess=1")
    stack.finish(job)
    rows = {row["key"]: row for row in stack.rows(job)}
    assert len(rows) == len(images)
    assert rows[names[0]]["error_code"] == "changed"
    assert rows[names[1]]["error_code"] == "missing"

    retried = stack.json("retry", job, "--failed")["job_id"]
    stack.finish(retried)
    again = {row["key"]: row["error_code"] for row in stack.rows(job) if row["error_code"]}
    assert again == {names[1]: "missing"}
    assert stack.status(job)["images"]["failed"] == 1
