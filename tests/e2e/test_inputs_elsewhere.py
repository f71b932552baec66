"""A job over somebody else's store, with results in ours, while that store makes difficulties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
IMAGES, PHOTOS = 200, 8
PIPELINE = (
    "name: shape\n"
    "preprocess: {resize_shorter_pixels: 48, crop_pixels: 32}\n"
    "model: {python: 'shape:Shape'}\n"
)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A second store, and what lies before it. ``keys``: the file that has the keys to it."""

    server: RunningSeaweed
    strict: StrictStore
    keys: Path

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        server = self.server
        store = connect_store(
            S3Settings(
                endpoint=server.endpoint, access_key=server.access_key, secret_key=server.secret_key
            )
        )
        store.make_bucket(bucket)
        for key, data in objects.items():
            store.put(bucket, key, data)

    def write_keys(self, access_key: str, secret_key: str) -> None:
        self.keys.write_text(
            f"[photos]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
        )


@pytest.fixture(scope="module")
def foreign(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    """A store that the stack reads ``foreign-*`` from."""
    base = tmp_path_factory.mktemp("foreign")
    server = start_seaweedfs(base / "store")
    with StrictStore(int(server.endpoint.rpartition(":")[2])) as strict:
        foreign = Foreign(server, strict, base / "credentials")
        foreign.write_keys(server.access_key, server.secret_key)
        said = {
            "name": "foreign",
            "endpoint": f"127.0.0.1:{strict.port}",
            "secure": False,
            "buckets": ["foreign-*"],
            "credentials": {"from": "file", "path": str(foreign.keys), "profile": "photos"},
        }
        Path(stack.environment["HEADRACE_STORES_FILE"]).write_text(yaml.dump({"stores": [said]}))
        for role in ("producer", "preprocess"):
            stack.run("restart", role)
        yield foreign
    server.stop()


@pytest.mark.shared_data
def test_a_catalogue_answers_four_questions_of_objects_that_are_fetched_once(
    stack: Stack, foreign: Foreign, photos: list[Path], catalogue: str
) -> None:
    images = {path.name: path.read_bytes() for path in photos[:PHOTOS]}
    foreign.put("foreign-catalogue", images)
    job = stack.enqueue("s3://foreign-catalogue/", "--chunk-items", "4", pipeline=catalogue)
    assert stack.finish(job)["images"]["succeeded"] == PHOTOS
    rows = stack.rows(job)
    assert Counter(row["key"] for row in rows) == Counter(images.keys())
    assert any(row["objects"] for row in rows)
    for row in rows:
        for box in row["objects"]:
            assert 0 <= box["x1"] < box["x2"] <= row["width"]
            assert 0 <= box["y1"] < box["y2"] <= row["height"]
        assert len(row["classes"]["predictions"]) == 5
        assert sum(number**2 for number in row["embedding"]) == pytest.approx(1, abs=1e-3)
        assert sum(colour["share"] for colour in row["palette"]) == pytest.approx(1, abs=1e-3)
    read = {path: count for path, count in foreign.strict.gets.items() if path.endswith(".jpg")}
    assert read == {f"/foreign-catalogue/{key}": 1 for key in images}


def test_keys_that_end_and_a_busy_store_cost_time_and_an_archived_object_a_row(
    stack: Stack, foreign: Foreign, tmp_path: Path
) -> None:
    server, strict = foreign.server, foreign.strict
    images = small_images(IMAGES)
    foreign.put(BUCKET, images | {"z.frozen": next(iter(images.values()))})
    strict.archived = (".frozen",)
    pipeline = tmp_path / "shape.yaml"
    pipeline.write_text(PIPELINE)

    job = stack.enqueue(f"s3://{BUCKET}/", "--chunk-items", "16", pipeline=str(pipeline))
    strict.at_once = 2
    chunks = f"jobs/{job}/chunks/"
    wait_for(lambda: chunk_count(stack, chunks) >= 3, what="three chunks", every=0.02)
    strict.ended.add(server.access_key)
    wait_for(lambda: strict.refused["ExpiredToken"], what="a refusal of keys that have ended")
    foreign.write_keys(*server.other_keys)
    strict.at_once = None

    counts = stack.finish(job)["images"]
    assert (counts["listed"], counts["succeeded"]) == (IMAGES + 1, IMAGES)
    (failed,) = (row for row in stack.rows(job) if row["status"] == "failed")
    assert (failed["key"], failed["error_code"]) == ("z.frozen", "archived")
    assert strict.refused["SlowDown"]
    assert BUCKET not in [bucket["Name"] for bucket in stack.s3.list_buckets()["Buckets"]]


def chunk_count(stack: Stack, prefix: str) -> Any:
    return stack.s3.list_objects_v2(Bucket="state", Prefix=prefix)["KeyCount"]
