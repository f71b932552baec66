"""The main job as a user types it, and what they find in the bucket during and after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pyarrow.dataset
import pytest

from tests.support.stack import Stack, small_images
from tests.support.waiting import wait_for

IMAGES = 300


@pytest.fixture(scope="module")
def bucket(stack: Stack) -> str:
    stack.put("photos", small_images(IMAGES, prefix="in/"))
    return "s3://photos/in/"


@pytest.fixture(scope="module")
def finished(stack: Stack, bucket: str) -> str:
    job = stack.enqueue(bucket, "--chunk-items", "16")
    assert stack.finish(job)["state"] == "succeeded"
    return job


def download(stack: Stack, job: str, folder: Path) -> str:
    """The job's rows as they lie in the bucket now. Returns a glob over them."""
    folder.mkdir(parents=True, exist_ok=True)
    listing = stack.s3.list_objects_v2(Bucket="results", Prefix=f"{job}/rows/")
    for entry in listing.get("Contents", []):
        body = stack.s3.get_object(Bucket="results", Key=entry["Key"])["Body"].read()
        (folder / entry["Key"].rsplit("/", 1)[-1]).write_bytes(body)
    return str(folder / "*.parquet")


def test_every_image_has_one_row_and_the_status_says_so(stack: Stack, finished: str) -> None:
    status = stack.status(finished)
    assert status["images"] == {
        "listed": IMAGES,
        "succeeded": IMAGES,
        "failed": 0,
        "pending": 0,
        "cancelled": 0,
    }
    assert status["engine"] in ("onnxruntime", "openvino")  # whichever is the faster here
    assert (status["model"], status["precision"], status["device"]) == (
        "mobilenet_v2",
        "float32",
        "cpu",
    )
    verdict = stack.auditor.audit("photos", "in/", finished)
    assert verdict.clean, verdict
    assert verdict.rows == IMAGES


def test_every_reader_sees_each_image_once(stack: Stack, finished: str, tmp_path: Path) -> None:
    glob = download(stack, finished, tmp_path)
    in_duckdb = duckdb.sql(f"select count(*), count(distinct key) from '{glob}'").fetchall()[0]
    assert in_duckdb == (IMAGES, IMAGES)
    frame = pandas.read_parquet(tmp_path)
    assert len(frame) == frame["key"].nunique() == IMAGES
    table = pyarrow.dataset.dataset(tmp_path).to_table()
    assert len(set(table["key"].to_pylist())) == table.num_rows == IMAGES
    first = table.to_pylist()[0]
    assert first["label"] == first["predictions"][0]["label"]
    assert len(first["predictions"]) == 5


def test_the_manifest_counts_parts_times_and_versions(stack: Stack, finished: str) -> None:
    body = stack.s3.get_object(Bucket="results", Key=f"{finished}/manifest.json")["Body"].read()
    manifest = json.loads(body)
    assert sum(part["rows"] for part in manifest["parts"]) == IMAGES
    assert manifest["accounting"]["listed"] == IMAGES
    text = json.dumps(manifest)
    for name in ("decode", "fetch", "device", "mobilenet", "onnxruntime", "headrace"):
        assert name in text


def test_parts_are_rolled_up_while_the_job_runs(stack: Stack, tmp_path: Path) -> None:
    images = 700
    stack.put("rolling", small_images(images, seed=3))
    job = stack.enqueue("s3://rolling/", "--chunk-items", "8")

    def rows_so_far() -> int:
        verdict = stack.auditor.audit("rolling", "", job, finished=False)
        assert verdict.clean, verdict
        return verdict.rows

    wait_for(rows_so_far, what="the first rows", every=0.2)
    glob = download(stack, job, tmp_path)
    counts: Any = duckdb.sql(f"select count(*), count(distinct key) from '{glob}'").fetchall()[0]
    assert counts[0] == counts[1]
    stack.finish(job)
    assert stack.auditor.audit("rolling", "", job).clean


