"""A job takes its class along: uploaded before its spec, and never mixed with another version."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from producer.jobs import JobRequest, job_status, retry, submit
from producer.jobs.code import described
from shared.errors import HeadraceError, UsageError
from shared.job import Accounting, Closing, JobSpec
from shared.keys import code_key, file_key, spec_key
from tests.support.fake_connections import Fake, fake_connections
from tests.support.memory_store import MemoryStore
from workers.inference.user_code import UserCode

CLASS = "from helper import VALUE\n\nclass Shape:\n    value = VALUE\n"
WEIGHTS = os.urandom(50_000)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    fake = fake_connections(tmp_path)
    fake.put_images("photos", "a.jpg", "b.jpg")
    (tmp_path / "shape.py").write_text(CLASS)
    (tmp_path / "helper.py").write_text("VALUE = 'one'\n")
    (tmp_path / "w.bin").write_bytes(WEIGHTS)
    with fake.pipeline.open("a") as file:
        file.write("files: [w.bin]\n")
    return fake


def enqueue(fake: Fake, job_id: str, said: list[str] | None = None) -> JobSpec:
    request = JobRequest("s3://photos", str(fake.pipeline), job_id)
    tell = (said if said is not None else []).append
    return submit(fake.connections, request, fake.warnings.append, tell=tell)


def laid_out(fake: Fake, spec: JobSpec, tmp_path: Path) -> dict[str, bytes]:
    """What the class finds on a worker."""
    folder = tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    UserCode(fake.store, "models", tmp_path / "cache").lay_out(
        spec.pipeline.model_of("classes"), folder
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def close(fake: Fake, job_id: str) -> None:
    closing = Closing(state="succeeded", accounting=Accounting(listed=2, failed=2))
    assert fake.connections.jobs.create_closing(job_id, closing)


def test_what_is_packed_is_told_and_stored(fake: Fake, tmp_path: Path) -> None:
    said: list[str] = []
    spec = enqueue(fake, "one", said)
    assert said == ["packed helper.py, shape.py, w.bin: 3 files, 48.9 KiB"]
    model = spec.pipeline.model_of("classes")
    weights = hashlib.sha256(WEIGHTS).hexdigest()
    assert fake.store.buckets["models"].keys() == {
        *(code_key(str(model.code_sha256)), file_key(weights))
    }
    assert laid_out(fake, spec, tmp_path) == {
        "shape.py": CLASS.encode(),
        "helper.py": b"VALUE = 'one'\n",
        "w.bin": WEIGHTS,
    }
    status = job_status(fake.connections, "one", fake.warnings.append)
    assert (status.model_version, status.code_sha256) == (model.sha256, model.code_sha256)


def test_an_edit_makes_another_version_and_a_job_keeps_its_own(fake: Fake, tmp_path: Path) -> None:
    first = enqueue(fake, "one")
    (tmp_path / "helper.py").write_text("VALUE = 'two'\n")
    second = enqueue(fake, "two")
    assert first.pipeline.model_of("classes").sha256 != second.pipeline.model_of("classes").sha256
    assert laid_out(fake, first, tmp_path)["helper.py"] == b"VALUE = 'one'\n"
    assert laid_out(fake, second, tmp_path)["helper.py"] == b"VALUE = 'two'\n"
    with pytest.raises(HeadraceError, match=r"another spec: pipeline\.models\.shape\.code_sha256"):
        enqueue(fake, "one")


def test_code_and_files_stand_before_the_spec(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    create, put_file = MemoryStore.create, MemoryStore.put_file

    def note_create(self: MemoryStore, bucket: str, key: str, data: bytes) -> bool:
        order.append(key)
        return create(self, bucket, key, data)

    def note_file(self: MemoryStore, bucket: str, key: str, path: Path, **more: object) -> None:
        order.append(key)
        put_file(self, bucket, key, path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStore, "create", note_create)
    monkeypatch.setattr(MemoryStore, "put_file", note_file)
    enqueue(fake, "one")
    probe, code, file, spec = order
    assert probe.endswith("headrace-writable")
    assert (code[:6], file[:7], spec) == ("_code/", "_files/", spec_key("one"))
    order.clear()
    enqueue(fake, "two")
    assert not any(key.startswith("_files/") for key in order)  # it stands already


@pytest.mark.parametrize("source", ["s3://photos/nothing", "s3://nowhere"])
def test_nothing_is_uploaded_for_a_job_that_cannot_run(fake: Fake, source: str) -> None:
    with pytest.raises(HeadraceError):
        submit(fake.connections, JobRequest(source, str(fake.pipeline)), fake.warnings.append)
    assert fake.store.buckets["models"] == fake.store.buckets["state"] == {}


def test_wrong_bytes_in_the_bucket_are_replaced(fake: Fake, tmp_path: Path) -> None:
    before = enqueue(fake, "one")
    for key, data in fake.store.buckets["models"].items():
        fake.store.buckets["models"][key] = data[:-1]
    assert laid_out(fake, enqueue(fake, "two"), tmp_path)["w.bin"] == WEIGHTS
    assert laid_out(fake, before, tmp_path)["w.bin"] == WEIGHTS


def test_a_file_that_changes_before_its_upload_stops_the_job(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file = MemoryStore.put_file

    def late(self: MemoryStore, bucket: str, key: str, path: Path, **more: object) -> None:
        path.write_bytes(b"other" + WEIGHTS[5:])
        put_file(self, bucket, key, path, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStore, "put_file", late)
    with pytest.raises(UsageError, match=r"w\.bin changed while it was packed"):
        enqueue(fake, "one")
    assert not any(key.startswith("_files/") for key in fake.store.buckets["models"])
    assert fake.store.buckets["state"] == {}


def test_the_pipeline_is_remembered_as_it_can_be_found_again(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fake.pipeline.parent)
    request = JobRequest("s3://photos", "./shape.yaml", "one")
    spec = submit(fake.connections, request, fake.warnings.append)
    assert spec.pipeline_given == str(fake.pipeline)
    assert enqueue(fake, "one") == spec  # the same work, named otherwise


def test_retry_keeps_the_jobs_own_code_and_with_update_takes_the_present(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = enqueue(fake, "one")
    close(fake, "one")
    (tmp_path / "helper.py").write_text("VALUE = 'two'\n")
    fake.pipeline.write_text(fake.pipeline.read_text().replace("64", "800"))
    plain = retry(fake.connections, "one", fake.warnings.append)
    assert (plain.pipeline, plain.pipeline_given) == (first.pipeline, str(fake.pipeline))
    close(fake, plain.job_id)
    monkeypatch.chdir("/")
    said: list[str] = []
    updated = retry(fake.connections, "one", fake.warnings.append, update=True, tell=said.append)
    assert said[0].startswith("packed helper.py, shape.py, w.bin")
    assert updated.retry_of == plain.job_id
    assert updated.pipeline.staged_image_bytes == 800 * 800 * 3
    assert updated.chunk_items == 5 < first.chunk_items  # as many as a slot now holds
    assert updated.pipeline_sha256 == updated.pipeline.sha256 != first.pipeline_sha256
    assert laid_out(fake, updated, tmp_path)["helper.py"] == b"VALUE = 'two'\n"
    assert laid_out(fake, first, tmp_path)["helper.py"] == b"VALUE = 'one'\n"


def test_retry_update_of_a_pipeline_that_is_gone_says_what_to_do(fake: Fake) -> None:
    enqueue(fake, "one")
    close(fake, "one")
    fake.pipeline.unlink()
    before = {bucket: dict(objects) for bucket, objects in fake.store.buckets.items()}
    with pytest.raises(UsageError) as caught:
        retry(fake.connections, "one", fake.warnings.append, update=True)
    assert f"--pipeline {fake.pipeline}: repair that, or leave --update out" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert fake.store.buckets == before


def test_each_class_of_a_pipeline_travels(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("class Other: ...\n")
    with (tmp_path / "shape.py").open("a") as file:
        file.write("    def __init__(self, value=1): ...\n")
    fake.pipeline.write_text(
        "analyses:\n  a: {kind: classes, model: {python: shape:Shape}}\n"
        "  b: {kind: classes, model: {python: shape:Shape, name: again, args: {value: 2}}}\n"
        "  c: {kind: classes, model: {python: other:Other}}\nfiles: [w.bin]\n"
    )
    said: list[str] = []
    spec = enqueue(fake, "one", said)
    assert said == [
        "packed helper.py, shape.py, w.bin: 3 files, 48.9 KiB",
        "packed other.py, w.bin: 2 files, 48.8 KiB",
    ]
    models = spec.pipeline.models
    codes = {code_key(str(model.code_sha256)) for model in models.values()}
    assert len(codes) == 2
    assert fake.store.buckets["models"].keys() == {
        *codes,
        file_key(hashlib.sha256(WEIGHTS).hexdigest()),
    }
    assert models["again"].arguments == '{"value": 2}'


def test_many_files_are_told_in_one_short_line(fake: Fake, tmp_path: Path) -> None:
    from shared.catalog.classes import PackedClass
    from shared.catalog.packing import PackedCode

    names = tuple(f"module_{n}.py" for n in range(300))
    line = described(PackedClass("a:B", PackedCode(tmp_path, names, 3 * 2**20, b"")))
    assert line.endswith("module_7.py and 292 more: 300 files, 3.0 MiB")
