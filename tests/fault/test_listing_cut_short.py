"""The producer dies in the middle of a listing, and lists again a bucket that has changed."""

from __future__ import annotations

import io
import os
import random
import signal
from collections import Counter
from typing import Any

import pyarrow.parquet as pq

from tests.support.injection.extent import JOB_SECONDS
from tests.support.injection.places import Places
from tests.support.injection.table import Line, note
from tests.support.stack import Stack, chunks_of, small_images
from tests.support.waiting import wait_for

BUCKET = "listing"
BATCH = 8
# One group after the other: SeaweedFS loses objects when a file and a folder of one name are
# written at once.
DEPTHS = ("{}", "{}.b", "{}/b", "{}/b/c")
FLUSH_HANG_SECONDS = 2 * JOB_SECONDS


def test_no_chunk_is_missing_and_none_is_listed_twice(
    stack: Stack, places: Places, light: str, full: bool, draw: random.Random
) -> None:
    line = Line("SIGKILL producer mid-listing, bucket changed before it lists again")
    for passing in (2, 3, 4) if full else (draw.randrange(2, 5),):
        put_keys(stack, 3000 if full else 480)
        verdict = cut_short(stack, places, light, passing, draw)
        line.add(verdict)
        assert verdict.lost == verdict.doubled == []
    line.remark = "strangers: listed, then deleted from the bucket"
    note(line)


def cut_short(
    stack: Stack, places: Places, pipeline: str, passing: int, draw: random.Random
) -> Any:
    """One job whose producer dies when it has written ``passing`` segments. Its verdict."""
    places.arm("segment to be written", "hang", passing=passing, seconds=FLUSH_HANG_SECONDS)
    job = stack.enqueue(f"s3://{BUCKET}/", "--chunk-items", str(BATCH), pipeline=pipeline)
    producer = places.struck("segment to be written")
    listed = manifest(stack, job)
    chunks = chunks_of(len(listed), BATCH)
    wait_for(
        lambda: len(files(stack, job)) == chunks,
        what="all that is listed",
        deadline_seconds=JOB_SECONDS,
        every=0.2,
    )
    first_part = {"Bucket": "results", "Prefix": f"{job}/rows/part-00000"}
    wait_for(lambda: stack.s3.list_objects_v2(**first_part)["KeyCount"], what="the first part")
    assert stack.status(job)["state"] == "listing"

    gone = [key for key, _ in draw.sample(sorted(listed), 5)]
    gone += draw.sample(sorted(set(stored(stack)) - {key for key, _ in listed}), 5)
    for key in gone:
        stack.s3.delete_object(Bucket=BUCKET, Key=key)
    for place in ("!before all others", "~after all others"):  # new keys in each job
        stack.put(BUCKET, small_images(20, prefix=f"{place} {passing} ", seed=passing))
    os.kill(producer, signal.SIGKILL)

    assert stack.finish(job)["state"] == "succeeded"
    rows = Counter((row["key"], row["etag"]) for row in stack.rows(job))
    assert rows == Counter(listed | set(stored(stack).items()))
    verdict = stack.auditor.audit(BUCKET, "", job)
    assert {key for key, _ in verdict.strangers} <= set(gone)
    return verdict


def put_keys(stack: Stack, count: int) -> None:
    """``count`` images under keys of mixed depth: ``1``, ``1.b``, ``1/b``, ``1/b/c``, ..."""
    images = list(small_images(count).values())
    for depth, pattern in enumerate(DEPTHS):
        mine = images[depth :: len(DEPTHS)]
        stack.put(BUCKET, {pattern.format(n): image for n, image in enumerate(mine)})


def manifest(stack: Stack, job: str) -> set[tuple[str, str]]:
    """Key and ETag of what the segments that stand have listed."""
    listed: set[tuple[str, str]] = set()
    for key in files(stack, job, "manifest"):
        body = stack.s3.get_object(Bucket="state", Key=key)["Body"].read()
        table = pq.read_table(io.BytesIO(body), columns=["key", "etag"])
        listed.update((row["key"], row["etag"]) for row in table.to_pylist())
    return listed


def files(stack: Stack, job: str, kind: str = "chunks") -> list[str]:
    pages = stack.s3.get_paginator("list_objects_v2").paginate(
        Bucket="state", Prefix=f"jobs/{job}/{kind}/"
    )
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def stored(stack: Stack) -> dict[str, str]:
    """ETags by key."""
    pages = stack.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    entries = (entry for page in pages for entry in page.get("Contents", []))
    return {entry["Key"]: entry["ETag"].strip('"') for entry in entries}
