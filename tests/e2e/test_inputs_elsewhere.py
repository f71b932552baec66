"""A job over somebody else's store, with results in ours, while that store makes difficulties."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import S3Settings
from shared.storage import connect_store
from tests.support.injection.strict_store import StrictStore
from tests.support.servers import RunningSeaweed, start_seaweedfs
from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

BUCKET = "foreign-photos"
IMAGES = 200
PIPELINE = (
    "name: shape\n"
    "preprocess: {resize_shorter_pixels: 48, crop_pixels: 32}\n"
    "model: {python: 'shape:Shape'}\n"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningSeaweed]:
    """A second store, with images of which one is archived."""
    server = start_seaweedfs(tmp_path / "foreign")
    store = connect_store(
        S3Settings(
            endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key
        )
    )
    store.make_bucket(BUCKET)
    images = small_images(IMAGES)
    for key, data in [*images.items(), ("z.frozen", next(iter(images.values())))]:
        store.put(BUCKET, key, data)
    yield server
    server.stop()


@pytest.fixture
def strict(server: RunningSeaweed) -> Iterator[StrictStore]:
    with StrictStore(int(server.endpoint.rpartition(":")[2])) as strict:
        strict.archived = (".frozen",)
        yield strict


def write_keys(path: Path, access_key: str, secret_key: str) -> None:
    path.write_text(
        f"[photos]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
    )


def test_keys_that_end_and_a_busy_store_cost_time_and_an_archived_object_a_row(
    stack: Stack, server: RunningSeaweed, strict: StrictStore, tmp_path: Path
) -> None:
    keys, pipeline = tmp_path / "credentials", tmp_path / "shape.yaml"
    pipeline.write_text(PIPELINE)
    write_keys(keys, server.access_key, server.secret_key)
    foreign = {
        "name": "foreign",
        "endpoint": f"127.0.0.1:{strict.port}",
        "secure": False,
        "buckets": ["foreign-*"],
        "credentials": {"from": "file", "path": str(keys), "profile": "photos"},
    }
    Path(stack.environment["HEADRACE_STORES_FILE"]).write_text(yaml.dump({"stores": [foreign]}))
    for role in ("producer", "preprocess"):
        stack.run("restart", role)

    job = stack.enqueue(f"s3://{BUCKET}/", "--chunk-items", "16", pipeline=str(pipeline))
    strict.at_once = 2
    chunks = f"jobs/{job}/chunks/"
    wait_for(lambda: chunk_count(stack, chunks) >= 3, what="three chunks", every=0.02)
    strict.ended.add(server.access_key)
    wait_for(lambda: strict.refused["ExpiredToken"], what="a refusal of keys that have ended")
    write_keys(keys, *server.other_keys)
    strict.at_once = None

    images = stack.finish(job)["images"]
    assert (images["listed"], images["succeeded"]) == (IMAGES + 1, IMAGES)
    (failed,) = (row for row in stack.rows(job) if row["status"] == "failed")
    assert (failed["key"], failed["error_code"]) == ("z.frozen", "archived")
    assert strict.refused["SlowDown"]
    assert BUCKET not in [bucket["Name"] for bucket in stack.s3.list_buckets()["Buckets"]]


def chunk_count(stack: Stack, prefix: str) -> Any:
    return stack.s3.list_objects_v2(Bucket="state", Prefix=prefix)["KeyCount"]
