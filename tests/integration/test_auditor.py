"""The auditor finds what is planted: losses, duplicates, strangers, a missing marker."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.auditor import Auditor
from tests.support.servers import RunningSeaweed, start_seaweedfs

KEYS = [f"photos/{number}.jpg" for number in range(5)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSeaweed]:
    server = start_seaweedfs(tmp_path_factory.mktemp("auditor"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3(store: RunningSeaweed) -> Any:
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{store.endpoint}",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name="us-east-1",
    )
    for bucket in ("input", "results"):
        client.create_bucket(Bucket=bucket)
    for key in [*KEYS, "photos/folder/"]:
        body = b"" if key.endswith("/") else key.encode()
        client.put_object(Bucket="input", Key=key, Body=body)
    return client


@pytest.fixture
def auditor(store: RunningSeaweed, s3: Any) -> Auditor:
    return Auditor(store.endpoint, store.access_key, store.secret_key)


def etag(s3: Any, key: str) -> str:
    return str(s3.head_object(Bucket="input", Key=key)["ETag"]).strip('"')


def write(s3: Any, job: str, keys: list[str], *, success: bool = True, **changes: Any) -> None:
    """One part for each two keys, a manifest, and the marker."""
    parts = []
    for number, start in enumerate(range(0, len(keys), 2)):
        rows = [
            {
                "key": key,
                "etag": etag(s3, key) if key in KEYS else "x",
                "status": "ok",
                "error_code": None,
                **changes,
            }
            for key in keys[start : start + 2]
        ]
        sink = io.BytesIO()
        schema = pa.schema([(name, pa.string()) for name in rows[0]])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
        s3.put_object(
            Bucket="results", Key=f"{job}/rows/part-{number}.parquet", Body=sink.getvalue()
        )
        parts.append({"rows": len(rows)})
    s3.put_object(
        Bucket="results", Key=f"{job}/manifest.json", Body=json.dumps({"parts": parts}).encode()
    )
    if success:
        s3.put_object(Bucket="results", Key=f"{job}/_SUCCESS", Body=b"")


def test_a_complete_job_is_clean(s3: Any, auditor: Auditor) -> None:
    write(s3, "complete", KEYS)
    verdict = auditor.audit("input", "photos/", "complete")
    assert verdict.clean, verdict
    assert (verdict.objects, verdict.rows) == (5, 5)


def test_a_loss_is_found(s3: Any, auditor: Auditor) -> None:
    write(s3, "loss", KEYS[:-1])
    verdict = auditor.audit("input", "photos/", "loss")
    assert [key for key, _ in verdict.lost] == KEYS[-1:]
    assert auditor.audit("input", "photos/", "loss", finished=False).clean


def test_a_duplicate_is_found(s3: Any, auditor: Auditor) -> None:
    write(s3, "duplicate", [*KEYS, KEYS[2]])
    verdict = auditor.audit("input", "photos/", "duplicate", finished=False)
    assert [key for key, _ in verdict.doubled] == [KEYS[2]]


def test_a_stranger_is_found(s3: Any, auditor: Auditor) -> None:
    write(s3, "stranger", [*KEYS, "photos/never-listed.jpg"])
    verdict = auditor.audit("input", "photos/", "stranger")
    assert [key for key, _ in verdict.strangers] == ["photos/never-listed.jpg"]


def test_a_row_of_another_version_is_a_loss_and_a_stranger(s3: Any, auditor: Auditor) -> None:
    write(s3, "version", KEYS, etag="another")
    verdict = auditor.audit("input", "photos/", "version")
    assert len(verdict.lost) == len(verdict.strangers) == 5


def test_a_missing_marker_and_a_miscounted_manifest_are_found(s3: Any, auditor: Auditor) -> None:
    write(s3, "unmarked", KEYS, success=False)
    assert auditor.audit("input", "photos/", "unmarked").problems == ["_SUCCESS is missing"]
    write(s3, "miscounted", KEYS)
    manifest = json.dumps({"parts": [{"rows": 4}]}).encode()
    s3.put_object(Bucket="results", Key="miscounted/manifest.json", Body=manifest)
    assert "counts 4 rows of 5" in str(auditor.audit("input", "photos/", "miscounted"))


def test_a_failure_without_a_code_is_unexplained(s3: Any, auditor: Auditor) -> None:
    write(s3, "unexplained", KEYS, status="failed")
    assert auditor.audit("input", "photos/", "unexplained").statuses == {"unexplained": 5}