def test_flower_shows_the_workers_by_role_and_the_tasks_by_name(stack: Stack, bucket: str) -> None:
    job = stack.enqueue(bucket)

    def roles() -> set[str]:
        return {name.split("-")[0] for name in stack.flower("/api/workers?refresh=1")}

    wait_for(lambda: roles() >= {"preprocess", "inference", "collector"}, what="the workers")

    def names() -> set[str]:
        return {task["name"] for task in stack.flower("/api/tasks").values()}

    expected = {"headrace.preprocess", "headrace.inference", "headrace.results"}
    wait_for(lambda: names() >= expected, what="the tasks")
    stack.finish(job)


def test_a_model_of_ones_own(stack: Stack, bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "shape.yaml"
    file.write_text(
        "name: shape\n"
        "preprocess: {resize_shorter_pixels: 48, crop_pixels: 32}\n"
        "model: {python: 'shape:Shape'}\n"
    )
    job = stack.enqueue(bucket, pipeline=str(file))
    status = stack.finish(job)
    assert (status["state"], status["engine"]) == ("succeeded", "python")
    assert {row["label"] for row in stack.rows(job)} == {"32x32"}


def test_a_class_travels_with_its_job_from_any_folder(
    stack: Stack, bucket: str, tmp_path: Path
) -> None:
    """Beside its pipeline, with a helper and a file; an edit is seen by the next job alone."""
    (tmp_path / "own.py").write_text(
        "from helper import word\n"
        "class Own:\n"
        "    def __call__(self, images):\n"
        "        return [word()] * len(images)\n"
    )
    helper = (
        "from pathlib import Path\n"
        "def word():\n"
        "    return 'NUMBER ' + Path(__file__).with_name('word.txt').read_text()\n"
    )
    (tmp_path / "word.txt").write_text("seen")
    (tmp_path / "own.yaml").write_text(
        "preprocess: {resize_shorter_pixels: 32, crop_pixels: 32}\n"
        "model: {python: 'own:Own'}\n"
        "files: [word.txt]\n"
    )
    versions, command = set(), ("enqueue", bucket, "--pipeline", "own.yaml", "--limit", "20")
    for number in ("first", "second"):
        (tmp_path / "helper.py").write_text(helper.replace("NUMBER", number))
        done = stack.run(*command, cwd=tmp_path)
        assert "packed helper.py, own.py, word.txt: 3 files, " in done.stderr
        job = done.stdout.strip()
        stack.finish(job)
        status = stack.status(job)
        versions.add((status["model_version"], status["code_sha256"]))
        assert {row["label"] for row in stack.rows(job)} == {f"{number} seen"}
    assert len(versions) == 2


def test_a_model_that_raises_on_some_images_fails_only_those(
    stack: Stack, plugins: Path, tmp_path: Path
) -> None:
    (plugins / "picky.py").write_text(
        "class Picky:\n"
        "    def __call__(self, images):\n"
        "        if (images.mean(axis=(1, 2, 3)) > 250).any():\n"
        "            raise ValueError('too bright')\n"
        "        return ['fine'] * len(images)\n"
    )
    (tmp_path / "picky.yaml").write_text(
        "name: picky\n"
        "preprocess: {resize_shorter_pixels: 32, crop_pixels: 32}\n"
        "model: {python: 'picky:Picky'}\n"
    )
    import io

    from PIL import Image

    white = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(white, "PNG")
    stack.put("picky", {**small_images(20), "white.png": white.getvalue()})
    job = stack.enqueue("s3://picky/", pipeline=str(tmp_path / "picky.yaml"))
    assert stack.finish(job)["images"]["failed"] == 1
    (failed,) = [row for row in stack.rows(job) if row["status"] == "failed"]
    assert (failed["key"], failed["error_code"]) == ("white.png", "model_error")
    assert "too bright" in failed["error_message"]
